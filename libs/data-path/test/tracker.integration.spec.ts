import { readFileSync } from 'node:fs';
import { openObjectStore } from '@casvault/object-store';
import { packKey, packsIn, pointKey } from '@casvault/repository';
import fc from 'fast-check';
import { type BackupResult, type TrackerChecks } from '../src/index.js';
import { Bench, command, mib } from './disks.js';
import { backup, chainId, diskOf, makeRepository, restore, uuid } from './engine.js';
import {
  bitmapContext,
  bytesOf,
  changesOf,
  histories,
  lies,
  rootOf,
  serve,
  type Bitmap,
  type ModelDisk,
} from './lying-tracker.js';

let bench: Bench;
let points = 0;
const location = () => ({ kind: 'fs', path: bench.path('pool') }) as const;
const seed = Buffer.from('a seed');
const everything = { sampleBlocks: 1_000, sweepPart: null, seed };

beforeAll(async () => {
  bench = await Bench.open();
  await makeRepository(location());
});
afterAll(() => bench.close());

/** Makes a point of `now` on top of one of `before`, by a bitmap. */
async function increment(
  { before, now }: { before: ModelDisk; now: ModelDisk },
  bitmap: Bitmap,
  tracking: TrackerChecks,
): Promise<{ made: BackupResult; point: number; readBytes: number }> {
  const parent = (points += 1);
  const first = await serve(before, []);
  await backup(location(), [diskOf(0, first.endpoint)], { point: parent, streamsPerDisk: 1 });
  await first.stop();
  const point = (points += 1);
  const second = await serve(now, bitmap);
  const disk = { ...diskOf(0, second.endpoint), dirtyBitmapContext: bitmapContext, tracking };
  const made = await backup(location(), [disk], { point, parent, streamsPerDisk: 1 });
  await second.stop();
  return { made, point, readBytes: made.manifest.facts.disks[0]!.stats.readBytes };
}

/** Bytes of the packs and the manifest that came with a point. */
async function bytesBrought(point: number): Promise<number> {
  const store = openObjectStore(location());
  let total = (await store.stat(pointKey(chainId, uuid('p', point))))!.sizeBytes;
  for await (const { sizeBytes } of store.list(`packs/${chainId}/${uuid('w', point)}/`)) total += sizeBytes;
  await store.close();
  return total;
}

it('G1: whatever a tracker says, a point whose blocks were all looked at is right', async () => {
  await fc.assert(
    fc.asyncProperty(histories, lies, async ({ before, now }, lie) => {
      const truth = changesOf(before, now);
      const told = lie(truth);
      const omitted = truth.some((changed, i) => changed && told[i] !== true);
      const { made, point } = await increment({ before, now }, told, everything);
      const [disk] = made.disks;
      expect(disk!.mapRoot).toBe(rootOf(now));
      expect(disk!.reasons).toEqual(omitted ? ['TRACKER_WRONG'] : []);
      expect(disk!.tracked).toBe(!omitted);
      expect(made.poolBytes).toBe(await bytesBrought(point));
    }),
    { numRuns: 15, seed: 20_260_101 },
  );
});

it('G1: the slow pass finds what the sample missed, and everything after it is right', async () => {
  await fc.assert(
    fc.asyncProperty(histories, lies, fc.nat(29), async ({ before, now }, lie, sweepPart) => {
      const truth = changesOf(before, now);
      const told = lie(truth);
      const first = Math.floor((now.length * sweepPart) / 30);
      const end = Math.floor((now.length * (sweepPart + 1)) / 30);
      const caught = truth.some((changed, i) => changed && told[i] !== true && i >= first && i < end);
      const right = truth.every((changed, i) => !changed || told[i] === true);
      const { made, point } = await increment({ before, now }, told, { sampleBlocks: 0, sweepPart, seed });
      const [disk] = made.disks;
      expect(disk!.reasons).toEqual(caught ? ['TRACKER_WRONG'] : []);
      expect(disk!.mapRoot === rootOf(now)).toBe(caught || right);
      expect(made.poolBytes).toBe(await bytesBrought(point));
    }),
    { numRuns: 15, seed: 20_260_102 },
  );
});

