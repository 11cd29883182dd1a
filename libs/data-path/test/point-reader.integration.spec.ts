import { MemoryObjectStore } from '@casvault/object-store/testing';
import { BLOCK_BYTES } from '@casvault/repository';
import fc from 'fast-check';
import { openPointReader, type PointReader } from '../src/index.js';
import { mib } from './disks.js';
import { chainId, faultOf, uuid } from './engine.js';
import { SyntheticChain } from './synthetic-chain.js';

const objects = new Map<string, Uint8Array>();
const { signal } = new AbortController();
const sizeBytes = 300 * mib + 1_000;
const point = { chainId, pointId: uuid('p', 2), target: 'vda', key: null, signal };
let reader: PointReader;

beforeAll(async () => {
  const chain = await SyntheticChain.create(new MemoryObjectStore(objects), sizeBytes);
  const full = Array.from({ length: 200 }, (_, i): [number, number] => [i * 24, 1 + (i % 200)]);
  await chain.add(new Map([...full, [4_800, 9]]));
  await chain.add(new Map(Array.from({ length: 40 }, (_, i): [number, number] => [i * 25, (i * 3) % 200])));
  reader = await openPointReader(new MemoryObjectStore(objects), point);
  await chain.expectWhole(2, reader);
});

it('gives any range as it is in the whole', async () => {
  const whole = Buffer.alloc(8 * mib);
  await reader.read(0, whole);
  const ranges = fc.tuple(fc.nat(8 * mib), fc.nat(3 * BLOCK_BYTES));
  await fc.assert(
    fc.asyncProperty(ranges, async ([offset, length]) => {
      const into = Buffer.alloc(Math.min(length, whole.length - offset), 0xff);
      await reader.read(offset, into);
      expect(into.equals(whole.subarray(offset, offset + into.length))).toBe(true);
    }),
    { numRuns: 200 },
  );
});

it('tells zeros from data without gaps, in any range', async () => {
  const ranges = fc.tuple(fc.nat(sizeBytes - 1), fc.nat(100 * mib));
  await fc.assert(
    fc.asyncProperty(ranges, async ([offset, length]) => {
      let at = offset;
      let last: boolean | null = null;
      for await (const run of reader.extents({ offset, length })) {
        expect([run.offset, run.zero === last, run.length > 0]).toEqual([at, false, true]);
        at += run.length;
        last = run.zero;
        if (!run.zero) continue;
        const into = Buffer.alloc(Math.min(run.length, 1_000), 1);
        await reader.read(run.offset, into);
        expect(into.every((byte) => byte === 0)).toBe(true);
      }
      expect(at).toBe(Math.min(sizeBytes, offset + length));
    }),
    { numRuns: 50 },
  );
});

it('many reads at once of one place fetch it once', async () => {
  const fetched: string[] = [];
  const counted = new MemoryObjectStore(objects);
  const get = counted.get.bind(counted);
  counted.get = (key, options) => {
    fetched.push(`${key} ${options?.range?.offset}`);
    return get(key, options);
  };
  const busy = await openPointReader(counted, point);
  const reads = [1, 2, 3, 4].map((i) => busy.read(i * 100, Buffer.alloc(50)));
  await Promise.all(reads);
  expect(new Set(fetched).size).toBe(fetched.length);
});

it('refuses what is not in the disk, and hands out nothing that is damaged', async () => {
  expect((await faultOf(reader.read(sizeBytes - 1, Buffer.alloc(2)))).code).toBe('INPUT_INVALID');
  expect((await faultOf(reader.read(-1, Buffer.alloc(2)))).code).toBe('INPUT_INVALID');
  const store = new MemoryObjectStore(objects);
  expect((await faultOf(openPointReader(store, { ...point, target: 'vdz' }))).code).toBe('INPUT_INVALID');
  const spoiled = new Map(
    [...objects].map(([key, bytes]) => {
      const copy = Buffer.from(bytes);
      if (key.endsWith('000003e9')) for (let at = 0; at < copy.length; at += 16) copy[at]! ^= 1;
      return [key, copy];
    }),
  );
  const damaged = await openPointReader(new MemoryObjectStore(spoiled), point);
  const fault = await faultOf(damaged.read(24 * BLOCK_BYTES, Buffer.alloc(100)));
  expect(fault).toMatchObject({ code: 'POOL_OBJECT_DAMAGED' });
  expect((await faultOf(damaged.read(24 * BLOCK_BYTES, Buffer.alloc(100)))).code).toBe('POOL_OBJECT_DAMAGED');
});

it('stops when it is told to', async () => {
  const stopped = AbortSignal.abort();
  const fresh = await openPointReader(new MemoryObjectStore(objects), point);
  expect((await faultOf(fresh.read(24 * BLOCK_BYTES, Buffer.alloc(10), { signal: stopped }))).code).toBe(
    'STOPPED',
  );
});
