import { Fault } from '@casvault/contracts';
import { asBuffer, ByteReader, ByteWriter, damaged, unsupported, uuidBytes } from './bytes.js';
import { type Digest } from './digest.js';
import {
  blocksIn,
  checkFrameLengths,
  codecOf,
  frameCodecs,
  frameKinds,
  kindOf,
  type FrameCodec,
  type FrameKind,
} from './frame.js';
import {
  BLOCKS_PER_GROUP,
  FORMAT_VERSION,
  ID_BYTES,
  MAX_FRAMES_PER_PACK,
  MAX_PACK_BYTES,
  type PackRef,
} from './layout.js';

/*
 * A pack is frames back to back from offset 0, then the trailer, then the footer. The trailer says what the frames are without any key:
 *   head 64 bytes | one 56-byte entry a frame | ids, 32 bytes each, in frame order | [origins, 24 bytes a frame]
 * The footer has a fixed size, so a reader fetches the end of the object first.
 */
export const FOOTER_BYTES = 64;
const HEAD_BYTES = 64;
const ENTRY_BYTES = 56;
const ORIGIN_BYTES = 24;
const FLAG_RELOCATED = 1;
const footerMagic = Buffer.from('CASVPACK', 'latin1');
const noChain = '00000000-0000-0000-0000-000000000000';

/** What a frame was before compaction moved it: its encryption stays bound to that. */
export interface FrameOrigin {
  readonly pack: PackRef;
  readonly frame: number;
}

export interface PackFrame {
  readonly offset: number;
  readonly storedLength: number;
  readonly plainLength: number;
  readonly kind: FrameKind;
  readonly codec: FrameCodec;
  /** Ordinal of the disk in its point. */
  readonly disk: number;
  /** Number of the group, page or segment within the disk. */
  readonly number: number;
  /** Bit i: block i of the group is in the frame, lowest first. 0 for pages and segments. */
  readonly mask: number;
  /** Unkeyed hash of the stored bytes. */
  readonly storedHash: Uint8Array;
  /** 32 bytes for each block of the frame, or the one id of the page or segment. */
  readonly ids: Uint8Array;
  readonly origin: FrameOrigin | null;
}

export interface PackTrailer {
  readonly repositoryId: string;
  /** Null for packs that all chains share. */
  readonly chainId: string | null;
  readonly pack: PackRef;
  readonly frames: readonly PackFrame[];
}

export function blocksInMask(mask: number): number {
  let count = 0;
  for (let bits = mask; bits !== 0; bits &= bits - 1) count += 1;
  return count;
}

/** What a frame adds to the trailer: packs are closed by their whole size, so that tiny frames cannot make a huge trailer. */
export function trailerBytesOfFrame(ids: number): number {
  return ENTRY_BYTES + ids * ID_BYTES;
}
export const EMPTY_TRAILER_BYTES = HEAD_BYTES + FOOTER_BYTES;

/** Trailer and footer, to be written right behind the last frame; decoded again before they are handed out. */
export function encodePackEnd(trailer: PackTrailer, checksum: Digest): Buffer {
  const { frames } = trailer;
  const last = frames.at(-1);
  const relocated = frames.some((frame) => frame.origin !== null);
  const idBytes = frames.reduce((sum, frame) => sum + frame.ids.length, 0);
  const originBytes = relocated ? frames.length * ORIGIN_BYTES : 0;
  const trailerBytes = HEAD_BYTES + frames.length * ENTRY_BYTES + idBytes + originBytes;
  const packBytes = (last === undefined ? 0 : last.offset + last.storedLength) + trailerBytes + FOOTER_BYTES;
  const out = new ByteWriter(trailerBytes + FOOTER_BYTES);
  out
    .uuid(trailer.repositoryId)
    .uuid(trailer.chainId ?? noChain)
    .uuid(trailer.pack.writerId);
  out
    .u32(trailer.pack.seq)
    .u32(frames.length)
    .u32(idBytes / ID_BYTES)
    .reserved(4);
  for (const frame of frames) writeEntry(out, frame);
  for (const frame of frames) out.bytes(frame.ids);
  if (relocated) {
    for (const { origin } of frames) {
      if (origin === null) throw new Fault('BUG', 'a relocated pack names the origin of all its frames');
      out.bytes(uuidBytes(origin.pack.writerId)).u32(origin.pack.seq).u32(origin.frame);
    }
  }
  out
    .bytes(footerMagic)
    .u16(FORMAT_VERSION)
    .u16(relocated ? FLAG_RELOCATED : 0);
  out.u32(trailerBytes).u64(packBytes).reserved(8);
  const end = out.bytes(checksum(out.written())).done();
  const name = `packs/${trailer.pack.writerId}/${trailer.pack.seq}`;
  if (decodePackEnd(end, packBytes, checksum, name).frames.length !== frames.length) {
    throw new Fault('BUG', `the trailer of ${name} does not decode to what was encoded`);
  }
  return end;
}

function writeEntry(out: ByteWriter, frame: PackFrame): void {
  out.u32(frame.offset).u32(frame.storedLength).u32(frame.plainLength);
  out.u8(frameKinds[frame.kind]).u8(frameCodecs[frame.codec]).u16(frame.disk);
  out.u32(frame.number).u16(frame.mask).reserved(2).bytes(frame.storedHash);
}

/**
 * How many bytes at the end of the pack are trailer and footer. `tail` ends where the object of `packBytes` ends and holds at least the
 * footer (less only if the object itself is shorter).
 */
