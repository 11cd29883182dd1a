import { execFileSync } from 'node:child_process';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type BackupHostId,
  createPool,
  getPool,
  getPoolAccess,
  listBackupHosts,
  listPools,
  newId,
  type PoolId,
  reportBackupHost,
} from '@casvault/contracts';
import {
  type CephRgw,
  freePort,
  parsePrometheusText,
  startCephRgw,
  tempDir,
  type TempDir,
} from '@casvault/testkit';
import { z } from 'zod';
import { faultOf, type RunningInventory, startInventory } from './running-inventory.js';

let inventory: RunningInventory;
let place: TempDir;
let httpPort: number;

beforeAll(async () => {
  place = await tempDir('pools');
  httpPort = await freePort();
  inventory = await startInventory({ CASVAULT_HTTP_PORT: String(httpPort) });
});
afterAll(async () => {
  await inventory.stop();
  await place.remove();
});

const requestOf = (path: string, fields: object = {}): z.input<typeof createPool.request> => ({
  id: newId<PoolId>(),
  name: `pool ${path}`,
  type: 'standard',
  location: { kind: 'fs', path },
  ...fields,
});
const create = (request: z.input<typeof createPool.request>) => inventory.client.request(createPool, request);

const scrape = async () =>
  parsePrometheusText(await (await fetch(`http://127.0.0.1:${httpPort}/metrics`)).text());

describe('E1: standard pools', () => {
  it('makes the directory and the repository in it, and tells its room', async () => {
    const path = join(place.path, 'a/deep/one');
    const request = requestOf(path);
    const pool = await create(request);
    expect(pool).toMatchObject({ id: request.id, type: 'standard', location: { kind: 'fs', path } });
    expect(pool.capacityBytes).toBeGreaterThan(pool.freeBytes ?? Number.MAX_SAFE_INTEGER);
    expect(await readdir(path)).toContain('repository.json');
    expect(await create(request)).toMatchObject({ id: pool.id, createdAt: pool.createdAt });
    expect(await inventory.client.request(getPool, { poolId: pool.id })).toMatchObject({ id: pool.id });
    expect(await inventory.client.request(getPoolAccess, { poolId: pool.id })).toMatchObject({
      location: { path },
    });
  });

  it('takes up the repository of the same id, and leaves that of another alone', async () => {
    const path = join(place.path, 'again');
    const request = requestOf(path);
    await create(request);
    const forget = () => inventory.query('DELETE FROM inventory.pool WHERE id = $1', [request.id]);
    await forget();
    expect(await create(request)).toMatchObject({ id: request.id });
    await forget();
    const fault = await faultOf(create(requestOf(path)));
    expect(fault).toMatchObject({ code: 'ALREADY_EXISTS', details: { repositoryId: request.id } });
  });

  it('refuses a place, a name or an id that is taken', async () => {
    const path = join(place.path, 'taken');
    const request = requestOf(path);
    await create(request);
    expect((await faultOf(create(requestOf(`${path}/../taken/`, { name: 'elsewhere' })))).message).toBe(
      `location: storage pool "${request.name}" lies there already`,
    );
    expect(
      (await faultOf(create(requestOf(join(place.path, 'free'), { name: request.name.toUpperCase() }))))
        .message,
    ).toMatch(/^name: a storage pool .* exists already$/);
    expect(await faultOf(create({ ...requestOf(join(place.path, 'free')), id: request.id }))).toMatchObject({
      code: 'ALREADY_EXISTS',
    });
  });

  it('a path that is not absolute', async () => {
    // The client would not send it: it goes out as bytes.
    const unchecked = { ...createPool, request: z.unknown() };
    const fault = await faultOf(inventory.client.request(unchecked, requestOf('relative/path')));
    expect(fault).toMatchObject({ code: 'INPUT_INVALID' });
    expect(fault.message).toContain('must be an absolute path');
  });

  it('a path that is a file', async () => {
    const path = join(place.path, 'file');
    await writeFile(path, 'x');
    expect(await faultOf(create(requestOf(path)))).toMatchObject({ code: 'INPUT_INVALID' });
    expect(await faultOf(create(requestOf(join(path, 'below'))))).toMatchObject({ code: 'INPUT_INVALID' });
  });

  describe('on a file system of its own', () => {
    const mount = async (name: string, options: string): Promise<string> => {
      const path = join(place.path, name);
      await mkdir(path);
      execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', path]);
      return path;
    };
    const mounted: string[] = [];
    afterEach(() => {
      for (const path of mounted.splice(0)) execFileSync('umount', [path]);
    });

    it('no permission', async () => {
      const path = await mount('read-only', 'size=1m,ro');
      mounted.push(path);
      const fault = await faultOf(create(requestOf(join(path, 'pool'))));
      expect(fault).toMatchObject({ code: 'POOL_ACCESS_DENIED', details: { errno: 'EROFS' } });
      expect(await faultOf(create(requestOf(path)))).toMatchObject({ code: 'POOL_ACCESS_DENIED' });
    });

    it('full', async () => {
      const path = await mount('full', 'size=64k');
      mounted.push(path);
      await writeFile(join(path, 'ballast'), Buffer.alloc(64 * 1024)).catch(() => undefined);
      expect(await faultOf(create(requestOf(path)))).toMatchObject({ code: 'POOL_FULL' });
    });

    it('gone later: still listed, without its room', async () => {
      const path = await mount('vanishing', 'size=1m');
      mounted.push(path);
      const pool = await create(requestOf(path));
      expect(pool.capacityBytes).toBe(1024 * 1024);
      const labels = { pool_id: pool.id, pool: pool.name };
      const before = await scrape();
      expect(before.sum('casvault_pool_capacity_bytes', labels)).toBe(1024 * 1024);
      expect(before.sum('casvault_pool_free_bytes', labels)).toBeGreaterThan(0);
      execFileSync('umount', [path]);
      mounted.pop();
      execFileSync('rmdir', [path]);
      const after = await scrape();
      expect(after.samples.filter((one) => one.labels['pool_id'] === pool.id)).toEqual([]);
      const { items } = await inventory.client.request(listPools, { limit: 500 });
      expect(items.find((item) => item.id === pool.id)).toMatchObject({
        capacityBytes: null,
        freeBytes: null,
      });
    });
  });
});

