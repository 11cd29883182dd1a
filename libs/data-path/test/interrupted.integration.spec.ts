import { readdirSync, readFileSync, statSync } from 'node:fs';
import { rename, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Fault } from '@casvault/contracts';
import { openObjectStore } from '@casvault/object-store';
import { encodeVoidPoint, openDigest, pointKey } from '@casvault/repository';
import { RunningProcess, until } from '@casvault/testkit';
import { Bench, mib, type Served } from './disks.js';
import { removePoints } from '../src/index.js';
import { backup, chainId, diskOf, faultOf, makeRepository, repositoryId, restore, uuid } from './engine.js';

let bench: Bench;
let raw: string;
const size = 160 * mib;
const location = () => ({ kind: 'fs', path: bench.path('pool') }) as const;
const packsOf = (writer: number): string[] => {
  const folder = join(bench.path('pool'), 'packs', chainId, uuid('w', writer));
  try {
    return readdirSync(folder).map((name) => join(folder, name));
  } catch {
    return [];
  }
};

beforeEach(async () => {
  bench = await Bench.open();
  await makeRepository(location());
  raw = await bench.raw('disk.raw', size, { at: 0, length: 120 * mib, seed: 1 });
});
afterEach(() => bench.close());

/** A source of some Mbit/s for each connection: there is a middle to interrupt. `errors` set nbdkit's error filter. */
const limited = (megabits: number, errors: readonly string[] = []): Promise<Served> => {
  const filters = ['--filter=error', '--filter=rate'];
  const rate = [`connection-rate=${megabits}M`, 'burstiness=0.1'];
  return bench.nbdkit('-r', ...filters, 'file', raw, ...rate, ...errors);
};
const slow = (): Promise<Served> => limited(320);
/** Would take many seconds: what ends it in the middle comes in time on a busy machine too. */
const verySlow = (...errors: string[]): Promise<Served> => limited(40, errors);

async function expectRestored(): Promise<void> {
  const target = await bench.serveWritable(await bench.emptyImage('target', 'raw', size), 'raw');
  await restore(location(), [target.endpoint]);
  await target.process.stop();
  expect(await bench.compare(raw, 'raw', bench.path('target'), 'raw')).toBe('');
}

function expectNothingLeftRunning(): void {
  const left = process.getActiveResourcesInfo().filter((name) => /MessagePort|Worker|Pipe/.test(name));
  expect(left.filter((name) => name !== 'PipeWrap')).toEqual([]);
}

it('an abort ends it at once; the next attempt takes its packs over', async () => {
  const source = await slow();
  const controller = new AbortController();
  const running = faultOf(
    backup(location(), [diskOf(0, source.endpoint)], { writer: 1, signal: controller.signal }),
  );
  await until(() => packsOf(1).length >= 2);
  const aborted = performance.now();
  controller.abort(new Fault('LEASE_LOST', 'another worker has it'));
  expect((await running).code).toBe('LEASE_LOST');
  expect(performance.now() - aborted).toBeLessThan(10_000);
  expectNothingLeftRunning();

  // nbdkit may fall over a client that vanishes: the capture is served again.
  const again = await slow();
  const made = await backup(location(), [diskOf(0, again.endpoint)], {
    writer: 2,
    earlierWriters: [uuid('w', 1)],
  });
  const { resumedBytes, doneBytes, totalBytes } = made.disks[0]!;
  expect(resumedBytes).toBeGreaterThan(10 * mib);
  expect(resumedBytes + doneBytes).toBe(totalBytes);
  expect(made.manifest.inventory.packs.map(({ writerId }) => writerId)).toEqual([uuid('w', 1), uuid('w', 2)]);
  await expectRestored();
});

it('killed without warning, it is taken over too; torn packs are read again', async () => {
  const source = await slow();
  const script = fileURLToPath(new URL('./backup-until-killed.js', import.meta.url));
  const child = new RunningProcess(process.execPath, [script, bench.path('pool'), source.endpoint.path]);
  await until(() => packsOf(1).length >= 3 || (!child.running && Promise.reject(new Error(child.output))));
  await child.kill9();
  const [first, second] = packsOf(1);
  await truncate(first!, statSync(first!).size - 10_000);
  await truncate(second!, 0);
  const whole = packsOf(1).length - 2;
  const again = await slow();
  const made = await backup(location(), [diskOf(0, again.endpoint)], {
    writer: 2,
    earlierWriters: [uuid('w', 1)],
  });
  expect(made.disks[0]!.resumedBytes).toBeGreaterThanOrEqual(whole * 4 * mib);
  await expectRestored();
});

it('who commits second adopts the first, and leaves nothing of its own', async () => {
  const source = await bench.serveReadOnly(raw, 'raw');
  const disks = [diskOf(0, source.endpoint)];
  const late = await backup(location(), disks, {
    writer: 1,
    beforeCommit: async () => {
      const zombie = await backup(location(), disks, { writer: 2 });
      expect(zombie.adopted).toBe(false);
    },
  });
  expect(late.adopted).toBe(true);
  expect(late.manifest.inventory.packs.map(({ writerId }) => writerId)).toEqual([uuid('w', 2)]);
  expect(packsOf(1)).toEqual([]);
  expect((await backup(location(), disks, { writer: 3 })).adopted).toBe(true);
  await expectRestored();
});

