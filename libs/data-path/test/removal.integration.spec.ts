import { mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Fault } from '@casvault/contracts';
import { openObjectStore, type ObjectStore } from '@casvault/object-store';
import { FaultyObjectStore, MemoryObjectStore } from '@casvault/object-store/testing';
import { pointKey } from '@casvault/repository';
import fc from 'fast-check';
import { openPointReader, removePoints, type RemovalRequest } from '../src/index.js';
import { Bench, mib } from './disks.js';
import { chainId, faultOf, uuid } from './engine.js';
import { SyntheticChain, type SparseDisk } from './synthetic-chain.js';

const { signal } = new AbortController();
const removal = (numbers: readonly number[], more: Partial<RemovalRequest> = {}): RemovalRequest => ({
  chainId,
  pointIds: numbers.map((number) => uuid('p', number)),
  ...more,
});

async function sizeOf(store: ObjectStore): Promise<{ bytes: number; objects: number }> {
  const size = { bytes: 0, objects: 0 };
  for await (const { sizeBytes } of store.list('')) {
    size.bytes += sizeBytes;
    size.objects += 1;
  }
  return size;
}

async function expectOnly(
  store: ObjectStore,
  chain: SyntheticChain,
  numbers: readonly number[],
): Promise<void> {
  expect(await chain.strangers(numbers)).toEqual([]);
  for (const number of numbers) {
    const point = { chainId, pointId: uuid('p', number), target: 'vda', key: null, signal };
    await chain.expectWhole(number, await openPointReader(store, point));
  }
}

const writes: fc.Arbitrary<SparseDisk> = fc
  .array(fc.tuple(fc.nat(40), fc.nat(4)), { minLength: 1, maxLength: 12 })
  .map((pairs) => new Map(pairs));

async function chainOf(history: readonly SparseDisk[]) {
  const objects = new Map<string, Uint8Array>();
  const store = new MemoryObjectStore(objects);
  const chain = await SyntheticChain.create(store, 64 * mib);
  for (const written of history) await chain.add(written);
  return { objects, store, chain };
}

it('G4: any points go, the others stay as they were, and a dry run tells exactly what goes', async () => {
  const cases = fc
    .array(writes, { minLength: 1, maxLength: 6 })
    .chain((history) => fc.tuple(fc.constant(history), fc.shuffledSubarray(history.map((_, i) => i + 1))));
  await fc.assert(
    fc.asyncProperty(cases, async ([history, doomed]) => {
      const { store, chain } = await chainOf(history);
      const before = await sizeOf(store);
      const preview = await removePoints(store, removal(doomed, { dryRun: true }), { signal });
      expect(await sizeOf(store)).toEqual(before);
      const done = await removePoints(store, removal(doomed), { signal });
      const after = await sizeOf(store);
      expect(done.freedBytes).toBe(before.bytes - after.bytes);
      expect(done.removedObjects).toBe(before.objects - after.objects);
      expect(preview).toEqual({ ...done, writtenBytes: 0 });
      const staying = history.map((_, i) => i + 1).filter((number) => !doomed.includes(number));
      await expectOnly(store, chain, staying);
      const again = await removePoints(store, removal(doomed), { signal });
      expect(again).toEqual({ freedBytes: 0, removedObjects: 0, writtenBytes: 0 });
    }),
    { numRuns: 20 },
  );
});

const history: SparseDisk[] = [
  new Map([1, 2, 3, 20, 21].map((block) => [block, 1])),
  new Map([
    [2, 2],
    [30, 2],
  ]),
  new Map([
    [3, 3],
    [20, 0],
  ]),
  new Map([[2, 4]]),
];
/** The first full, one of the middle, the newest, a suffix, all. */
const choices = [[1], [2], [4], [3, 4], [1, 2, 3, 4]];

it.each(choices.map((doomed) => [doomed.join(', '), doomed] as const))(
  'G2: killed at every step and done again, removing %s ends as if nothing had been',
  async (_, doomed) => {
    const { objects, chain } = await chainOf(history);
    const made = new Map(objects);
    const staying = [1, 2, 3, 4].filter((number) => !doomed.includes(number));
    const killed = new Fault('POOL_UNREACHABLE', 'killed here');
    for (const kind of ['error', 'error-after'] as const) {
      for (const verb of ['put', 'delete', 'get', 'list'] as const) {
        for (let from = 1; ; from += 1) {
          objects.clear();
          for (const [key, bytes] of made) objects.set(key, bytes);
          const store = new FaultyObjectStore(new MemoryObjectStore(objects));
          store.inject({ verb, fault: { kind, fault: killed }, from, count: Infinity });
          let dead = false;
          try {
            await removePoints(store, removal(doomed), { signal });
          } catch {
            dead = true;
          }
          const whole = new MemoryObjectStore(objects);
          for (const number of staying) {
            const point = { chainId, pointId: uuid('p', number), target: 'vda', key: null, signal };
            await chain.expectWhole(number, await openPointReader(whole, point));
          }
          await removePoints(whole, removal(doomed), { signal });
          await expectOnly(whole, chain, staying);
          if (!dead) break;
        }
      }
    }
  },
);

it('what a killed removal left goes with the next one, whatever that removes', async () => {
  const { objects, store, chain } = await chainOf(history);
  const killed = new Fault('POOL_UNREACHABLE', 'killed here');
  const faulty = new FaultyObjectStore(new MemoryObjectStore(objects), [
    { verb: 'delete', fault: { kind: 'error', fault: killed }, key: /^packs/, count: Infinity },
  ]);
  expect((await faultOf(removePoints(faulty, removal([2]), { signal }))).code).toBe('POOL_UNREACHABLE');
  await removePoints(store, removal([4]), { signal });
  await expectOnly(store, chain, [1, 3]);
});