describe('E3: object pools', () => {
  const s3 = (endpoint: string, fields: object = {}) => ({
    kind: 's3' as const,
    endpoint,
    bucket: 'backups',
    accessKeyId: 'key-id',
    secretKey: inventory.sealer.seal('the-secret-of-the-bucket'),
    ...fields,
  });
  const createObjects = (name: string, location: ReturnType<typeof s3>) =>
    inventory.client.request(
      createPool,
      { ...requestOf('/x', { name, type: 'object' }), location },
      { deadlineMs: 90_000 },
    );

  describe('on a real Ceph gateway', () => {
    let ceph: CephRgw;
    beforeAll(async () => {
      const dir = join(place.path, 'ceph');
      await mkdir(dir);
      ceph = await startCephRgw({ dir });
      await ceph.createBucket('backups');
    });
    afterAll(async () => ceph.stop());
    const keys = (secret = ceph.secretKey) => ({
      accessKeyId: ceph.accessKeyId,
      secretKey: inventory.sealer.seal(secret),
    });

    it('makes the repository in the bucket, and shows no secret', async () => {
      const location = s3(ceph.endpoint, { ...keys(), prefix: 'site-1' });
      const pool = await createObjects('bucket', location);
      expect(pool).toMatchObject({ type: 'object', location: { bucket: 'backups', prefix: 'site-1' } });
      expect(JSON.stringify(pool)).not.toContain('sealed:');
      const access = await inventory.client.request(getPoolAccess, { poolId: pool.id });
      expect(access.location.kind === 's3' && inventory.sealer.open(access.location.secretKey)).toBe(
        ceph.secretKey,
      );
      const rows = JSON.stringify(await inventory.query('SELECT * FROM inventory.pool'));
      expect(rows).toContain('site-1');
      expect(rows).not.toContain(ceph.secretKey);
      expect(inventory.output).not.toContain(ceph.secretKey);
    });
    it('a wrong secret', async () => {
      const fault = await faultOf(
        createObjects('denied', s3(ceph.endpoint, { ...keys('wrong'), prefix: 'p' })),
      );
      expect(fault.code).toBe('POOL_ACCESS_DENIED');
    });
    it('a bucket that is not there', async () => {
      const fault = await faultOf(
        createObjects('nowhere', s3(ceph.endpoint, { ...keys(), bucket: 'no-such-bucket' })),
      );
      expect(['POOL_UNREACHABLE', 'POOL_ACCESS_DENIED', 'INPUT_INVALID']).toContain(fault.code);
      expect(fault.message).toContain('no-such-bucket');
    });
  });

  it('an endpoint where nobody listens', async () => {
    const fault = await faultOf(createObjects('objects', s3(`http://127.0.0.1:${await freePort()}`)));
    expect(fault.code).toBe('POOL_UNREACHABLE');
    expect(JSON.stringify(fault)).not.toContain('the-secret');
    expect(inventory.output).not.toContain('the-secret-of-the-bucket');
  });

  it('a standard pool lies in a directory, an object pool in a bucket', async () => {
    const location = s3('http://127.0.0.1:1');
    expect((await faultOf(create({ ...requestOf('/x'), location }))).message).toContain(
      'lies in a directory',
    );
    expect((await faultOf(create(requestOf('/x', { type: 'object' })))).message).toContain(
      'lies in a bucket',
    );
  });
});

describe('A4: backup hosts', () => {
  it('register with their first report, and are offline after 35 s of silence', async () => {
    const id = newId<BackupHostId>();
    const host = {
      id,
      name: 'mover-1',
      group: 'default',
      address: '10.0.0.9',
      timeZone: 'Asia/Shanghai',
      version: '0.1.0',
    };
    await inventory.client.request(reportBackupHost, host);
    const list = async () => (await inventory.client.request(listBackupHosts, {})).items;
    expect(await list()).toEqual([expect.objectContaining({ ...host, state: 'online' })]);
    await inventory.query("UPDATE inventory.backup_host SET last_seen_at = now() - interval '36 seconds'");
    expect(await list()).toEqual([expect.objectContaining({ id, state: 'offline' })]);
    const hosts = async (state: string) =>
      (await scrape()).sum('casvault_backup_hosts', { group: 'default', state });
    expect([await hosts('online'), await hosts('offline')]).toEqual([0, 1]);
    await inventory.client.request(reportBackupHost, { ...host, version: '0.2.0' });
    expect(await list()).toEqual([expect.objectContaining({ version: '0.2.0', state: 'online' })]);
  });
});
