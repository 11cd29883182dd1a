import { createCipheriv } from 'node:crypto';
import {
  decodeDescriptor,
  encodeDescriptor,
  unwrapMasterKey,
  wrapMasterKey,
  type RepositoryKey,
} from '../descriptor.js';
import { damaged } from '../bytes.js';
import { codedBound, openCodeFrame, openFrame, sealFrame, type FrameKind, type FrameRef } from '../frame.js';
import {
  BLOCK_BYTES,
  BLOCKS_PER_GROUP,
  BLOCKS_PER_PAGE,
  DESCRIPTOR_KEY,
  GROUP_BYTES,
  ID_BYTES,
  packKey,
  PAGES_PER_SEGMENT,
  pointKey,
  type PackRef,
} from '../layout.js';
import { decodeManifest, encodeManifest, packRanges, type PointDisk } from '../manifest.js';
import { encodePackEnd, type PackFrame } from '../pack.js';
import {
  blockOfPlace,
  decodePage,
  encodePage,
  frameOfPlace,
  NO_PLACE,
  pageId,
  placeOf,
  type MapPage,
} from '../page.js';
import { decodeSegment, encodeSegment, rootId, segmentId } from '../segment.js';
import { idAt, isZeroId } from '../structure.js';
import { openSuite, packFrameKey, type Suite } from '../suite.js';

/*
 * A repository in memory, written and read by the codecs alone: the smallest whole example of the format, and the source of fixtures.
 */
export type Objects = Map<string, Buffer>;

export const sampleIds = {
  repositoryId: '0192f0c0-0000-7000-8000-00000000aaaa',
  chainId: '0192f0c0-0000-7000-8000-00000000cccc',
  diskId: '0192f0c0-0000-7000-8000-00000000dddd',
  points: ['0192f0c0-0000-7000-8000-000100000001', '0192f0c0-0000-7000-8000-000100000002'],
  writers: ['0192f0c0-0000-7000-8000-000200000001', '0192f0c0-0000-7000-8000-000200000002'],
} as const;
export const sampleKey: RepositoryKey = { kind: 'raw', keyId: 'fixture', key: Buffer.alloc(32, 0x11) };
const masterKey = Buffer.alloc(32, 0x22);
const instant = '2026-01-02T03:04:05.000Z';

/** 3 MiB and 1000 bytes: blocks of text, of random bytes and of zeros, and a short one at the end. */
export function sampleDisks(): [Buffer, Buffer] {
  const disk = Buffer.alloc(3 * GROUP_BYTES + 1000);
  disk.fill('a block of text. ', 0, 3 * BLOCK_BYTES);
  const random = createCipheriv('aes-128-ctr', Buffer.alloc(16, 1), Buffer.alloc(16)).update(
    Buffer.alloc(BLOCK_BYTES),
  );
  random.copy(disk, GROUP_BYTES + 5 * BLOCK_BYTES);
  disk.fill('the end', 3 * GROUP_BYTES);
  const changed = Buffer.from(disk);
  changed.fill('changed since. ', BLOCK_BYTES, 2 * BLOCK_BYTES);
  changed.fill(0, 2 * BLOCK_BYTES, 3 * BLOCK_BYTES);
  return [disk, changed];
}

/** Two points of one disk: a full one and one that differs in two blocks; on demand with the first's page where the second's belongs. */
export function sampleRepository(encrypted: boolean, options: { swapPage?: boolean } = {}): Objects {
  const objects: Objects = new Map();
  const { repositoryId } = sampleIds;
  const scrypt = { N: 2 ** 14, r: 8, p: 1, salt: Buffer.alloc(16) };
  objects.set(
    DESCRIPTOR_KEY,
    encodeDescriptor({
      format: 'casvault repository',
      version: 1,
      repositoryId,
      blockBytes: BLOCK_BYTES,
      groupBytes: GROUP_BYTES,
      hash: 'blake3-256',
      dedupScope: 'chain',
      encryption: encrypted
        ? { mode: 'aes-256-gcm', masterKeys: [wrapMasterKey(repositoryId, masterKey, sampleKey, scrypt)] }
        : { mode: 'none' },
      createdAt: instant,
    }),
  );
  const suite = openSuite({ repositoryId, hash: 'blake3-256', masterKey: encrypted ? masterKey : null });
  const [first, second] = sampleDisks();
  const page = writePoint(objects, suite, 0, first, null);
  writePoint(objects, suite, 1, second, page, options.swapPage === true ? page : null);
  return objects;
}

