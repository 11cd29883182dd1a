import { Fault } from '@casvault/contracts';
import { ByteReader, ByteWriter, damaged } from './bytes.js';
import { type Digest } from './digest.js';
import { checkFrameLengths, codecOf, frameCodecs, type FrameRef } from './frame.js';
import {
  BLOCKS_PER_PAGE,
  FORMAT_VERSION,
  ID_BYTES,
  MAX_PACKS_PER_SEGMENT,
  MAX_WRITERS_PER_SEGMENT,
  PAGES_PER_SEGMENT,
  SEGMENT_SPAN_BYTES,
  type PackRef,
} from './layout.js';
import { digestOfIds, idAt, isZeroId, openStructure } from './structure.js';
import { type Suite } from './suite.js';

/*
 * A segment lists 1024 pages, and counts for every pack how many of its pages need it: so the packs of a point are known, exactly, without
 * reading its pages.
 *   head 16: 'SEGM', u16 version, u16 pages, u32 packs, u16 writers, u16 reserved
 *   128: bit i of byte i/8 (lowest first) = page i is not zero
 *   pages, 56 each: id 32, u32 pack, u16 ordinal, u16 blocks that are not zero, u32 offset, u32 stored, u32 plain, u8 codec, 3 reserved
 *   packs, 8 each: u16 writer, u16 pages with blocks in it, u32 seq | writers, 16 each | checksum 32 over all before
 */
const magic = Buffer.from('SEGM', 'latin1');
const HEAD_BYTES = 16;
const MASK_BYTES = PAGES_PER_SEGMENT / 8;
const ENTRY_BYTES = 56;
const PACK_BYTES = 8;
const segmentTag = Buffer.from('casvault segm 1\0', 'latin1');
const rootTag = Buffer.from('casvault root 1\0', 'latin1');

export interface PackUse {
  readonly pack: PackRef;
  /** How many pages of the segment have blocks in this pack. */
  readonly pages: number;
}

/** Where a page is, and how many of its blocks are not zero. */
export interface PageRef extends FrameRef {
  readonly blocks: number;
}

/** A decoded segment: 32 KiB of ids, at most 1024 page frames, and the packs that the pages' blocks lie in. */
export interface MapSegment {
  /** 1024 x 32 bytes; all zero = the page is zero. */
  readonly ids: Buffer;
  readonly pages: readonly (PageRef | null)[];
  readonly uses: readonly PackUse[];
}

/** Equal ids of all pages <=> equal segment id. Null when all pages are zero. */
export function segmentId(ids: Buffer, identify: Digest): Buffer | null {
  return digestOfIds(segmentTag, ids, identify);
}

export function segmentsOf(sizeBytes: number): number {
  return Math.ceil(sizeBytes / SEGMENT_SPAN_BYTES);
}

/** Equal roots <=> equal disks of equal size. `segments` has one id for each 128 GiB, null where all is zero. */
export function rootId(
  sizeBytes: number,
  segments: readonly (Uint8Array | null)[],
  identify: Digest,
): Buffer {
  if (segments.length !== segmentsOf(sizeBytes))
    throw new Fault('BUG', 'a root needs one id for every segment');
  const out = new ByteWriter(rootTag.length + 8 + segments.length * ID_BYTES);
  out.bytes(rootTag).u64(sizeBytes);
  for (const id of segments) {
    if (id === null) out.reserved(ID_BYTES);
    else out.bytes(id);
  }
  return identify(out.done());
}

class UseTable {
  readonly writers: string[] = [];
  readonly packs: { writer: number; seq: number; pages: number }[] = [];
  readonly #writerNumbers = new Map<string, number>();
  readonly #numbers = new Map<string, number>();

  add(pack: PackRef, pages: number): number {
    const key = `${pack.writerId}/${pack.seq}`;
    const known = this.#numbers.get(key);
    if (known !== undefined) return known;
    let writer = this.#writerNumbers.get(pack.writerId);
    if (writer === undefined) {
      writer = this.writers.push(pack.writerId) - 1;
      this.#writerNumbers.set(pack.writerId, writer);
    }
    const number = this.packs.push({ writer, seq: pack.seq, pages }) - 1;
    this.#numbers.set(key, number);
    return number;
  }
}

