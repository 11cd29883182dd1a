import { type KeyObject } from 'node:crypto';
import { Fault } from '@casvault/contracts';
import { type ObjectStore } from '@casvault/object-store';
import {
  codedBound,
  EMPTY_TRAILER_BYTES,
  encodePackEnd,
  GROUP_BYTES,
  MAX_FRAMES_PER_PACK,
  openCodeFrame,
  packFrameKey,
  packKey,
  SEAL_BYTES,
  sealFrame,
  trailerBytesOfFrame,
  type CodeFrame,
  type FrameRef,
  type PackFrame,
  type PackRef,
  type Suite,
} from '@casvault/repository';
import { BufferPool, pageAlignedBuffer } from './page-memory.js';

/** Packs of this size: large enough for the seek of a disk and the request of an object store to be small beside them. */
export const PACK_BYTES = 8 * 1_048_576;
/** What a frame of data adds to a pack at the most. */
const frameBoundBytes = codedBound(GROUP_BYTES) + 4096;
/** The last frame of a pack may begin just below the mark. */
const packBufferBytes = PACK_BYTES + frameBoundBytes;
/** Smaller packs are made only where a buffer or a speed leaves no room for this: each costs a request and a flush. */
const fairPackBytes = PACK_BYTES / 2;
/** One filling while the other is being put. */
const packBuffers = 2;

export interface PackTarget {
  readonly store: ObjectStore;
  readonly suite: Suite;
  readonly folder: string;
  /** Null when all chains share their packs. */
  readonly chainId: string | null;
  readonly writerId: string;
  /** Every number once, over all threads of the writer. */
  readonly nextSeq: () => number;
  /** zstd level; null stores plain bytes. */
  readonly level: number | null;
  readonly signal: AbortSignal;
  /** A pack that has so many bytes is put; asked at every frame. Absent: `PACK_BYTES`, which it never exceeds. */
  readonly packBytes?: (() => number) | undefined;
}

/**
 * How large packs may grow where at most `unacknowledgedBytes` are on their way at once, from `writers` threads: small enough for two to be on
 * their way, large enough to be worth a request. At least one frame.
 */
export const packBytesWithin = (unacknowledgedBytes: number, writers: number): number => {
  const room = unacknowledgedBytes - frameBoundBytes;
  const share = unacknowledgedBytes / Math.max(1, writers) - frameBoundBytes;
  return Math.max(1, Math.min(PACK_BYTES, room, Math.max(share, fairPackBytes)));
};

type NewFrame = Pick<PackFrame, 'kind' | 'disk' | 'number' | 'mask' | 'ids'>;

interface OpenPack {
  readonly pack: PackRef;
  readonly key: KeyObject | null;
  readonly buffer: Buffer;
  readonly pooled: boolean;
  readonly frames: PackFrame[];
  fill: number;
  trailerBytes: number;
}

/**
 * Fills packs and puts them into the store while the next one fills. One `add` at a time. After its first failure it is dead: every later
 * call throws the same. Memory: 2 buffers of 9 MiB, 1 MiB when encrypted, and for a frame larger than a buffer (a segment) its size once more.
 */
export class PackWriter {
  readonly #target: PackTarget;
  readonly #code: CodeFrame;
  readonly #buffers = new BufferPool(packBuffers, () => pageAlignedBuffer(packBufferBytes));
  /** Coded bytes on their way to be sealed. */
  #scratch: Buffer = Buffer.alloc(0);
  readonly #puts = new Set<Promise<void>>();
  #open: OpenPack | null = null;
  #failure: unknown = null;

  constructor(target: PackTarget) {
    this.#target = target;
    this.#code = openCodeFrame(target.level);
  }

