import { readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { rateAt, speedLimitsSchema } from '@casvault/contracts';
import { testClock, until } from '@casvault/testkit';
import { Governor, type Speed } from '../src/index.js';
import { Bench, mib } from './disks.js';
import { backup, diskOf, makeRepository, restore } from './engine.js';

let bench: Bench;
beforeEach(async () => {
  bench = await Bench.open();
  await makeRepository(location());
});
afterEach(() => bench.close());

const location = () => ({ kind: 'fs', path: bench.path('pool') }) as const;

/** Runs `work` at a speed that may change meanwhile. */
async function at<T>(speed: () => Speed, work: (governor: Governor) => Promise<T>): Promise<T> {
  const end = new AbortController();
  const sleep = (ms: number, signal: AbortSignal) => testClock.sleep(ms, signal);
  const governor = new Governor(speed, { monotonic: () => performance.now(), sleep });
  const running = governor.run(end.signal);
  try {
    return await work(governor);
  } finally {
    end.abort();
    await running;
  }
}

interface Moved {
  /** Ms. */
  readonly at: number;
  readonly bytes: number;
}

/** Objects of the pool by the time when they were whole. */
function objects(): Moved[] {
  const root = bench.path('pool');
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.parentPath.includes('packs'))
    .map((entry) => statSync(join(entry.parentPath, entry.name)))
    .map(({ mtimeMs, size }) => ({ at: mtimeMs, bytes: size }))
    .sort((a, b) => a.at - b.at);
}

/** What nbdkit's log says of requests of one kind. */
function requests(log: string, kind: 'Read' | 'Write'): Moved[] {
  const line = new RegExp(`^(\\S+ \\S+) .*\\b${kind} id=\\d+ offset=\\S+ count=(0x[0-9a-f]+)`);
  return readFileSync(log, 'utf8')
    .split('\n')
    .map((text) => line.exec(text))
    .filter((found) => found !== null)
    .map(([, when, count]) => ({ at: Date.parse(`${when!.replace(' ', 'T')}Z`), bytes: Number(count) }));
}

/** Bytes a second between the first and the last. */
function rateOf(moved: readonly Moved[]): number {
  const seconds = (moved.at(-1)!.at - moved[0]!.at) / 1_000;
  return moved.slice(1).reduce((sum, { bytes }) => sum + bytes, 0) / seconds;
}

/** The highest rate over any `ms` that begin and end with an object; 0 when all took less. */
function bestRateOver(moved: readonly Moved[], ms: number): number {
  const rates = moved.map((from, index) => {
    const end = moved.findIndex(({ at: when }) => when - from.at >= ms);
    return end === -1 ? 0 : rateOf(moved.slice(index, end + 1));
  });
  return Math.max(...rates);
}

/** The most that passed in any `ms`. */
function mostWithin(moved: readonly Moved[], ms: number): number {
  let most = 0;
  let sum = 0;
  let first = 0;
  for (const { at: end, bytes } of moved) {
    sum += bytes;
    while (end - moved[first]!.at > ms) sum -= moved[first++]!.bytes;
    most = Math.max(most, sum);
  }
  return most;
}

it('requests to disks are no longer than asked for', async () => {
  const size = 8 * mib;
  const raw = await bench.raw('disk.raw', size, { at: 0, length: size, seed: 4 });
  const log = bench.path('requests.log');
  const source = await bench.nbdkit('-r', '--filter=log', 'file', raw, `logfile=${log}.source`);
  const copy = await bench.raw('copy.raw', size);
  const target = await bench.nbdkit('--filter=log', 'file', copy, `logfile=${log}.target`);
  await backup(location(), [diskOf(0, source.endpoint)], { readBytes: 128 * 1_024 });
  await restore(location(), [target.endpoint], { writeBytes: 256 * 1_024 });
  await target.process.stop();
  const longest = (path: string, kind: 'Read' | 'Write') =>
    Math.max(...requests(path, kind).map(({ bytes }) => bytes)) / 1_024;
  expect(longest(`${log}.source`, 'Read')).toBe(128);
  expect(longest(`${log}.target`, 'Write')).toBe(256);
  expect(await bench.compare(raw, 'raw', copy, 'raw')).toBe('');
});

it('what is on its way to the pool is bounded for all streams, and every byte arrives', async () => {
  const size = 48 * mib;
  const raw = await bench.raw('disk.raw', size, { at: 0, length: size, seed: 5 });
  const source = await bench.serveReadOnly(raw, 'raw');
  const small = { compression: { mode: 'none' }, unacknowledgedBytes: mib, streamsPerDisk: 4 } as const;
  await backup(location(), [diskOf(0, source.endpoint)], small);
  // A frame of 1 MiB and its trailer: nothing larger was ever sent.
  for (const { bytes } of objects()) expect(bytes).toBeLessThan(1.1 * mib);
  const target = await bench.serveWritable(await bench.emptyImage('target', 'raw', size), 'raw');
  await restore(location(), [target.endpoint], { unacknowledgedBytes: mib });
  await target.process.stop();
  expect(await bench.compare(raw, 'raw', bench.path('target'), 'raw')).toBe('');
});