export function packEndLength(tail: Uint8Array, packBytes: number, object: string): number {
  return readFooter(tail, packBytes, object).trailerBytes + FOOTER_BYTES;
}

function readFooter(tail: Uint8Array, packBytes: number, object: string) {
  if (tail.length < FOOTER_BYTES) throw damaged(object, `${packBytes} bytes are no whole pack`);
  const reader = new ByteReader(tail.subarray(tail.length - FOOTER_BYTES), object);
  if (!reader.bytes(8).equals(footerMagic)) throw damaged(object, 'does not end with the footer of a pack');
  const version = reader.u16();
  if (version !== FORMAT_VERSION) throw unsupported(object, `pack version ${version}`);
  const flags = reader.u16();
  if ((flags & ~FLAG_RELOCATED) !== 0) throw unsupported(object, `pack flags ${flags}`);
  const trailerBytes = reader.u32();
  const length = reader.u64();
  if (length !== packBytes || length > MAX_PACK_BYTES) {
    throw damaged(object, `is ${packBytes} bytes long, its footer says ${length}`);
  }
  if (trailerBytes + FOOTER_BYTES > length) throw damaged(object, 'its trailer is longer than itself');
  reader.reserved(8);
  return { trailerBytes, relocated: (flags & FLAG_RELOCATED) !== 0, hash: reader.bytes(ID_BYTES) };
}

/** Decodes trailer and footer. `tail` ends where the object of `packBytes` ends. Ids and hashes are views of `tail`. */
export function decodePackEnd(
  tail: Uint8Array,
  packBytes: number,
  checksum: Digest,
  object: string,
): PackTrailer {
  const { trailerBytes, relocated, hash } = readFooter(tail, packBytes, object);
  if (tail.length < trailerBytes + FOOTER_BYTES) throw damaged(object, 'its trailer is cut off');
  const end = asBuffer(tail).subarray(tail.length - trailerBytes - FOOTER_BYTES);
  if (!checksum(end.subarray(0, end.length - ID_BYTES)).equals(hash)) {
    throw damaged(object, 'its trailer does not have the hash that its footer names');
  }
  const reader = new ByteReader(end.subarray(0, trailerBytes), object);
  const repositoryId = reader.uuid();
  const chainId = reader.uuid();
  const pack = { writerId: reader.uuid(), seq: reader.u32() };
  const frameCount = reader.u32();
  const idCount = reader.u32();
  reader.reserved(4);
  const expected = frameCount * (ENTRY_BYTES + (relocated ? ORIGIN_BYTES : 0)) + idCount * ID_BYTES;
  if (frameCount > MAX_FRAMES_PER_PACK || expected !== reader.remaining) {
    throw damaged(object, `a trailer of ${trailerBytes} bytes for ${frameCount} frames, ${idCount} ids`);
  }
  const entries = reader.bytes(frameCount * ENTRY_BYTES);
  const ids = reader.bytes(idCount * ID_BYTES);
  const frames = readFrames(new ByteReader(entries, object), ids, relocated ? reader : null, object);
  const framesEnd = frames.length === 0 ? 0 : frames.at(-1)!.offset + frames.at(-1)!.storedLength;
  if (framesEnd !== packBytes - end.length) throw damaged(object, 'its frames do not fill it');
  return { repositoryId, chainId: chainId === noChain ? null : chainId, pack, frames };
}

function readFrames(
  entries: ByteReader,
  ids: Buffer,
  origins: ByteReader | null,
  object: string,
): PackFrame[] {
  const frames: PackFrame[] = [];
  let offset = 0;
  let idAt = 0;
  while (entries.remaining > 0) {
    const entry = readEntry(entries, object);
    if (entry.offset !== offset) throw damaged(object, `frame ${frames.length} does not begin at ${offset}`);
    offset += entry.storedLength;
    const idEnd = idAt + (entry.kind === 'data' ? blocksInMask(entry.mask) : 1) * ID_BYTES;
    if (idEnd > ids.length) throw damaged(object, 'fewer ids than blocks');
    const origin = origins && {
      pack: { writerId: origins.uuid(), seq: origins.u32() },
      frame: origins.u32(),
    };
    frames.push({ ...entry, ids: ids.subarray(idAt, idEnd), origin });
    idAt = idEnd;
  }
  if (idAt !== ids.length) throw damaged(object, 'more ids than blocks');
  return frames;
}

function readEntry(reader: ByteReader, object: string): Omit<PackFrame, 'ids' | 'origin'> {
  const offset = reader.u32();
  const storedLength = reader.u32();
  const plainLength = reader.u32();
  const kind = kindOf(reader.u8(), object);
  const codec = codecOf(reader.u8(), object);
  const disk = reader.u16();
  const number = reader.u32();
  const mask = reader.u16();
  reader.reserved(2);
  const storedHash = reader.bytes(ID_BYTES);
  checkFrameLengths(kind, { offset, storedLength, plainLength, codec }, null, object);
  if (kind === 'data' ? blocksIn(plainLength) !== blocksInMask(mask) : mask !== 0) {
    throw damaged(object, `a ${kind} frame of ${plainLength} bytes with the mask ${mask.toString(2)}`);
  }
  return { offset, storedLength, plainLength, kind, codec, disk, number, mask, storedHash };
}

/** The blocks of a group that `mask` names, lowest first. */
export function blocksOfMask(mask: number): number[] {
  const blocks: number[] = [];
  for (let block = 0; block < BLOCKS_PER_GROUP; block += 1) if ((mask >> block) & 1) blocks.push(block);
  return blocks;
}
