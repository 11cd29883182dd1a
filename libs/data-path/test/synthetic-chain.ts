import { type ObjectStore } from '@casvault/object-store';
import {
  BLOCK_BYTES,
  encodeManifest,
  isVoidPoint,
  packKey,
  packsIn,
  pointKey,
  rootId,
  type PointDisk,
} from '@casvault/repository';
import { BlockSet } from '../src/block-set.js';
import { DiskPass } from '../src/disk-pass.js';
import { EarlierPacks } from '../src/earlier-packs.js';
import { createRepository, readInventory, type PointReader, type Repository } from '../src/index.js';
import { MapReader } from '../src/map-reader.js';
import { MapWriter } from '../src/map-writer.js';
import { type PackSet } from '../src/pack-set.js';
import { PackWriter } from '../src/pack-writer.js';
import { SliceReader } from '../src/slice-reader.js';
import { chainId, repositoryId, uuid } from './engine.js';

/** Blocks of a disk that are not zero, and the number that each is filled with. */
export type SparseDisk = ReadonlyMap<number, number>;

const instant = '2026-01-02T03:04:05.000Z';
const signal = new AbortController().signal;

function contentOf(block: number, value: number): Buffer {
  const bytes = Buffer.alloc(BLOCK_BYTES, value);
  bytes.writeUIntLE(block, 0, 6);
  return bytes;
}

/**
 * A chain of points made by the engine's own parts in this thread: no NBD, no workers, any store. Point `n` is written by writer `n`, its parent
 * is the point before it.
 */
export class SyntheticChain {
  readonly points: SparseDisk[] = [];
  readonly #repository: Repository;
  readonly #sizeBytes: number;
  #parent: PointDisk | null = null;

  private constructor(repository: Repository, sizeBytes: number) {
    this.#repository = repository;
    this.#sizeBytes = sizeBytes;
  }

  static async create(store: ObjectStore, sizeBytes: number): Promise<SyntheticChain> {
    const repository = await createRepository(store, { repositoryId, createdAt: new Date(instant) });
    return new SyntheticChain(repository, sizeBytes);
  }

  /** Writes blocks (0 makes one zero) and makes the next point. */
  async add(written: SparseDisk): Promise<void> {
    const disk = new Map(this.points.at(-1));
    const changed = new BlockSet();
    for (const [block, value] of written) {
      if (value === 0) disk.delete(block);
      else disk.set(block, value);
      changed.addBytes(block * BLOCK_BYTES, BLOCK_BYTES);
    }
    this.points.push(disk);
    await this.#makePoint(disk, changed);
  }

