import { readFile } from 'node:fs/promises';
import { openObjectStore } from '@casvault/object-store';
import { verifyPoint } from '../src/index.js';
import { Bench, mib } from './disks.js';
import { backup, chainId, diskOf, key, makeRepository, restore, uuid } from './engine.js';

let bench: Bench;
beforeEach(async () => {
  bench = await Bench.open();
});
afterEach(() => bench.close());

const location = () => ({ kind: 'fs', path: bench.path('pool') }) as const;

async function storedBytes(): Promise<number> {
  const store = openObjectStore(location());
  let sum = 0;
  for await (const { sizeBytes } of store.list('')) sum += sizeBytes;
  await store.close();
  return sum;
}

/** Backs a raw image up through qemu-nbd and brings it back as `format`; nothing may differ. */
async function roundTrip(raw: string, sizeBytes: number, as: 'raw' | 'qcow2'): Promise<number> {
  const image = as === 'raw' ? raw : await bench.qcow2('source.qcow2', raw);
  const source = await bench.serveReadOnly(image, as);
  const made = await backup(location(), [diskOf(0, source.endpoint)]);
  const target = await bench.serveWritable(await bench.emptyImage('target', as, sizeBytes), as);
  await restore(location(), [target.endpoint]);
  await target.process.stop();
  expect(await bench.compare(image, as, bench.path('target'), as)).toBe('');
  return made.disks[0]!.doneBytes;
}

describe('a disk comes back byte for byte', () => {
  beforeEach(() => makeRepository(location()));

  it.each(['qcow2', 'raw'] as const)('%s with holes', async (format) => {
    const size = 400 * mib;
    const raw = await bench.raw(
      'disk.raw',
      size,
      { at: 0, length: 3 * mib, seed: 1 },
      { at: 130 * mib + 4096, length: 9 * mib, seed: 2 },
      { at: size - 5 * mib, length: 5 * mib, seed: 3 },
    );
    expect(await roundTrip(raw, size, format)).toBeLessThan(20 * mib);
  });

  it('of a size that is no multiple of the block', async () => {
    const size = 5 * mib + 12_345;
    const raw = await bench.raw('disk.raw', size, { at: 0, length: size, seed: 4 });
    const source = await bench.nbdkit('-r', 'file', raw);
    const made = await backup(location(), [diskOf(0, source.endpoint)]);
    expect(made.disks[0]).toMatchObject({ sizeBytes: size, doneBytes: size, totalBytes: size });
    const copy = await bench.raw('copy.raw', size);
    const target = await bench.nbdkit('file', copy);
    const restored = await restore(location(), [target.endpoint]);
    expect(restored.disks[0]!.doneBytes).toBe(size);
    expect((await readFile(copy)).equals(await readFile(raw))).toBe(true);
  });

  it('that is empty, at next to no cost', async () => {
    const size = 8 * 1024 * mib;
    const raw = await bench.raw('disk.raw', size);
    expect(await roundTrip(raw, size, 'qcow2')).toBe(0);
    expect(await storedBytes()).toBeLessThan(4096);
  });

  it('of 64 GiB with 200 MiB of data, read and stored in proportion to the data', async () => {
    const size = 64 * 1024 * mib;
    const parts = Array.from({ length: 10 }, (_, i) => ({ at: i * 6_500 * mib, length: 20 * mib, seed: i }));
    const raw = await bench.raw('disk.raw', size, ...parts);
    const read = await roundTrip(raw, size, 'qcow2');
    expect(read).toBeGreaterThanOrEqual(200 * mib);
    expect(read).toBeLessThan(204 * mib);
    expect(await storedBytes()).toBeLessThan(205 * mib);
  });

  it('of explicit zeros, of which none are stored', async () => {
    const source = await bench.nbdkit('-r', 'memory', '32M', '--filter=noextents');
    const made = await backup(location(), [diskOf(0, source.endpoint)]);
    expect(made.disks[0]).toMatchObject({ doneBytes: 32 * mib, storedBytes: 0 });
    expect(made.manifest.facts.disks[0]).toMatchObject({ usedBlocks: 0, segments: [null] });
  });
});

describe('a VM of several disks', () => {
  it('is one point, encrypted, through the whole of it', async () => {
    await makeRepository(location(), { encrypted: true });
    const size = 40 * mib;
    const raws = [
      await bench.raw('a.raw', size, { at: 0, length: 30 * mib, seed: 5 }),
      await bench.raw('b.raw', size, { at: 5 * mib, length: 20 * mib, seed: 6 }),
      await bench.raw('c.raw', size),
    ];
    const sources = [];
    for (const raw of raws) sources.push(await bench.serveReadOnly(raw, 'raw'));
    const progress: number[] = [];
    const made = await backup(
      location(),
      sources.map(({ endpoint }, i) => diskOf(i, endpoint)),
      { key, disksInParallel: 2, onProgress: (disks) => progress.push(disks.length) },
    );
    expect(progress.at(-1)).toBe(3);
    expect(made.disks.map(({ target }) => target)).toEqual(['vda', 'vdb', 'vdc']);
    const targets = [];
    for (const name of 'abc') {
      targets.push(await bench.serveWritable(await bench.emptyImage(`target-${name}`, 'raw', size), 'raw'));
    }
    await restore(
      location(),
      targets.map(({ endpoint }) => endpoint),
      { encrypted: true },
    );
    for (const [i, name] of [...'abc'].entries()) {
      await targets[i]!.process.stop();
      expect(await bench.compare(raws[i]!, 'raw', bench.path(`target-${name}`), 'raw')).toBe('');
    }
    const signal = new AbortController().signal;
    const point = { location: location(), chainId, pointId: uuid('p', 1) };
    const content = { kind: 'content', key, streamsPerDisk: 2 } as const;
    expect((await verifyPoint({ ...point, depth: { kind: 'stored' } }, { signal })).faults).toEqual([]);
    expect(await verifyPoint({ ...point, depth: content }, { signal })).toMatchObject({
      faults: [],
      checkedBytes: made.manifest.facts.disks.reduce((sum, { usedBlocks }) => sum + usedBlocks * 65_536, 0),
    });
  });
});

describe.each([
  ['without compression', { compression: { mode: 'none' } }, 'blake3-256'],
  ['with zstd level 7 and SHA-256', { compression: { mode: 'adjustable', level: 7 } }, 'sha256'],
  ['with small reads over one stream', { readBytes: 65_536, streamsPerDisk: 1 }, 'blake3-256'],
] as const)('%s', (_, options, hash) => {
  it('a disk comes back too, also onto a target that held something else', async () => {
    await makeRepository(location(), { hash });
    const size = 150 * mib;
    const raw = await bench.raw('disk.raw', size, { at: 3 * mib, length: 20 * mib, seed: 7 });
    const source = await bench.serveReadOnly(raw, 'raw');
    await backup(location(), [diskOf(0, source.endpoint)], options);
    const dirty = await bench.raw('dirty.raw', size, { at: 0, length: size, seed: 8 });
    const target = await bench.serveWritable(dirty, 'raw');
    await restore(location(), [target.endpoint], { fresh: false });
    await target.process.stop();
    expect(await bench.compare(raw, 'raw', dirty, 'raw')).toBe('');
  });
});
