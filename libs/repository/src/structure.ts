import { asBuffer, ByteReader, type ByteWriter, damaged, unsupported } from './bytes.js';
import { type Digest } from './digest.js';
import { checkFrameLengths, codecOf, frameCodecs, type FrameRef } from './frame.js';
import { FORMAT_VERSION, ID_BYTES, type PackRef } from './layout.js';
import { type Suite } from './suite.js';

const zeroId = Buffer.alloc(ID_BYTES);

export const idAt = (ids: Buffer, index: number): Buffer =>
  ids.subarray(index * ID_BYTES, (index + 1) * ID_BYTES);
export const isZeroId = (id: Uint8Array): boolean => zeroId.equals(id);

/** The hash over a list of ids, or null when they are all zero. */
export function digestOfIds(tag: Buffer, ids: Buffer, identify: Digest): Buffer | null {
  return Buffer.alloc(ids.length).equals(ids) ? null : identify(Buffer.concat([tag, ids]));
}

/** Assigns consecutive numbers to packs in order of first use. */
export class PackTable {
  readonly packs: PackRef[] = [];
  readonly #numbers = new Map<string, number>();

  numberOf(pack: PackRef): number {
    const key = `${pack.writerId}/${pack.seq}`;
    let number = this.#numbers.get(key);
    if (number === undefined) {
      number = this.packs.push(pack) - 1;
      this.#numbers.set(key, number);
    }
    return number;
  }
}

export function writeFrameRef(out: ByteWriter, pack: number, frame: FrameRef): void {
  out.u16(pack).u16(frame.frame).u32(frame.offset).u32(frame.storedLength).u32(frame.plainLength);
  out.u8(frameCodecs[frame.codec]).reserved(3);
}

/** Magic, version and the checksum at the end of a page, segment or table; the reader stands behind the version. */
export function openStructure(
  bytes: Uint8Array,
  expected: Buffer,
  checksum: Digest,
  object: string,
): ByteReader {
  const all = asBuffer(bytes);
  const head = new ByteReader(all, object);
  if (!head.bytes(4).equals(expected))
    throw damaged(object, `no ${expected.toString('latin1')} where one must be`);
  const version = head.u16();
  if (version !== FORMAT_VERSION) {
    throw unsupported(object, `${expected.toString('latin1')} version ${version}`);
  }
  if (all.length < 6 + ID_BYTES) throw damaged(object, `${all.length} bytes are too few`);
  const body = all.subarray(0, all.length - ID_BYTES);
  if (!checksum(body).equals(all.subarray(body.length))) {
    throw damaged(object, `a ${expected.toString('latin1')} does not have the hash that it ends with`);
  }
  const reader = new ByteReader(body, object);
  reader.bytes(6);
  return reader;
}

export function readPacks(reader: ByteReader, count: number): PackRef[] {
  return Array.from({ length: count }, () => ({ writerId: reader.uuid(), seq: reader.u32() }));
}

export function readFrameRef(
  reader: ByteReader,
  packs: readonly PackRef[],
  kind: 'data' | 'page',
  suite: Suite,
  object: string,
): FrameRef {
  const pack = packs[reader.u16()];
  const frame = reader.u16();
  const offset = reader.u32();
  const storedLength = reader.u32();
  const plainLength = reader.u32();
  const codec = codecOf(reader.u8(), object);
  reader.reserved(3);
  if (pack === undefined) throw damaged(object, 'a frame in a pack that is not named');
  checkFrameLengths(kind, { offset, storedLength, plainLength, codec }, suite.keys !== null, object);
  return { pack, frame, offset, storedLength, plainLength, codec };
}