  async #makePoint(disk: SparseDisk, changed: BlockSet): Promise<void> {
    const number = this.points.length;
    const writers = { maps: this.#writer(number, 0), data: this.#writer(number, 1_000) };
    const mapWriter = new MapWriter(this.#repository.suite, writers.maps);
    const { segments, usedBlocks, packs } = await this.#pass(disk, changed, writers.data, mapWriter);
    await writers.data.finish();
    await mapWriter.finish();
    const ids = segments.map((ref) => (ref === null ? null : Buffer.from(ref.id, 'hex')));
    const made: PointDisk = {
      target: 'vda',
      diskId: uuid('d', 0),
      role: 'system',
      bus: 'virtio',
      format: 'qcow2',
      sizeBytes: this.#sizeBytes,
      root: rootId(this.#sizeBytes, ids, this.#repository.suite.identify).toString('hex'),
      usedBlocks,
      segments,
      stats: { dataBytes: 0, readBytes: 0, resumedBytes: 0, sameBytes: 0, newBytes: 0, storedBytes: 0 },
      lineage: null,
      reasons: [],
      tracked: false,
    };
    this.#parent = made;
    await this.#commit(number, made, packs);
  }

  #writer(number: number, firstSeq: number): PackWriter {
    const { store, suite } = this.#repository;
    let seq = firstSeq;
    const target = { store, suite, folder: chainId, chainId, level: 1, signal };
    return new PackWriter({ ...target, writerId: uuid('w', number), nextSeq: () => (seq += 1) });
  }

  async #pass(disk: SparseDisk, changed: BlockSet, writer: PackWriter, mapWriter: MapWriter) {
    const { suite } = this.#repository;
    const data = new BlockSet();
    for (const block of disk.keys()) data.addBytes(block * BLOCK_BYTES, BLOCK_BYTES);
    const source = {
      sizeBytes: this.#sizeBytes,
      contexts: new Set<string>(),
      read: (offset: number, into: Uint8Array) => {
        for (let at = 0; at < into.length; at += BLOCK_BYTES) {
          const block = (offset + at) / BLOCK_BYTES;
          into.set(contentOf(block, disk.get(block) ?? 0).subarray(0, into.length - at), at);
        }
        return Promise.resolve();
      },
      extents: async function* () {},
      close: () => Promise.resolve(),
    };
    const reader = new SliceReader({ source, suite, writer, readBytes: 1_048_576 });
    const pass = new DiskPass({
      source: { path: '', exportName: '' },
      ordinal: 0,
      parent: this.#parent,
      plan: {
        sizeBytes: this.#sizeBytes,
        canMultiConn: false,
        data,
        changed: this.#parent === null ? null : changed,
        expectedSame: null,
      },
      work: {
        suite,
        maps: new MapReader(this.#repository, chainId, signal),
        mapWriter,
        earlier: await EarlierPacks.load(this.#repository, chainId, [], signal),
        readBytes: 1_048_576,
        signal,
        fail: (error) => {
          throw error;
        },
      },
      counts: { readBytes: 0, resumedBytes: 0, sameBytes: 0, newBytes: 0, storedBytes: 0 },
      progress: { target: 'vda', totalBytes: 0, doneBytes: 0, storedBytes: 0, resumedBytes: 0 },
    });
    return pass.run([{ slice: (_, job) => reader.read(job), closeDisk: () => Promise.resolve() }]);
  }

  async #commit(number: number, disk: PointDisk, packs: PackSet): Promise<void> {
    const { store, suite } = this.#repository;
    const vm = { vmId: chainId, uuid: chainId, name: 'test', platformName: 'lab', platformVersion: 'E0730' };
    const manifest = encodeManifest(
      {
        inventory: {
          repositoryId,
          chainId,
          pointId: uuid('p', number),
          parentPointId: number === 1 ? null : uuid('p', number - 1),
          kind: number === 1 ? 'full' : 'incremental',
          createdAt: instant,
          packs: packs.ranges(),
        },
        facts: {
          capturedAt: instant,
          method: 'live',
          consistency: 'crash',
          vm,
          configuration: {},
          disks: [disk],
          excludedDisks: [],
          tools: {},
          packBytes: 0,
        },
      },
      suite,
    );
    await store.put(pointKey(chainId, uuid('p', number)), manifest, { ifAbsent: true });
  }

  /** Whether a reader shows point `number` byte for byte. */
  async expectWhole(number: number, reader: PointReader): Promise<void> {
    const disk = this.points[number - 1]!;
    const found = new Map<number, number>();
    for await (const { offset, length, zero } of reader.extents()) {
      if (zero) continue;
      for (let at = offset; at < offset + length; at += BLOCK_BYTES) {
        const block = Buffer.alloc(Math.min(BLOCK_BYTES, offset + length - at));
        await reader.read(at, block);
        const value = block.at(-1)!;
        expect(block.equals(contentOf(at / BLOCK_BYTES, value).subarray(0, block.length))).toBe(true);
        found.set(at / BLOCK_BYTES, value);
      }
    }
    expect(new Map([...found].sort())).toEqual(new Map([...disk].sort()));
  }

  /** All objects of a store that belong to no point of `numbers` and are no void points; what those need must be there. */
  async strangers(numbers: readonly number[], store = this.#repository.store): Promise<string[]> {
    const known = new Set(['repository.json']);
    for (const number of numbers) {
      const key = pointKey(chainId, uuid('p', number));
      known.add(key);
      const inventory = await readInventory({ ...this.#repository, store }, key, signal);
      for (const pack of packsIn(inventory!.packs)) known.add(packKey(chainId, pack));
    }
    const strangers: string[] = [];
    for await (const { key } of store.list('')) {
      if (known.delete(key)) continue;
      const isVoid = isVoidPoint(await store.get(key, { signal }), this.#repository.checksum, key);
      if (!isVoid) strangers.push(key);
    }
    expect([...known]).toEqual([]);
    return strangers;
  }
}