/** Decoded again before it is handed out. */
export function encodeSegment(segment: MapSegment, suite: Suite): Buffer {
  const table = new UseTable();
  for (const use of segment.uses) table.add(use.pack, use.pages);
  const listed: { frame: PageRef; id: Buffer; pack: number }[] = [];
  const mask = Buffer.alloc(MASK_BYTES);
  segment.pages.forEach((frame, i) => {
    if (frame === null) return;
    mask[i >> 3]! |= 1 << (i & 7);
    listed.push({ frame, id: idAt(segment.ids, i), pack: table.add(frame.pack, 0) });
  });
  const { packs, writers } = table;
  if (packs.length > MAX_PACKS_PER_SEGMENT || writers.length > MAX_WRITERS_PER_SEGMENT) {
    throw new Fault('CONFLICT', `128 GiB of a disk lie in ${packs.length} packs: make a full backup`);
  }
  const size =
    HEAD_BYTES + MASK_BYTES + listed.length * ENTRY_BYTES + packs.length * PACK_BYTES + writers.length * 16;
  const out = new ByteWriter(size + ID_BYTES);
  out.bytes(magic).u16(FORMAT_VERSION).u16(listed.length).u32(packs.length).u16(writers.length).reserved(2);
  out.bytes(mask);
  for (const { frame, id, pack } of listed) {
    out.bytes(id).u32(pack).u16(frame.frame).u16(frame.blocks);
    out.u32(frame.offset).u32(frame.storedLength).u32(frame.plainLength);
    out.u8(frameCodecs[frame.codec]).reserved(3);
  }
  for (const pack of packs) out.u16(pack.writer).u16(pack.pages).u32(pack.seq);
  for (const writer of writers) out.uuid(writer);
  const bytes = out.bytes(suite.checksum(out.written())).done();
  if (!decodeSegment(bytes, suite, 'segment being written').ids.equals(segment.ids)) {
    throw new Fault('BUG', 'a segment does not decode to what was encoded');
  }
  return bytes;
}

/** Checks everything but that the ids are those that the referring manifest names: see `segmentId`. */
export function decodeSegment(bytes: Uint8Array, suite: Suite, object: string): MapSegment {
  const reader = openStructure(bytes, magic, suite.checksum, object);
  const pageCount = reader.u16();
  const packCount = reader.u32();
  const writerCount = reader.u16();
  reader.reserved(2);
  if (pageCount > PAGES_PER_SEGMENT || packCount > MAX_PACKS_PER_SEGMENT || writerCount > packCount) {
    throw damaged(object, `a segment of ${pageCount} pages in ${packCount} packs of ${writerCount} writers`);
  }
  const mask = reader.bytes(MASK_BYTES);
  const entries = new ByteReader(reader.bytes(pageCount * ENTRY_BYTES), object);
  const packBytes = new ByteReader(reader.bytes(packCount * PACK_BYTES), object);
  const writers = Array.from({ length: writerCount }, () => reader.uuid());
  reader.end();
  const all: PackUse[] = [];
  while (packBytes.remaining > 0) all.push(readUse(packBytes, writers, object));
  const ids = Buffer.alloc(PAGES_PER_SEGMENT * ID_BYTES);
  const pages = Array.from({ length: PAGES_PER_SEGMENT }, (_, i) => {
    if (((mask[i >> 3]! >> (i & 7)) & 1) === 0) return null;
    const { id, frame } = readEntry(entries, all, suite, object);
    id.copy(ids, i * ID_BYTES);
    return frame;
  });
  entries.end();
  return { ids, pages, uses: all.filter((use) => use.pages > 0) };
}

function readUse(reader: ByteReader, writers: readonly string[], object: string): PackUse {
  const writerId = writers[reader.u16()];
  const pages = reader.u16();
  const seq = reader.u32();
  if (writerId === undefined || pages > PAGES_PER_SEGMENT) {
    throw damaged(object, 'a pack of no writer, or of more pages than there are');
  }
  return { pack: { writerId, seq }, pages };
}

function readEntry(reader: ByteReader, packs: readonly PackUse[], suite: Suite, object: string) {
  const id = reader.bytes(ID_BYTES);
  const pack = packs[reader.u32()]?.pack;
  const frame = reader.u16();
  const blocks = reader.u16();
  const offset = reader.u32();
  const storedLength = reader.u32();
  const plainLength = reader.u32();
  const codec = codecOf(reader.u8(), object);
  reader.reserved(3);
  if (pack === undefined || isZeroId(id)) throw damaged(object, 'a page that lies nowhere');
  if (blocks < 1 || blocks > BLOCKS_PER_PAGE) throw damaged(object, `a page of ${blocks} blocks`);
  checkFrameLengths('page', { offset, storedLength, plainLength, codec }, suite.keys !== null, object);
  return { id, frame: { pack, frame, offset, storedLength, plainLength, codec, blocks } satisfies PageRef };
}
