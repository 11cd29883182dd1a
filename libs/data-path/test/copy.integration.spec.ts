import { readdirSync, rmSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '@casvault/contracts';
import { copyPoint, openRepository, readManifest, verifyPoint, type CopyRequest } from '../src/index.js';
import { openObjectStore } from '@casvault/object-store';
import { Bench, command, mib } from './disks.js';
import {
  backup,
  chainId,
  diskOf,
  faultOf,
  key,
  makeRepository,
  repositoryId,
  restore,
  uuid,
} from './engine.js';

let bench: Bench;
let image: string;
const size = 160 * mib;
const place = (name: string) => ({ kind: 'fs', path: bench.path(name) }) as const;
const { signal } = new AbortController();

beforeEach(async () => {
  bench = await Bench.open();
  await makeRepository(place('first'));
  await makeRepository(place('second'), { encrypted: true, hash: 'sha256' });
  const raw = await bench.raw(
    'disk.raw',
    size,
    { at: 0, length: 8 * mib, seed: 1 },
    { at: 130 * mib, length: 4 * mib, seed: 2 },
  );
  image = await bench.qcow2('disk.qcow2', raw);
});
afterEach(() => bench.close());

async function point(number: number, parent: number | null): Promise<void> {
  const source = await bench.serveReadOnly(image, 'qcow2');
  await backup(place('first'), [diskOf(0, source.endpoint)], {
    point: number,
    ...(parent !== null && { parent }),
  });
  await source.process.stop();
}

/** Copies have the ids of points 100 and more: 101 is the copy of 1. */
function copy(
  number: number,
  options: Partial<CopyRequest> & {
    writer?: number;
    parent?: number;
    beforeCommit?: () => Promise<void>;
  } = {},
) {
  const { writer = number + 100, parent, beforeCommit, ...request } = options;
  const source = {
    location: place('first'),
    key: null,
    chainId,
    pointId: uuid('p', number),
    sincePointId: parent === undefined ? null : uuid('p', parent),
  };
  return copyPoint(
    {
      source,
      location: place('second'),
      key,
      chainId,
      pointId: uuid('p', number + 100),
      parentPointId: parent === undefined ? null : uuid('p', parent + 100),
      writerId: uuid('w', writer),
      earlierWriters: [],
      createdAt: '2026-02-03T04:05:06.000Z',
      compression: { mode: 'fast' },
      disksInParallel: 1,
      streamsPerDisk: 2,
      readBytes: 1_048_576,
      ...request,
    },
    { signal, ...(beforeCommit && { beforeCommit }) },
  );
}

const write = (...commands: string[]) => command('qemu-io', ...commands.flatMap((one) => ['-c', one]), image);

async function snapshotOfImage(name: string): Promise<string> {
  await command('cp', '--sparse=always', image, bench.path(name));
  return bench.path(name);
}

async function expectCopyRestores(number: number, reference: string): Promise<void> {
  const name = `restored-${number}`;
  const target = await bench.serveWritable(await bench.emptyImage(name, 'qcow2', size), 'qcow2');
  await restore(place('second'), [target.endpoint], { point: number + 100, encrypted: true });
  await target.process.stop();
  expect(await bench.compare(reference, 'qcow2', bench.path(name), 'qcow2')).toBe('');
}

const packsOf = (pool: string, writer: number): string[] => {
  const folder = join(bench.path(pool), 'packs', chainId, uuid('w', writer));
  return readdirSync(folder).map((name) => join(folder, name));
};

it('E7: a copy in an encrypted repository restores to the same bytes; the next one reads and stores what differs alone', async () => {
  await point(1, null);
  const before = await snapshotOfImage('before.qcow2');
  await write('write -P 7 5M 300k', 'write -z 131M 1M', 'write -P 9 100M 64k', 'write -P 3 159M 1M');
  await point(2, 1);
  const first = await copy(1);
  expect(first.manifest.inventory).toMatchObject({ kind: 'full', parentPointId: null });
  expect(first.manifest.facts).toMatchObject({
    capturedAt: '2026-01-02T03:04:05.000Z',
    configuration: { cpus: 2 },
    copyOf: { repositoryId, chainId, pointId: uuid('p', 1) },
  });
  expect(first.disks[0]).toMatchObject({ sizeBytes: size, doneBytes: 12 * mib, reasons: [] });
  const second = await copy(2, { parent: 1 });
  const stats = second.manifest.facts.disks[0]!.stats;
  expect(second.manifest.inventory).toMatchObject({ kind: 'incremental', parentPointId: uuid('p', 101) });
  expect(stats.readBytes).toBe(5 * 65_536 + 65_536 + mib);
  expect(stats.newBytes).toBe(stats.readBytes);
  await expectCopyRestores(1, before);
  await expectCopyRestores(2, image);
  const depth = { kind: 'content', key, streamsPerDisk: 1 } as const;
  const checked = await verifyPoint(
    { location: place('second'), chainId, pointId: uuid('p', 102), depth },
    { signal },
  );
  expect(checked.faults).toEqual([]);
});

it('E7: without the point that its parent is a copy of, all is read and only what is new stored', async () => {
  await point(1, null);
  await write('write -P 7 5M 300k');
  await point(2, 1);
  await copy(1);
  const source = { location: place('first'), key: null, chainId, pointId: uuid('p', 2), sincePointId: null };
  const { manifest } = await copy(2, { parent: 1, source });
  const { readBytes, newBytes } = manifest.facts.disks[0]!.stats;
  expect([readBytes, newBytes]).toEqual([12 * mib, 5 * 65_536]);
  await expectCopyRestores(2, image);
});

it('E7: an interrupted copy goes on with what is stored; torn and lost packs are read again', async () => {
  await point(1, null);
  const lost = new Fault('LEASE_LOST', 'another worker has it');
  const stopped = await faultOf(copy(1, { writer: 1, beforeCommit: () => Promise.reject(lost) }));
  expect(stopped.code).toBe('LEASE_LOST');
  const [gone] = packsOf('second', 1);
  rmSync(gone!);
  const made = await copy(1, { writer: 2, earlierWriters: [uuid('w', 1)] });
  const { resumedBytes, doneBytes } = made.disks[0]!;
  expect(resumedBytes).toBeGreaterThan(1 * mib);
  expect(doneBytes).toBeGreaterThan(0);
  expect(resumedBytes + doneBytes).toBe(12 * mib);
  await expectCopyRestores(1, image);
  const again = await copy(1, { writer: 3 });
  expect([again.adopted, again.disks[0]!.mapRoot]).toEqual([true, made.disks[0]!.mapRoot]);
});

it('E7: what is damaged in the source is named, and makes no copy', async () => {
  await point(1, null);
  const [pack] = packsOf('first', 1);
  const bytes = await readFile(pack!);
  bytes[40]! ^= 0xff;
  await writeFile(pack!, bytes);
  const fault = await faultOf(copy(1));
  expect(fault.code).toBe('POOL_OBJECT_DAMAGED');
  const store = openObjectStore(place('second'));
  const repository = await openRepository(store, { key });
  const missing = await faultOf(readManifest(repository, { chainId, pointId: uuid('p', 101) }, signal));
  expect(missing.code).toBe('POOL_OBJECT_MISSING');
  await store.close();
});
