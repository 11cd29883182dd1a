import { type KeyObject } from 'node:crypto';
import { zstdDecompressSync } from 'node:zlib';
import { damaged, unsupported, uuidBytes } from './bytes.js';
import { BLOCK_BYTES, GROUP_BYTES, MAX_PACK_BYTES, SEAL_BYTES, type PackRef } from './layout.js';
import { seal, unseal, type Suite } from './suite.js';
import { compressBound, openCompress } from './zstd.js';

/** What a frame holds. Numbers are never reused. */
export const frameKinds = { data: 1, page: 2, segment: 3 } as const;
export type FrameKind = keyof typeof frameKinds;
/** How a frame's plain bytes are coded before they are sealed. */
export const frameCodecs = { none: 0, zstd: 1 } as const;
export type FrameCodec = keyof typeof frameCodecs;

const maxPlain = { data: GROUP_BYTES, page: GROUP_BYTES, segment: 16 * GROUP_BYTES } as const;

/** Everything that is needed to fetch and open a frame without its pack's trailer. */
export interface FrameRef {
  readonly pack: PackRef;
  /** Ordinal in its pack: part of what the encryption binds. */
  readonly frame: number;
  readonly offset: number;
  readonly storedLength: number;
  readonly plainLength: number;
  readonly codec: FrameCodec;
}

export interface CodedFrame {
  readonly codec: FrameCodec;
  readonly length: number;
}

/** Codes `plain` into `into` from `at` on, where `codedBound` bytes are free. One thread, no overlap. */
export type CodeFrame = (plain: Uint8Array, into: Uint8Array, at: number) => CodedFrame;

export const codedBound = compressBound;

/** Compresses with zstd at `level`, or keeps the plain bytes where that saves nothing or `level` is null. */
export function openCodeFrame(level: number | null): CodeFrame {
  const keep: CodeFrame = (plain, into, at) => {
    into.set(plain, at);
    return { codec: 'none', length: plain.length };
  };
  if (level === null) return keep;
  const compress = openCompress(level);
  return (plain, into, at) => {
    const length = compress(plain, into, at);
    return length < plain.length ? { codec: 'zstd', length } : keep(plain, into, at);
  };
}

function frameAad(suite: Suite, kind: FrameKind, ref: Omit<FrameRef, 'offset' | 'storedLength'>): Buffer {
  const aad = Buffer.alloc(64);
  aad.write('casvault frame 1', 0, 'latin1');
  uuidBytes(suite.repositoryId).copy(aad, 16);
  uuidBytes(ref.pack.writerId).copy(aad, 32);
  aad.writeUInt32LE(ref.pack.seq, 48);
  aad.writeUInt32LE(ref.frame, 52);
  aad.writeUInt32LE(ref.plainLength, 56);
  aad.writeUInt8(frameKinds[kind], 60);
  aad.writeUInt8(frameCodecs[ref.codec], 61);
  return aad;
}

/**
 * The stored bytes of a frame. `packKey` is `packFrameKey` of its pack, null in a repository without encryption: then they are `coded`,
 * otherwise the beginning of `into` where that is given.
 */
export function sealFrame(
  suite: Suite,
  packKey: KeyObject | null,
  kind: FrameKind,
  ref: Omit<FrameRef, 'offset' | 'storedLength'>,
  coded: Uint8Array,
  into?: Uint8Array,
): Uint8Array {
  return packKey === null ? coded : seal(packKey, frameAad(suite, kind, ref), coded, into);
}

/** Decompresses to exactly `plainLength` bytes; anything else is damage of `object`. `what` says of which part. */
export type Unpack = (coded: Uint8Array, plainLength: number, what: string, object: string) => Uint8Array;

/**
 * The plain bytes of a stored frame, of exactly `ref.plainLength`; may be a view of `stored`. The content is not proven here: the caller
 * checks ids. Anything that does not open is damage of `object`. Allocates at most `plainLength` + 1 KiB, twice when sealed, unless it is
 * given the room for what is coded: `scratch`, as long as `stored`, of which the result may be a view.
 */
export function openFrame(
  suite: Suite,
  packKey: KeyObject | null,
  kind: FrameKind,
  ref: Omit<FrameRef, 'offset' | 'storedLength'>,
  stored: Uint8Array,
  object: string,
  unpack: Unpack = unzstd,
  scratch?: Uint8Array,
): Uint8Array {
  const coded = packKey === null ? stored : unseal(packKey, frameAad(suite, kind, ref), stored, scratch);
  if (coded === null) throw damaged(object, `frame ${ref.frame} fails its authentication`);
  if (ref.codec === 'zstd') return unpack(coded, ref.plainLength, `frame ${ref.frame}`, object);
  if (coded.length !== ref.plainLength) {
    throw damaged(object, `frame ${ref.frame} holds ${coded.length} bytes instead of ${ref.plainLength}`);
  }
  return coded;
}

export function unzstd(coded: Uint8Array, plainLength: number, what: string, object: string): Buffer {
  let plain: Buffer;
  try {
    plain = zstdDecompressSync(coded, {
      // A little more than needed: an output that just fills its chunk costs a second one.
      chunkSize: plainLength + 64,
      maxOutputLength: plainLength + 64,
    });
  } catch (cause) {
    throw damaged(object, `${what} does not decompress to ${plainLength} bytes`, cause);
  }
  if (plain.length !== plainLength) {
    throw damaged(object, `${what} holds ${plain.length} bytes instead of ${plainLength}`);
  }
  return plain;
}

export function kindOf(value: number, object: string): FrameKind {
  for (const [kind, number] of Object.entries(frameKinds)) if (number === value) return kind as FrameKind;
  throw unsupported(object, `frame kind ${value}`);
}

export function codecOf(value: number, object: string): FrameCodec {
  for (const [codec, number] of Object.entries(frameCodecs)) if (number === value) return codec as FrameCodec;
  throw unsupported(object, `frame codec ${value}`);
}

/** Refuses lengths that no writer makes, before anything is read or allocated by them. */
export function checkFrameLengths(
  kind: FrameKind,
  ref: { offset: number; storedLength: number; plainLength: number; codec: FrameCodec },
  sealed: boolean | null,
  object: string,
): void {
  const { offset, storedLength, plainLength, codec } = ref;
  if (plainLength < 1 || plainLength > maxPlain[kind])
    throw damaged(object, `a frame of ${plainLength} plain bytes`);
  const least = (sealed === true ? SEAL_BYTES : 0) + (codec === 'none' ? plainLength : 1);
  const most = plainLength + (sealed === false ? 0 : SEAL_BYTES);
  if (storedLength < least || storedLength > most) {
    throw damaged(object, `a frame of ${storedLength} stored bytes for ${plainLength}`);
  }
  if (offset + storedLength > MAX_PACK_BYTES)
    throw damaged(object, `a frame that ends at ${offset + storedLength}`);
}

/** How many blocks the plain bytes of a data frame are: only the last one of a disk may be short. */
export function blocksIn(plainLength: number): number {
  return Math.ceil(plainLength / BLOCK_BYTES);
}
