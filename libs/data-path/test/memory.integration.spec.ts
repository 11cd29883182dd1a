import { fileURLToPath } from 'node:url';
import { RunningProcess } from '@casvault/testkit';
import { Bench, mib } from './disks.js';
import { makeRepository } from './engine.js';

let bench: Bench;
beforeEach(async () => {
  bench = await Bench.open();
});
afterEach(() => bench.close());

interface Peaks {
  readonly backup: number;
  readonly restore: number;
}

/** Peak resident memory, in MiB, of processes that do one thing each with two threads. */
async function peaks(name: string, data: number): Promise<Peaks> {
  const location = { kind: 'fs', path: bench.path(`pool-${name}`) } as const;
  await makeRepository(location);
  const raw = await bench.raw(`${name}.raw`, data, { at: 0, length: data, seed: 1 });
  const source = await bench.serveReadOnly(raw, 'raw');
  const target = await bench.serveWritable(await bench.emptyImage(`${name}-target`, 'raw', data), 'raw');
  const script = fileURLToPath(new URL('./run-once.js', import.meta.url));
  const measure = async (what: string, socket: string): Promise<number> => {
    const child = new RunningProcess(process.execPath, [script, what, location.path, socket]);
    expect([await child.exited, child.output]).toEqual([0, expect.stringMatching(/^peak \d+\n$/)]);
    return Number(child.output.slice(5)) / 1024;
  };
  const backup = await measure('backup', source.endpoint.path);
  return { backup, restore: await measure('restore', target.endpoint.path) };
}

it('memory is what the formula says, and does not grow with the disk', async () => {
  const small = await peaks('small', 128 * mib);
  const large = await peaks('large', 640 * mib);
  /*
   * The process: 90. A thread of either kind: isolate 30. Of a backup: groups 4 x 1, packs 2 x 9, zstd 4, allocator slack 14 = 70.
   * The collector lags on a loaded machine: 60; a disk that is 512 MiB larger adds no more than that.
   * Of a restore: packs 2 x 10, frames 9 x 1, zstd 2, allocator slack 19 = 80. Maps in the main thread: one pack buffer 9, windows 16.
   */
  expect(large.backup).toBeLessThan(90 + 2 * 70 + 25 + 60);
  expect(large.restore).toBeLessThan(90 + 2 * 80 + 25 + 60);
  expect(large.backup - small.backup).toBeLessThan(60);
  expect(large.restore - small.restore).toBeLessThan(60);
});