  /** Compresses, seals and appends a frame. It is durable only after `finish`. `plain` may be changed when this resolves. */
  async add(frame: NewFrame, plain: Uint8Array): Promise<FrameRef> {
    const { suite } = this.#target;
    const pack = await this.#room(
      codedBound(plain.length) + SEAL_BYTES + trailerBytesOfFrame(frame.ids.length / 32),
    );
    this.#requireAlive();
    const offset = pack.fill;
    const { ref, storedLength } = this.#append(pack, frame.kind, plain);
    pack.fill += storedLength;
    pack.trailerBytes += trailerBytesOfFrame(frame.ids.length / 32);
    const { plainLength, codec } = ref;
    const storedHash = suite.checksum(pack.buffer.subarray(offset, pack.fill));
    pack.frames.push({ ...frame, offset, storedLength, plainLength, codec, storedHash, origin: null });
    const enough = this.#target.packBytes?.() ?? PACK_BYTES;
    const full = pack.fill + pack.trailerBytes >= enough || pack.frames.length === MAX_FRAMES_PER_PACK;
    if (full) this.#close(pack);
    return { ...ref, offset, storedLength };
  }

  /** Without encryption the compressor writes straight into the pack. */
  #append(pack: OpenPack, kind: PackFrame['kind'], plain: Uint8Array) {
    const refOf = (codec: PackFrame['codec']) => ({
      pack: pack.pack,
      frame: pack.frames.length,
      plainLength: plain.length,
      codec,
    });
    if (pack.key === null) {
      const { codec, length } = this.#code(plain, pack.buffer, pack.fill);
      return { ref: refOf(codec), storedLength: length };
    }
    const bound = codedBound(plain.length);
    if (this.#scratch.length < bound)
      this.#scratch = Buffer.allocUnsafeSlow(Math.max(bound, codedBound(GROUP_BYTES)));
    const { codec, length } = this.#code(plain, this.#scratch, 0);
    const ref = refOf(codec);
    const coded = this.#scratch.subarray(0, length);
    const into = pack.buffer.subarray(pack.fill);
    return { ref, storedLength: sealFrame(this.#target.suite, pack.key, kind, ref, coded, into).length };
  }

  /** Puts what is open and waits for all puts: everything added is durable, or the first failure is thrown. */
  async finish(): Promise<void> {
    if (this.#open !== null) this.#close(this.#open);
    while (this.#puts.size > 0) await Promise.race(this.#puts);
    this.#requireAlive();
  }

  /** Waits for puts under way, without throwing: nothing of this writer is left behind. */
  async abandon(): Promise<void> {
    this.#failure ??= new Fault('STOPPED', 'the pack writer was abandoned');
    this.#open = null;
    while (this.#puts.size > 0) await Promise.race(this.#puts);
  }

  #requireAlive(): void {
    if (this.#failure !== null) throw Fault.from(this.#failure);
  }

  async #room(bytes: number): Promise<OpenPack> {
    this.#requireAlive();
    const open = this.#open;
    if (open !== null) {
      if (open.fill + open.trailerBytes + bytes <= open.buffer.length) return open;
      this.#close(open);
    }
    const needed = bytes + EMPTY_TRAILER_BYTES;
    const pooled = needed <= packBufferBytes;
    const buffer = pooled ? await this.#buffers.take() : pageAlignedBuffer(needed + 4096);
    const { suite, writerId, nextSeq } = this.#target;
    const pack = { writerId, seq: nextSeq() };
    const key = packFrameKey(suite, pack);
    return (this.#open = {
      pack,
      key,
      buffer,
      pooled,
      frames: [],
      fill: 0,
      trailerBytes: EMPTY_TRAILER_BYTES,
    });
  }

  #close(open: OpenPack): void {
    this.#open = null;
    const put = this.#put(open)
      .catch((error: unknown) => {
        this.#failure ??= error;
      })
      .finally(() => {
        this.#puts.delete(put);
        if (open.pooled) this.#buffers.give(open.buffer);
      });
    this.#puts.add(put);
  }

  async #put({ pack, buffer, frames, fill }: OpenPack): Promise<void> {
    const { store, suite, folder, chainId, signal } = this.#target;
    const end = encodePackEnd({ repositoryId: suite.repositoryId, chainId, pack, frames }, suite.checksum);
    buffer.set(end, fill);
    await store.put(packKey(folder, pack), buffer.subarray(0, fill + end.length), { signal });
  }
}
