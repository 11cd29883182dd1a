import { openObjectStore, type StoreLocation } from '@casvault/object-store';
import { startCephRgw, tempDir, type CephRgw, type TempDir } from '@casvault/testkit';
import { createRepository, verifyPoint } from '../src/index.js';
import { Bench, mib } from './disks.js';
import { backup, chainId, diskOf, repositoryId, restore, uuid } from './engine.js';

let dir: TempDir;
let rgw: CephRgw;
let bench: Bench;

beforeAll(async () => {
  dir = await tempDir('data-path-s3');
  rgw = await startCephRgw({ dir: dir.path });
  await rgw.createBucket('pools');
  bench = await Bench.open();
});
afterAll(async () => {
  await bench.close();
  await rgw.stop();
  await dir.remove();
});

it('a disk goes into an S3 pool and comes back', async () => {
  const { endpoint, accessKeyId, secretKey } = rgw;
  const keys = { accessKeyId, secretKey };
  const at = { region: 'us-east-1', bucket: 'pools', prefix: 'one', forcePathStyle: true };
  const location: StoreLocation = { kind: 's3', endpoint, ...at, ...keys };
  const store = openObjectStore(location);
  await createRepository(store, { repositoryId, createdAt: new Date('2026-01-02T03:04:05Z') });
  await store.close();
  const size = 300 * mib;
  const raw = await bench.raw(
    'disk.raw',
    size,
    { at: 0, length: 20 * mib, seed: 1 },
    { at: 250 * mib, length: 30 * mib, seed: 2 },
  );
  const source = await bench.serveReadOnly(raw, 'raw');
  const first = await backup(location, [diskOf(0, source.endpoint)]);
  const again = await backup(location, [diskOf(0, source.endpoint)], { point: 2, parent: 1 });
  expect(again.disks[0]!.mapRoot).toBe(first.disks[0]!.mapRoot);
  const target = await bench.serveWritable(await bench.emptyImage('target', 'qcow2', size), 'qcow2');
  await restore(location, [target.endpoint], { point: 2 });
  await target.process.stop();
  expect(await bench.compare(raw, 'raw', bench.path('target'), 'qcow2')).toBe('');
  const stored = { location, chainId, pointId: uuid('p', 2), depth: { kind: 'stored' } } as const;
  expect((await verifyPoint(stored, { signal: new AbortController().signal })).faults).toEqual([]);
});