it('packs of failed attempts go when they are named, those of others stay', async () => {
  const { objects, store, chain } = await chainOf(history);
  const left = (writer: number) => `packs/${chainId}/${uuid('w', writer)}/00000007`;
  objects.set(left(8), Buffer.alloc(10));
  objects.set(left(9), Buffer.alloc(10));
  const done = await removePoints(store, removal([77], { writers: [uuid('w', 8)] }), { signal });
  expect(done).toMatchObject({ freedBytes: 10, removedObjects: 1 });
  expect(await chain.strangers([1, 2, 3, 4])).toEqual([left(9)]);
});

it('G2: an attempt that wakes after what it left was removed commits nothing, also when it wakes meanwhile', async () => {
  const { objects, store, chain } = await chainOf(history);
  const key = pointKey(chainId, uuid('p', 4));
  const manifest = await store.get(key);
  const commit = () => faultOf(store.put(key, manifest, { ifAbsent: true }));
  const failed = removal([4], { writers: [uuid('w', 4)] });
  await store.delete(key);
  await removePoints(store, failed, { signal });
  expect((await commit()).code).toBe('POOL_OBJECT_EXISTS');
  await expectOnly(store, chain, [1, 2, 3]);
  expect((await removePoints(store, failed, { signal })).writtenBytes).toBe(0);

  const again = await chainOf(history);
  await again.store.delete(key);
  let isAwake = false;
  const racing: ObjectStore = Object.assign(Object.create(again.store) as ObjectStore, {
    list: (...args: Parameters<ObjectStore['list']>) => again.store.list(...args),
    get: (...args: Parameters<ObjectStore['get']>) => again.store.get(...args),
    stat: (...args: Parameters<ObjectStore['stat']>) => again.store.stat(...args),
    delete: (...args: Parameters<ObjectStore['delete']>) => again.store.delete(...args),
    put: async (...args: Parameters<ObjectStore['put']>) => {
      if (!isAwake) await again.store.put(key, manifest, { ifAbsent: true });
      isAwake = true;
      return again.store.put(...args);
    },
  });
  await removePoints(racing, failed, { signal });
  expect(isAwake).toBe(true);
  await expectOnly(again.store, again.chain, [1, 2, 3]);
  expect((await faultOf(again.store.put(key, manifest, { ifAbsent: true }))).code).toBe('POOL_OBJECT_EXISTS');
  expect(objects.size).toBe(again.objects.size);
});

it('G2: a committed point with another attempt is made void; one with the only attempt goes without a trace', async () => {
  const { objects, store, chain } = await chainOf(history);
  const key = (number: number) => pointKey(chainId, uuid('p', number));
  const manifest = await store.get(key(3));
  await removePoints(store, removal([2], { writers: [uuid('w', 2)] }), { signal });
  expect(objects.has(key(2))).toBe(false);
  await removePoints(store, removal([3], { writers: [uuid('w', 3), uuid('w', 7)] }), { signal });
  expect((await faultOf(store.put(key(3), manifest, { ifAbsent: true }))).code).toBe('POOL_OBJECT_EXISTS');
  expect(objects.get(key(3))).toHaveLength(96);
  await expectOnly(store, chain, [1, 4]);
});

it('a manifest that cannot be read goes; one of another point stops everything', async () => {
  const { objects, store } = await chainOf(history);
  const manifest = pointKey(chainId, uuid('p', 2));
  objects.set(manifest, Buffer.from('rubbish'));
  const before = [...objects.keys()];
  expect((await faultOf(removePoints(store, removal([3]), { signal }))).code).toBe('POOL_OBJECT_DAMAGED');
  expect([...objects.keys()]).toEqual(before);
  await removePoints(store, removal([2], { writers: [uuid('w', 2)] }), { signal });
  expect(objects.has(manifest)).toBe(false);
});

it('G4: 1 of 100 points of a sparse disk of 1 TiB goes in 2 s and 1 MiB, the others stay', async () => {
  const objects = new Map<string, Uint8Array>();
  const chain = await SyntheticChain.create(new MemoryObjectStore(objects), 1_048_576 * mib);
  const blocks = 16_777_216;
  for (let point = 0; point < 100; point += 1) {
    // Two points each write the same blocks: the first one's packs are needed by it alone.
    const written = Array.from({ length: 8 }, (_, i): [number, number] => [
      (Math.floor(point / 2) * 104_729 + i * 2_097_143) % blocks,
      1 + point,
    ]);
    await chain.add(new Map(written));
  }
  const bench = await Bench.open();
  for (const [key, bytes] of objects) {
    await mkdir(dirname(bench.path(`pool/${key}`)), { recursive: true });
    await writeFile(bench.path(`pool/${key}`), bytes);
  }
  const store = openObjectStore({ kind: 'fs', path: bench.path('pool') });
  const begun = performance.now();
  const done = await removePoints(store, removal([49]), { signal });
  expect(performance.now() - begun).toBeLessThan(10_000);
  expect(done.writtenBytes).toBeLessThan(mib);
  expect(done.removedObjects).toBeGreaterThan(1);
  await removePoints(store, removal([1]), { signal });
  const staying = Array.from({ length: 100 }, (_, i) => i + 1).filter((number) => ![1, 49].includes(number));
  expect(await chain.strangers(staying, store)).toEqual([]);
  for (const number of [2, 48, 50, 100]) {
    const point = { chainId, pointId: uuid('p', number), target: 'vda', key: null, signal };
    await chain.expectWhole(number, await openPointReader(store, point));
  }
  await store.close();
  await bench.close();
});