/** A pack being filled in memory. */
class MemoryPack {
  readonly #stored: Uint8Array[] = [];
  readonly #frames: PackFrame[] = [];
  #offset = 0;

  constructor(
    readonly suite: Suite,
    readonly pack: PackRef,
  ) {}

  add(kind: FrameKind, number: number, mask: number, ids: Buffer, plain: Buffer): FrameRef {
    const into = Buffer.alloc(codedBound(plain.length));
    const { codec, length } = openCodeFrame(1)(plain, into, 0);
    const ref = { pack: this.pack, frame: this.#frames.length, plainLength: plain.length, codec };
    const key = packFrameKey(this.suite, this.pack);
    const stored = sealFrame(this.suite, key, kind, ref, into.subarray(0, length));
    const offset = this.#offset;
    const place = { offset, storedLength: stored.length, plainLength: plain.length };
    const storedHash = this.suite.checksum(stored);
    this.#frames.push({ ...place, kind, codec, disk: 0, number, mask, storedHash, ids, origin: null });
    this.#stored.push(stored);
    this.#offset += stored.length;
    return { ...ref, offset, storedLength: stored.length };
  }

  close(objects: Objects): void {
    const { repositoryId, checksum } = this.suite;
    const { chainId } = sampleIds;
    const end = encodePackEnd({ repositoryId, chainId, pack: this.pack, frames: this.#frames }, checksum);
    objects.set(packKey(chainId, this.pack), Buffer.concat([...this.#stored, end]));
  }
}

function writePoint(
  objects: Objects,
  suite: Suite,
  index: 0 | 1,
  disk: Buffer,
  parent: MapPage | null,
  swapped: MapPage | null = null,
): MapPage {
  const writerId = sampleIds.writers[index];
  const data = new MemoryPack(suite, { writerId, seq: 0 });
  const page = writeData(data, disk, parent);
  data.close(objects);
  const maps = new MemoryPack(suite, { writerId, seq: 1 });
  const id = pageId(page.ids, suite.identify)!;
  const blocks = page.places.filter((place) => place !== NO_PLACE).length;
  const pageRef = { ...maps.add('page', 0, 0, id, encodePage(swapped ?? page, suite)), blocks };
  const pages = Array.from({ length: PAGES_PER_SEGMENT }, (_, i) => (i === 0 ? pageRef : null));
  const ids = Buffer.concat([id, Buffer.alloc((PAGES_PER_SEGMENT - 1) * ID_BYTES)]);
  const packs = new Map(page.frames.map(({ pack }) => [`${pack.writerId}${pack.seq}`, pack]));
  const segment = { ids, pages, uses: [...packs.values()].map((pack) => ({ pack, pages: 1 })) };
  const segmentHash = segmentId(ids, suite.identify)!;
  const { pack, ...ref } = maps.add('segment', 0, 0, segmentHash, encodeSegment(segment, suite));
  maps.close(objects);
  const pointId = sampleIds.points[index];
  const pointDisk: PointDisk = {
    diskId: sampleIds.diskId,
    target: 'vda',
    role: 'system',
    bus: 'virtio',
    format: 'raw',
    sizeBytes: disk.length,
    root: rootId(disk.length, [segmentHash], suite.identify).toString('hex'),
    usedBlocks: blocks,
    segments: [{ id: segmentHash.toString('hex'), ...pack, ...ref }],
    stats: {
      dataBytes: disk.length,
      readBytes: disk.length,
      resumedBytes: 0,
      sameBytes: 0,
      newBytes: 0,
      storedBytes: 0,
    },
    lineage: null,
    reasons: [],
    tracked: false,
  };
  const { repositoryId, chainId } = sampleIds;
  const manifest = encodeManifest(
    {
      inventory: {
        repositoryId,
        chainId,
        pointId,
        parentPointId: index === 0 ? null : sampleIds.points[0],
        kind: index === 0 ? 'full' : 'incremental',
        createdAt: instant,
        packs: packRanges([...packs.values(), maps.pack]),
      },
      facts: {
        capturedAt: instant,
        method: 'offline',
        consistency: 'crash',
        packBytes: 0,
        vm: {
          vmId: sampleIds.diskId,
          uuid: sampleIds.diskId,
          name: 'sample',
          platformName: 'lab',
          platformVersion: 'E0730',
        },
        configuration: { cpus: 2 },
        disks: [pointDisk],
        excludedDisks: [],
        tools: { casvault: '0.1.0' },
      },
    },
    suite,
  );
  objects.set(pointKey(chainId, pointId), manifest);
  return page;
}

/** One frame for the new blocks of every group; the rest is as in the parent. */
function writeData(pack: MemoryPack, disk: Buffer, parent: MapPage | null): MapPage {
  const ids = Buffer.alloc(BLOCKS_PER_PAGE * ID_BYTES);
  const places = new Uint16Array(BLOCKS_PER_PAGE).fill(NO_PLACE);
  const frames = [...(parent?.frames ?? [])];
  for (let group = 0; group * GROUP_BYTES < disk.length; group += 1) {
    const fresh: { block: number; bytes: Buffer; id: Buffer }[] = [];
    for (let i = 0; i < BLOCKS_PER_GROUP; i += 1) {
      const block = group * BLOCKS_PER_GROUP + i;
      const bytes = disk.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES);
      if (bytes.every((byte) => byte === 0)) continue;
      const id = pack.suite.identify(bytes);
      id.copy(ids, block * ID_BYTES);
      if (parent !== null && id.equals(idAt(parent.ids, block))) places[block] = parent.places[block]!;
      else fresh.push({ block, bytes, id });
    }
    if (fresh.length === 0) continue;
    const mask = fresh.reduce((bits, { block }) => bits | (1 << (block % BLOCKS_PER_GROUP)), 0);
    const all = (part: 'bytes' | 'id') => Buffer.concat(fresh.map((one) => one[part]));
    const frame = frames.push(pack.add('data', group, mask, all('id'), all('bytes'))) - 1;
    fresh.forEach(({ block }, i) => (places[block] = placeOf(frame, i)));
  }
  return onlyUsed({ ids, places, frames });
}

function onlyUsed({ ids, places, frames }: MapPage): MapPage {
  const used = frames.map((_, i) => places.some((place) => place !== NO_PLACE && frameOfPlace(place) === i));
  const numbers = used.map((_, i) => used.slice(0, i).filter(Boolean).length);
  const moved = places.map((place) =>
    place === NO_PLACE ? NO_PLACE : placeOf(numbers[frameOfPlace(place)]!, blockOfPlace(place)),
  );
  return { ids, places: moved, frames: frames.filter((_, i) => used[i]) };
}

/** The first disk of a point, every byte checked on the way: what a reader of the format does. */
export function readSample(objects: Objects, pointId: string, key: RepositoryKey | null): Buffer {
  const get = (object: string): Buffer => {
    const bytes = objects.get(object);
    if (bytes === undefined) throw damaged(object, 'is missing');
    return bytes;
  };
  const descriptor = decodeDescriptor(get(DESCRIPTOR_KEY));
  const suite = openSuite({ ...descriptor, masterKey: unwrapMasterKey(descriptor, key) });
  const point = pointKey(sampleIds.chainId, pointId);
  const manifest = decodeManifest(get(point), suite, point);
  if (pointKey(manifest.inventory.chainId, manifest.inventory.pointId) !== point) {
    throw damaged(point, 'is the manifest of another point');
  }
  const open = (kind: FrameKind, ref: FrameRef): { plain: Uint8Array; object: string } => {
    const object = packKey(sampleIds.chainId, ref.pack);
    const stored = get(object).subarray(ref.offset, ref.offset + ref.storedLength);
    return { plain: openFrame(suite, packFrameKey(suite, ref.pack), kind, ref, stored, object), object };
  };
  const disk = manifest.facts.disks[0]!;
  const { writerId, seq, ...ref } = disk.segments[0]!;
  const opened = open('segment', { pack: { writerId, seq }, ...ref });
  const segment = decodeSegment(opened.plain, suite, opened.object);
  if (segmentId(segment.ids, suite.identify)?.toString('hex') !== ref.id)
    throw damaged(opened.object, 'another segment');
  const first = open('page', segment.pages[0]!);
  const page = decodePage(first.plain, suite, first.object);
  if (pageId(page.ids, suite.identify)?.equals(idAt(segment.ids, 0)) !== true)
    throw damaged(first.object, 'another page');
  const out = Buffer.alloc(disk.sizeBytes);
  page.places.forEach((place, block) => {
    if (place === NO_PLACE) return;
    const frame = open('data', page.frames[frameOfPlace(place)]!);
    const length = Math.min(BLOCK_BYTES, out.length - block * BLOCK_BYTES);
    const bytes = frame.plain.subarray(blockOfPlace(place) * BLOCK_BYTES).subarray(0, length);
    const id = idAt(page.ids, block);
    if (isZeroId(id) || !suite.identify(bytes).equals(id))
      throw damaged(frame.object, `does not hold block ${block}`);
    out.set(bytes, block * BLOCK_BYTES);
  });
  return out;
}
