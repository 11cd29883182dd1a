import { Fault } from '@casvault/contracts';
import { ByteReader, ByteWriter, damaged } from './bytes.js';
import { type Digest } from './digest.js';
import { blocksIn, type FrameRef } from './frame.js';
import { BLOCKS_PER_GROUP, BLOCKS_PER_PAGE, FORMAT_VERSION, ID_BYTES } from './layout.js';
import {
  digestOfIds,
  idAt,
  isZeroId,
  openStructure,
  PackTable,
  readFrameRef,
  readPacks,
  writeFrameRef,
} from './structure.js';
import { type Suite } from './suite.js';

/*
 * A page maps 2048 blocks. It is self-contained: a reader goes from it straight to the frames.
 *   head 16: 'PAGE', u16 version, u16 packs, u16 frames, u16 blocks, u32 reserved
 *   256: bit i of byte i/8 (lowest first) = block i is not zero
 *   ids, 32 each, of the blocks that are not zero | places, u16 each: frame << 4 | block in that frame
 *   frames, 20 each: u16 pack, u16 ordinal, u32 offset, u32 stored, u32 plain, u8 codec, 3 reserved
 *   packs, 20 each: writer id, u32 seq | checksum 32 over all before
 */
const magic = Buffer.from('PAGE', 'latin1');
const HEAD_BYTES = 16;
const MASK_BYTES = BLOCKS_PER_PAGE / 8;
const FRAME_BYTES = 20;
const PACK_BYTES = 20;
export const NO_PLACE = 0xffff;
const pageTag = Buffer.from('casvault page 1\0', 'latin1');

/** A decoded page: 68 KiB of ids and places, and its frames (at most 2048). */
export interface MapPage {
  /** 2048 x 32 bytes; all zero = the block is zero (or behind the end of the disk). */
  readonly ids: Buffer;
  /** For each block `frame index << 4 | block in frame`, or NO_PLACE for a zero block. */
  readonly places: Uint16Array;
  readonly frames: readonly FrameRef[];
}

export const placeOf = (frame: number, block: number): number => (frame << 4) | block;
export const frameOfPlace = (place: number): number => place >> 4;
export const blockOfPlace = (place: number): number => place & 15;

/** The id of a page's content, wherever it is stored: equal ids of all blocks <=> equal page id. Null when all blocks are zero. */
export function pageId(ids: Buffer, identify: Digest): Buffer | null {
  return digestOfIds(pageTag, ids, identify);
}

/** Decoded again before it is handed out. */
export function encodePage(page: MapPage, suite: Suite): Buffer {
  const used: number[] = [];
  for (let i = 0; i < BLOCKS_PER_PAGE; i += 1) if (page.places[i] !== NO_PLACE) used.push(i);
  const table = new PackTable();
  const packOf = page.frames.map((frame) => table.numberOf(frame.pack));
  const { packs } = table;
  const size =
    HEAD_BYTES +
    MASK_BYTES +
    used.length * (ID_BYTES + 2) +
    packOf.length * FRAME_BYTES +
    packs.length * PACK_BYTES +
    32;
  const out = new ByteWriter(size);
  out.bytes(magic).u16(FORMAT_VERSION).u16(packs.length).u16(packOf.length).u16(used.length).reserved(4);
  const mask = Buffer.alloc(MASK_BYTES);
  for (const i of used) mask[i >> 3]! |= 1 << (i & 7);
  out.bytes(mask);
  for (const i of used) out.bytes(idAt(page.ids, i));
  for (const i of used) out.u16(page.places[i]!);
  page.frames.forEach((frame, i) => writeFrameRef(out, packOf[i]!, frame));
  for (const pack of packs) out.uuid(pack.writerId).u32(pack.seq);
  const bytes = out.bytes(suite.checksum(out.written())).done();
  const again = decodePage(bytes, suite, 'page being written');
  if (!again.ids.equals(page.ids) || !asBuffer16(again.places).equals(asBuffer16(page.places))) {
    throw new Fault('BUG', 'a page does not decode to what was encoded');
  }
  return bytes;
}

function asBuffer16(values: Uint16Array): Buffer {
  return Buffer.from(values.buffer, values.byteOffset, values.byteLength);
}

/** Checks everything but that the ids are those that the referring segment names: see `pageId`. */
export function decodePage(bytes: Uint8Array, suite: Suite, object: string): MapPage {
  const reader = openStructure(bytes, magic, suite.checksum, object);
  const packCount = reader.u16();
  const frameCount = reader.u16();
  const used = reader.u16();
  reader.reserved(4);
  const mask = reader.bytes(MASK_BYTES);
  if (used > BLOCKS_PER_PAGE || frameCount > used || packCount > frameCount) {
    throw damaged(object, `a page of ${used} blocks in ${frameCount} frames in ${packCount} packs`);
  }
  const idBytes = reader.bytes(used * ID_BYTES);
  const placeReader = new ByteReader(reader.bytes(used * 2), object);
  const frameReader = new ByteReader(reader.bytes(frameCount * FRAME_BYTES), object);
  const packs = readPacks(reader, packCount);
  reader.end();
  const frames: FrameRef[] = [];
  while (frameReader.remaining > 0) frames.push(readFrameRef(frameReader, packs, 'data', suite, object));
  return { ...spread(mask, idBytes, placeReader, frames, object), frames };
}

function spread(mask: Buffer, idBytes: Buffer, places: ByteReader, frames: FrameRef[], object: string) {
  const ids = Buffer.alloc(BLOCKS_PER_PAGE * ID_BYTES);
  const spreadPlaces = new Uint16Array(BLOCKS_PER_PAGE).fill(NO_PLACE);
  const sizes = frames.map((frame) => blocksIn(frame.plainLength));
  let next = 0;
  for (let i = 0; i < BLOCKS_PER_PAGE; i += 1) {
    if (((mask[i >> 3]! >> (i & 7)) & 1) === 0) continue;
    const id = idBytes.subarray(next * ID_BYTES, (next + 1) * ID_BYTES);
    next += 1;
    if (id.length < ID_BYTES || isZeroId(id)) throw damaged(object, 'a block that is not zero without an id');
    id.copy(ids, i * ID_BYTES);
    const place = places.u16();
    const size = sizes[frameOfPlace(place)];
    if (size === undefined || blockOfPlace(place) >= size || size > BLOCKS_PER_GROUP) {
      throw damaged(object, `block ${i} lies nowhere`);
    }
    spreadPlaces[i] = place;
  }
  places.end();
  return { ids, places: spreadPlaces };
}
