import { openObjectStore } from '@casvault/object-store';
import { pointKey } from '@casvault/repository';
import { removePoints, verifyPoint } from '../src/index.js';
import { Bench, command, mib } from './disks.js';
import { backup, chainId, diskOf, makeRepository, restore, uuid } from './engine.js';

let bench: Bench;
let image: string;
const size = 300 * mib;
const location = () => ({ kind: 'fs', path: bench.path('pool') }) as const;

beforeEach(async () => {
  bench = await Bench.open();
  await makeRepository(location());
  const raw = await bench.raw(
    'disk.raw',
    size,
    { at: 0, length: 60 * mib, seed: 1 },
    { at: 200 * mib, length: 40 * mib, seed: 2 },
  );
  image = await bench.qcow2('disk.qcow2', raw);
  await command('qemu-img', 'bitmap', '--add', '-g', '65536', image, 'b0');
});
afterEach(() => bench.close());

async function point(number: number, parent: number | null, bitmap = false) {
  const source = await bench.serveReadOnly(image, 'qcow2', ...(bitmap ? ['-B', 'b0'] : []));
  const disk = {
    ...diskOf(0, source.endpoint),
    ...(bitmap && { dirtyBitmapContext: 'qemu:dirty-bitmap:b0' }),
  };
  const reasons: string[] = [];
  const made = await backup(location(), [disk], {
    point: number,
    ...(parent !== null && { parent }),
    onReason: (_, reason) => reasons.push(reason),
  });
  await source.process.stop();
  return { ...made, reasons, stats: made.manifest.facts.disks[0]!.stats };
}

const write = (...commands: string[]) => command('qemu-io', ...commands.flatMap((one) => ['-c', one]), image);

async function expectRestored(number: number, reference: string): Promise<void> {
  const name = `restored-${number}`;
  const target = await bench.serveWritable(await bench.emptyImage(name, 'qcow2', size), 'qcow2');
  await restore(location(), [target.endpoint], { point: number });
  await target.process.stop();
  expect(await bench.compare(reference, 'qcow2', bench.path(name), 'qcow2')).toBe('');
}

async function snapshotOfImage(name: string): Promise<string> {
  await command('cp', '--sparse=always', image, bench.path(name));
  return bench.path(name);
}

async function objects(prefix: string): Promise<string[]> {
  const store = openObjectStore(location());
  const keys: string[] = [];
  for await (const { key } of store.list(prefix)) keys.push(key);
  await store.close();
  return keys;
}

it('an unchanged disk, read again, stores nothing and has the same root', async () => {
  const first = await point(1, null);
  const again = await point(2, 1);
  expect(again.disks[0]!.mapRoot).toBe(first.disks[0]!.mapRoot);
  expect(again.stats).toMatchObject({ newBytes: 0, storedBytes: 0, sameBytes: again.stats.readBytes });
  expect(await objects(`packs/${chainId}/${uuid('w', 2)}`)).toEqual([]);
  expect(again.manifest.inventory.packs).toEqual(first.manifest.inventory.packs);
});

it('a bitmap says what to read: changed blocks alone, new zeros and trims too', async () => {
  await point(1, null);
  const before = await snapshotOfImage('before.qcow2');
  await write(
    'write -P 7 5M 300k',
    'write -z 210M 1M',
    'discard 20M 2M',
    'write -P 9 299M 64k',
    'write -P 3 70M 4k',
  );
  const made = await point(2, 1, true);
  expect(made.reasons).toEqual([]);
  expect(made.stats.readBytes).toBeLessThan(1 * mib);
  expect(made.stats.newBytes).toBe(made.stats.readBytes);
  await expectRestored(2, image);
  await expectRestored(1, before);
});

it('a point of bitmaps equals the same disk read in full', async () => {
  await point(1, null);
  await write('write -P 7 5M 300k', 'write -z 210M 1M', 'discard 20M 2M', 'write -P 3 70M 4k');
  const tracked = await point(2, 1, true);
  const rescanned = await point(3, 1);
  const full = await point(4, null);
  expect(rescanned.disks[0]!.mapRoot).toBe(tracked.disks[0]!.mapRoot);
  expect(full.disks[0]!.mapRoot).toBe(tracked.disks[0]!.mapRoot);
  expect(rescanned.stats.newBytes).toBe(tracked.stats.newBytes);
});

it('without the bitmap that was named, all is read and compared, and the reason given', async () => {
  await point(1, null);
  await write('write -P 7 5M 300k');
  const source = await bench.serveReadOnly(image, 'qcow2');
  const disk = { ...diskOf(0, source.endpoint), dirtyBitmapContext: 'qemu:dirty-bitmap:gone' };
  const reasons: string[] = [];
  const made = await backup(location(), [disk], {
    point: 2,
    parent: 1,
    onReason: (_, reason) => reasons.push(reason),
  });
  expect(reasons).toEqual(['BITMAP_UNAVAILABLE']);
  expect(made.manifest.facts.disks[0]!.stats).toMatchObject({ newBytes: 5 * 65_536 });
  await expectRestored(2, image);
});

it('a disk that grew is read again and comes back at its new size', async () => {
  await point(1, null);
  await command('qemu-img', 'bitmap', '--remove', image, 'b0');
  await command('qemu-img', 'resize', '-q', image, String(size + 200 * mib));
  await write(`write -P 5 ${400 * mib} 3M`);
  const made = await point(2, 1);
  expect(made.disks[0]!.sizeBytes).toBe(size + 200 * mib);
  expect(made.stats.newBytes).toBe(3 * mib);
});

it('removing a point takes what only it needs; the others stay whole', async () => {
  await point(1, null);
  const before = await snapshotOfImage('before.qcow2');
  await write('write -P 7 5M 3M');
  await point(2, 1, true);
  const store = openObjectStore(location());
  const signal = new AbortController().signal;
  const remove = (number: number) =>
    removePoints(store, { chainId, pointIds: [uuid('p', number)], writers: [uuid('w', number)] }, { signal });
  const verify = (number: number) =>
    verifyPoint(
      { location: location(), chainId, pointId: uuid('p', number), depth: { kind: 'stored' } },
      { signal },
    );
  expect((await remove(2)).removedObjects).toBeGreaterThan(1);
  expect((await remove(2)).removedObjects).toBe(0);
  expect((await verify(1)).faults).toEqual([]);
  await expectRestored(1, before);
  await point(3, 1);
  await remove(1);
  expect((await verify(3)).faults).toEqual([]);
  await expectRestored(3, image);
  await remove(3);
  expect(await objects('packs/')).toEqual([]);
  // Removed again when no attempt was left to be seen: the mark that nobody commits it any more.
  expect(await objects('points/')).toEqual([pointKey(chainId, uuid('p', 2))]);
  await store.close();
});