it('G1: a point that was gone over twice names its packs exactly and restores byte for byte', async () => {
  const before = Array.from({ length: 90 }, (_, i) => i % 4);
  const now = before.map((block, i) => (i % 5 === 0 ? block + 1 : block));
  const told = changesOf(before, now).map((changed, i) => changed && i > 20);
  const { made, point } = await increment({ before, now }, told, { sampleBlocks: 0, sweepPart: 3, seed });
  expect(made.disks[0]).toMatchObject({ reasons: ['TRACKER_WRONG'], tracked: false });
  const store = openObjectStore(location());
  const named = [...packsIn(made.manifest.inventory.packs)].map((pack) => packKey(chainId, pack));
  for await (const { key } of store.list(`packs/${chainId}/${uuid('w', point)}/`))
    expect(named).toContain(key);
  await store.close();
  const raw = await bench.raw('reread.raw', bytesOf(now).length);
  const target = await bench.nbdkit('file', raw);
  await restore(location(), [target.endpoint], { point });
  await target.process.stop();
  expect(readFileSync(raw).equals(bytesOf(now))).toBe(true);
  const again = await serve(now, told);
  const adopted = await backup(location(), [diskOf(0, again.endpoint)], { point, parent: point - 1 });
  await again.stop();
  expect(adopted).toMatchObject({ adopted: true, poolBytes: made.poolBytes });
  expect(adopted.disks[0]).toMatchObject({ reasons: ['TRACKER_WRONG'], tracked: false });
});

it('G1: reads what changed and the sample, no more', async () => {
  const before = Array.from({ length: 200 }, (_, i) => 1 + (i % 4));
  const now = before.map((block, i) => (i < 10 ? 5 : block));
  const truth = changesOf(before, now);
  const { made, readBytes } = await increment({ before, now }, truth, { ...everything, sampleBlocks: 7 });
  expect(readBytes).toBe(17 * 65_536);
  expect(made.disks[0]).toMatchObject({ reasons: [], tracked: true, totalBytes: readBytes });
});

it('D2: a disk that the parent has not, or in another size, is read in full and says why', async () => {
  const parent = (points += 1);
  const disk = [1, 2, 3];
  const first = await serve(disk, []);
  await backup(location(), [diskOf(0, first.endpoint)], { point: parent });
  await first.stop();
  const larger = await serve([...disk, 4], [false, false, false, false]);
  const added = await serve([7, 8], [false, false]);
  const tracked = { dirtyBitmapContext: bitmapContext, tracking: everything };
  const lineage = { checkpointName: 'casvault-x', generation: 'g', openingId: uuid('p', 999) };
  const made = await backup(
    location(),
    [
      { ...diskOf(0, larger.endpoint), ...tracked, lineage },
      { ...diskOf(1, added.endpoint), ...tracked, reasons: ['CBT_DISABLED'] },
    ],
    { point: (points += 1), parent },
  );
  await larger.stop();
  await added.stop();
  expect(made.disks.map(({ reasons, tracked: by }) => [reasons, by])).toEqual([
    [['DISK_RESIZED'], false],
    [['CBT_DISABLED', 'DISK_ADDED'], false],
  ]);
  expect(made.disks.map(({ mapRoot }) => mapRoot)).toEqual([rootOf([...disk, 4]), rootOf([7, 8])]);
  const [kept, none] = made.manifest.facts.disks;
  expect(kept!.lineage).toMatchObject({ ...lineage, diskId: uuid('d', 0), parentPointId: uuid('p', parent) });
  expect(kept!.lineage!.parentManifestHash).toMatch(/^[0-9a-f]{64}$/);
  expect(none!.lineage).toBeNull();
});

it('G8: nothing changed on a sparse disk of 1 TiB: its sample is read, in seconds', async () => {
  const size = 1_048_576 * mib;
  const raw = await bench.raw(
    'tera.raw',
    size,
    ...[0, 300_000, 700_000, 1_048_000].map((at, i) => ({ at: at * mib, length: 16 * mib, seed: i })),
  );
  const image = await bench.qcow2('tera.qcow2', raw);
  await command('qemu-img', 'bitmap', '--add', '-g', '65536', image, 'b0');
  const full = await bench.serveReadOnly(image, 'qcow2');
  const parent = (points += 1);
  await backup(location(), [diskOf(0, full.endpoint)], { point: parent });
  await full.process.stop();
  const source = await bench.serveReadOnly(image, 'qcow2', '-B', 'b0');
  const begun = performance.now();
  const disk = {
    ...diskOf(0, source.endpoint),
    dirtyBitmapContext: bitmapContext,
    tracking: { sampleBlocks: 66, sweepPart: null, seed },
  };
  const made = await backup(location(), [disk], { point: (points += 1), parent });
  expect(performance.now() - begun).toBeLessThan(30_000);
  await source.process.stop();
  expect(made.disks[0]).toMatchObject({ reasons: [], tracked: true });
  expect(made.manifest.facts.disks[0]!.stats.readBytes).toBe(66 * 65_536);
});
