import { Fault } from '@casvault/contracts';
import { ByteReader, ByteWriter, damaged } from './bytes.js';
import { type Digest } from './digest.js';
import { FORMAT_VERSION, ID_BYTES, type PackRef } from './layout.js';
import { openStructure, PackTable, readPacks } from './structure.js';

/*
 * Sorted tables of the dedup scope `pool`. Entries have one width, so a reader may search them in place.
 *   head 16: magic, u16 version, u16 reserved, u32 entries, u32 packs
 *   entries | packs, 20 each: writer id, u32 seq | checksum 32 over all before
 * 'GIDX' entry 40: group id 32, u32 pack, u32 ordinal of the frame that holds all blocks of the group that are not zero.
 * 'MOVE' entry 16: u32 old pack, u32 old ordinal, u32 new pack, u32 new offset.
 */
const HEAD_BYTES = 16;
export const MAX_TABLE_ENTRIES = 1_048_576;
const indexMagic = Buffer.from('GIDX', 'latin1');
const moveMagic = Buffer.from('MOVE', 'latin1');
const groupTag = Buffer.from('casvault grup 1\0', 'latin1');

export interface GroupEntry {
  readonly groupId: Buffer;
  readonly pack: PackRef;
  readonly frame: number;
}

/** Where a frame went that compaction moved. */
export interface FrameMove {
  readonly from: { readonly pack: PackRef; readonly frame: number };
  readonly to: { readonly pack: PackRef; readonly offset: number };
}

/** The id of an aligned group: over its 16 block ids, all zero for zero blocks. */
export function groupId(ids: Uint8Array, identify: Digest): Buffer {
  return identify(Buffer.concat([groupTag, ids]));
}

/** `entries` must be sorted by group id, without doubles. */
export function encodeGroupIndex(entries: readonly GroupEntry[], checksum: Digest): Buffer {
  const table = new PackTable();
  const rows = entries.map((entry) => ({ entry, pack: table.numberOf(entry.pack) }));
  return encodeTable(indexMagic, 40, rows.length, table, checksum, (out) => {
    for (const { entry, pack } of rows) out.bytes(entry.groupId).u32(pack).u32(entry.frame);
  });
}

export function decodeGroupIndex(bytes: Uint8Array, checksum: Digest, object: string): GroupEntry[] {
  const { rows, packs } = openTable(bytes, indexMagic, 40, checksum, object);
  const entries: GroupEntry[] = [];
  while (rows.remaining > 0) {
    const entry = {
      groupId: rows.bytes(ID_BYTES),
      pack: packAt(packs, rows.u32(), object),
      frame: rows.u32(),
    };
    const last = entries.at(-1);
    if (last !== undefined && last.groupId.compare(entry.groupId) >= 0)
      throw damaged(object, 'is not sorted');
    entries.push(entry);
  }
  return entries;
}

/** `moves` must be sorted by old pack (writer, then seq) and old ordinal. */
export function encodeRelocations(moves: readonly FrameMove[], checksum: Digest): Buffer {
  const table = new PackTable();
  const rows = moves.map((move) => [
    table.numberOf(move.from.pack),
    move.from.frame,
    table.numberOf(move.to.pack),
    move.to.offset,
  ]);
  return encodeTable(moveMagic, 16, rows.length, table, checksum, (out) => {
    for (const row of rows) for (const value of row) out.u32(value);
  });
}

export function decodeRelocations(bytes: Uint8Array, checksum: Digest, object: string): FrameMove[] {
  const { rows, packs } = openTable(bytes, moveMagic, 16, checksum, object);
  const moves: FrameMove[] = [];
  while (rows.remaining > 0) {
    const from = { pack: packAt(packs, rows.u32(), object), frame: rows.u32() };
    moves.push({ from, to: { pack: packAt(packs, rows.u32(), object), offset: rows.u32() } });
  }
  return moves;
}

function packAt(packs: readonly PackRef[], number: number, object: string): PackRef {
  const pack = packs[number];
  if (pack === undefined) throw damaged(object, 'an entry in a pack that is not named');
  return pack;
}

function encodeTable(
  magic: Buffer,
  entryBytes: number,
  count: number,
  table: PackTable,
  checksum: Digest,
  writeRows: (out: ByteWriter) => void,
): Buffer {
  if (count > MAX_TABLE_ENTRIES) throw new Fault('BUG', `a table of ${count} entries`);
  const out = new ByteWriter(HEAD_BYTES + count * entryBytes + table.packs.length * 20 + ID_BYTES);
  out.bytes(magic).u16(FORMAT_VERSION).reserved(2).u32(count).u32(table.packs.length);
  writeRows(out);
  for (const pack of table.packs) out.uuid(pack.writerId).u32(pack.seq);
  return out.bytes(checksum(out.written())).done();
}

function openTable(bytes: Uint8Array, magic: Buffer, entryBytes: number, checksum: Digest, object: string) {
  const reader = openStructure(bytes, magic, checksum, object);
  reader.reserved(2);
  const count = reader.u32();
  const packCount = reader.u32();
  if (count > MAX_TABLE_ENTRIES || packCount > 2 * count) {
    throw damaged(object, `a table of ${count} entries in ${packCount} packs`);
  }
  const rows = new ByteReader(reader.bytes(count * entryBytes), object);
  const packs = readPacks(reader, packCount);
  reader.end();
  return { rows, packs };
}
