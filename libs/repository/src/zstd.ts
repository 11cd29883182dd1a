import {
  constants,
  createZstdCompress,
  createZstdDecompress,
  zstdCompressSync,
  zstdDecompressSync,
} from 'node:zlib';

/*
 * zstd into memory of the caller. node:zlib's synchronous functions make a context and an output buffer for every call: for frames of 1 MiB
 * that is a tenth of the CPU when compressing and a quarter when decompressing, most of it garbage collection. The streams of node:zlib hold
 * a native handle that does the same work on the caller's buffers; it is no public interface, so it is used only where a trial at start-up
 * shows that it does what is expected, and the synchronous functions stand by. Both give the same bytes.
 */

/** The part of a zlib stream's native handle that is used here. */
interface NativeHandle {
  /** [bytes of output left, bytes of input left] after a write. */
  readonly state: Uint32Array;
  readonly handle: {
    writeSync(
      flush: number,
      input: Uint8Array,
      inputAt: number,
      inputLength: number,
      output: Uint8Array,
      outputAt: number,
      outputLength: number,
    ): void;
    reset(): void;
    onerror: (message: string) => void;
  };
}

function nativeHandle(stream: object): NativeHandle | null {
  const { _handle: handle, _writeState: state } = stream as {
    _handle?: NativeHandle['handle'];
    _writeState?: unknown;
  };
  const usable = typeof handle?.writeSync === 'function' && typeof handle.reset === 'function';
  const isState = ArrayBuffer.isView(state) && (state as Uint32Array).BYTES_PER_ELEMENT === 4;
  return usable && isState ? { handle, state: state as Uint32Array } : null;
}

/** Room that compressed output may need: zstd's own bound is below it. */
export const compressBound = (length: number): number => length + (length >> 7) + 1024;

/** Compresses all of `plain` into `into` from `at` on, where `compressBound` bytes are free; returns the length. One thread, no overlap. */
export type Compress = (plain: Uint8Array, into: Uint8Array, at: number) => number;

/**
 * Decompresses `coded` to the beginning of `into`; returns the length, or null for bytes that are no whole zstd frame or do not fit.
 * `into` must be larger than what is expected by at least one byte: so too much is told from just enough.
 */
export type Decompress = (coded: Uint8Array, into: Uint8Array) => number | null;

export function openCompress(level: number): Compress {
  const portable = portableCompress(level);
  const native = nativeHandle(createZstdCompress({ params: paramsOf(level) }));
  if (native === null) return portable;
  const direct: Compress = (plain, into, at) => {
    const room = into.length - at;
    native.handle.writeSync(constants.ZSTD_e_end, plain, 0, plain.length, into, at, room);
    return room - native.state[0]!;
  };
  return sameCompress(direct, portable) ? direct : portable;
}

const paramsOf = (level: number) => ({ [constants.ZSTD_c_compressionLevel]: level });

/** By the public interface alone. */
export function portableCompress(level: number): Compress {
  return (plain, into, at) => {
    const coded = zstdCompressSync(plain, {
      params: paramsOf(level),
      chunkSize: compressBound(plain.length),
    });
    into.set(coded, at);
    return coded.length;
  };
}

export function openDecompress(): Decompress {
  let native = nativeHandle(createZstdDecompress());
  if (native === null) return portableDecompress;
  const direct: Decompress = (coded, into) => {
    // A handle that failed once stays so.
    native ??= nativeHandle(createZstdDecompress());
    if (native === null) return portableDecompress(coded, into);
    const { handle, state } = native;
    handle.onerror = () => {
      native = null;
    };
    handle.reset();
    handle.writeSync(constants.ZSTD_e_continue, coded, 0, coded.length, into, 0, into.length);
    const [outLeft, inLeft] = state;
    return native === null || inLeft !== 0 || outLeft === 0 ? null : into.length - outLeft!;
  };
  return worksAsExpected(direct) ? direct : portableDecompress;
}

/** By the public interface alone. */
export const portableDecompress: Decompress = (coded, into) => {
  try {
    const room = Math.max(64, into.length);
    const plain = zstdDecompressSync(coded, { chunkSize: room, maxOutputLength: room });
    if (plain.length >= into.length) return null;
    into.set(plain);
    return plain.length;
  } catch {
    return null;
  }
};

const trial = Buffer.from(Array.from({ length: 4096 }, (_, i) => (i * i) % 61));

function sameCompress(direct: Compress, portable: Compress): boolean {
  const outputs = [portable, direct, direct].map((compress) => {
    const into = Buffer.alloc(compressBound(trial.length) + 3);
    return attempt(() => into.subarray(3, 3 + compress(trial, into, 3)).toString('hex'));
  });
  return outputs[0] !== null && outputs[1] === outputs[0] && outputs[2] === outputs[0];
}

function worksAsExpected(decompress: Decompress): boolean {
  const coded = zstdCompressSync(trial);
  const opens = [coded, coded.subarray(0, 20), trial, coded].map((bytes) => {
    const into = Buffer.alloc(trial.length + 64);
    return attempt(() => {
      const length = decompress(bytes, into);
      return length !== null && into.subarray(0, length).equals(trial);
    });
  });
  return opens.join() === 'true,false,false,true';
}

function attempt<T>(run: () => T): T | null {
  try {
    return run();
  } catch {
    return null;
  }
}