describe('a speed limit', () => {
  it('of the transfer is kept within 5 % over ten seconds, by two streams together', async () => {
    const size = 90 * mib;
    const raw = await bench.raw('disk.raw', size, { at: 0, length: size, seed: 1 });
    const source = await bench.serveReadOnly(raw, 'raw');
    const rate = 6 * mib;
    const limits = { compression: { mode: 'none' }, unacknowledgedBytes: 10 * mib } as const;
    await at(
      () => ({ transfer: rate, disk: null }),
      ({ cells }) => backup(location(), [diskOf(0, source.endpoint)], { ...limits, speed: cells }),
    );
    const moved = objects();
    expect(rateOf(moved) / rate).toBeLessThan(1.05);
    // What a machine that halts for longer than 0.2 s lets slip is not made up for: ten seconds of the fifteen are held against the rate from below.
    expect(bestRateOver(moved, 10_000) / rate).toBeGreaterThan(0.95);
    // A quarter of a second, and a pack of two frames from each stream.
    expect(mostWithin(moved, 50)).toBeLessThan(rate * 0.3 + 2 * 2.1 * mib);
  });

  it('of the disk follows its windows in the middle of a transfer', async () => {
    const size = 60 * mib;
    const raw = await bench.raw('disk.raw', size, { at: 0, length: size, seed: 2 });
    const log = bench.path('requests.log');
    const source = await bench.nbdkit('-r', '--filter=log', 'file', raw, `logfile=${log}`);
    const windows = speedLimitsSchema.parse([
      { from: '23:00', to: '00:00', rate: 5, unit: 'MiB/s', appliesTo: 'disk' },
      { from: '00:00', to: '01:00', rate: 16, unit: 'MiB/s', appliesTo: 'disk' },
    ]);
    let minute = 23 * 60 + 59;
    const speed = (): Speed => ({ transfer: null, disk: rateAt(windows, 'disk', minute) });
    const made = await at(speed, async ({ cells }) => {
      const running = backup(location(), [diskOf(0, source.endpoint)], { speed: cells });
      await until(() => requests(log, 'Read').length > 0);
      await testClock.sleep(4_000);
      minute = 0;
      return running;
    });
    expect(made.disks[0]!.doneBytes).toBeGreaterThan(50 * mib);
    const moved = requests(log, 'Read');
    const change = moved[0]!.at + 4_000;
    const before = moved.filter(({ at: when }) => when < change - 100);
    const after = moved.filter(({ at: when }) => when > change + 100);
    expect(Math.abs(rateOf(before) / (5 * mib) - 1)).toBeLessThan(0.1);
    expect(Math.abs(rateOf(after) / (16 * mib) - 1)).toBeLessThan(0.1);
    expect(mostWithin(before, 50)).toBeLessThan(5 * mib * 0.3 + 2 * mib);
  });

  it('of the disk holds a restore, and of the transfer what it fetches', async () => {
    const size = 60 * mib;
    const raw = await bench.raw('disk.raw', size, { at: 0, length: size, seed: 3 });
    const source = await bench.serveReadOnly(raw, 'raw');
    await backup(location(), [diskOf(0, source.endpoint)], { compression: { mode: 'none' } });
    const log = bench.path('requests.log');
    for (const kind of ['disk', 'transfer'] as const) {
      const copy = await bench.raw(`${kind}.raw`, size);
      const target = await bench.nbdkit('--filter=log', 'file', copy, `logfile=${log}.${kind}`);
      const perSecond = 12 * mib;
      const speed: Speed = { transfer: null, disk: null, [kind]: perSecond };
      await at(
        () => speed,
        ({ cells }) => restore(location(), [target.endpoint], { speed: cells, unacknowledgedBytes: 4 * mib }),
      );
      await target.process.stop();
      expect(await bench.compare(raw, 'raw', copy, 'raw')).toBe('');
      const moved = requests(`${log}.${kind}`, 'Write');
      const seconds = (moved.at(-1)!.at - moved[0]!.at) / 1_000;
      // A quarter of a second, and what may be on its way.
      expect(size).toBeLessThan(perSecond * (seconds * 1.05 + 0.25) + 4 * mib);
      // Of five seconds the best two: a machine may halt in the others.
      expect(bestRateOver(moved, 2_000) / perSecond).toBeGreaterThan(0.9);
    }
  });
});