it('what forbids the commit leaves no point', async () => {
  const source = await bench.serveReadOnly(raw, 'raw');
  const forbid = backup(location(), [diskOf(0, source.endpoint)], {
    beforeCommit: () => Promise.reject(new Fault('LEASE_LOST', 'epoch 2 has it')),
  });
  expect((await faultOf(forbid)).code).toBe('LEASE_LOST');
  expect((await faultOf(restore(location(), []))).code).toBe('POOL_OBJECT_MISSING');
});

it('a point made void is committed by nobody', async () => {
  const source = await bench.serveReadOnly(raw, 'raw');
  const pointId = uuid('p', 1);
  const makeVoid = async () => {
    const store = openObjectStore(location());
    const bytes = encodeVoidPoint({ repositoryId, chainId, pointId }, openDigest('blake3-256', null));
    await store.put(pointKey(chainId, pointId), bytes, { ifAbsent: true });
    await store.close();
  };
  const disks = [diskOf(0, source.endpoint)];
  expect((await faultOf(backup(location(), disks, { beforeCommit: makeVoid }))).code).toBe('LEASE_LOST');
  expect((await faultOf(backup(location(), disks, { writer: 2 }))).code).toBe('LEASE_LOST');
  expect((await faultOf(restore(location(), []))).code).toBe('POOL_OBJECT_MISSING');
});

it('a parent that is removed meanwhile forbids the commit', async () => {
  const source = await slow();
  const disks = [diskOf(0, source.endpoint)];
  await backup(location(), disks);
  const store = openObjectStore(location());
  const removed: Promise<unknown>[] = [];
  const remove = (): void => {
    if (removed.length > 0) return;
    const point = { chainId, pointIds: [uuid('p', 1)] };
    removed.push(removePoints(store, point, { signal: new AbortController().signal }));
  };
  const child = backup(location(), disks, { point: 2, parent: 1, onProgress: remove });
  expect(['CONFLICT', 'POOL_OBJECT_MISSING']).toContain((await faultOf(child)).code);
  await Promise.all(removed);
  await store.close();
});

it('a source that goes away is a fault of the source', async () => {
  const source = await verySlow();
  const running = faultOf(backup(location(), [diskOf(0, source.endpoint)]));
  await until(() => packsOf(1).length >= 1);
  await source.process.kill9();
  expect((await running).code).toBe('NBD_DISCONNECTED');
  expectNothingLeftRunning();
});

it('a source that cannot read is a fault of the source', async () => {
  const unreadable = bench.path('unreadable-from-now-on');
  const source = await verySlow('error-pread=EIO', 'error-pread-rate=100%', `error-pread-file=${unreadable}`);
  const running = faultOf(backup(location(), [diskOf(0, source.endpoint)]));
  await until(() => packsOf(1).length >= 1);
  await writeFile(unreadable, '');
  expect((await running).code).toBe('NBD_IO');
  expectNothingLeftRunning();
});

it('a pool that goes away is a fault of the pool', async () => {
  const source = await verySlow();
  const running = faultOf(backup(location(), [diskOf(0, source.endpoint)]));
  await until(() => packsOf(1).length >= 1);
  await rename(bench.path('pool'), bench.path('pool that is gone'));
  expect((await running).code).toMatch(/^POOL_/);
  expectNothingLeftRunning();
});

it('a restore is refused a target too small, read-only or a disk that is not there', async () => {
  const source = await bench.serveReadOnly(raw, 'raw');
  await backup(location(), [diskOf(0, source.endpoint)]);
  const small = await bench.serveWritable(await bench.emptyImage('small', 'raw', mib), 'raw');
  expect(await faultOf(restore(location(), [small.endpoint]))).toMatchObject({ code: 'INPUT_INVALID' });
  expect(await faultOf(restore(location(), [source.endpoint]))).toMatchObject({ code: 'INPUT_INVALID' });
  expect(await faultOf(restore(location(), [small.endpoint, small.endpoint]))).toMatchObject({
    code: 'INPUT_INVALID',
  });
});

it('a restore can be stopped and done again', async () => {
  const source = await bench.serveReadOnly(raw, 'raw');
  await backup(location(), [diskOf(0, source.endpoint)]);
  const copy = await bench.raw('copy.raw', size);
  const target = await bench.nbdkit('--filter=rate', 'file', copy, 'rate=800M');
  const controller = new AbortController();
  const running = faultOf(restore(location(), [target.endpoint], { signal: controller.signal }));
  await until(() => statSync(copy).blocks * 512 > 10 * mib);
  controller.abort();
  expect((await running).code).toBe('STOPPED');
  expectNothingLeftRunning();
  await target.process.stop();
  const again = await bench.nbdkit('file', copy);
  await restore(location(), [again.endpoint]);
  expect(readFileSync(copy).equals(readFileSync(raw))).toBe(true);
});
