import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { newId, type BackupSpec, type ContentTicket, type ReadingId } from '@casvault/contracts';
import { until } from '@casvault/testkit';
import { mib, WorkerWorld } from './worker-world.js';

const run = promisify(execFile);
/** Within a cluster and within a block. */
const sizeBytes = 20 * mib + 5 * 512;

describe('F9: a download from a mover', () => {
  let world: WorkerWorld;
  let point: BackupSpec;
  let image: string;
  let disk: Buffer;
  let url: string;
  beforeAll(async () => {
    world = await WorkerWorld.start();
    image = await world.image(sizeBytes, 9 * mib);
    point = world.backupSpec([image]);
    await world.worker('mover-1', { CASVAULT_DATA_MOVER_ADDRESS: '127.0.0.1' });
    await world.controller.reaches(world.controller.begin(point), 'succeeded');
    url = await until(() => world.controller.reported.at(-1)?.contentUrl);
    const raw = join(world.dir.path, 'at-the-point.raw');
    await run('qemu-img', ['convert', '-O', 'raw', image, raw]);
    disk = await readFile(raw);
    expect(disk.length).toBe(sizeBytes);
  });
  afterAll(() => world.stop());

  const ticket = (more: Partial<ContentTicket> = {}): string => {
    const { chainId, pointId } = point;
    const inAMinute = new Date(Date.now() + 60_000).toISOString();
    const plain: ContentTicket = {
      readingId: newId<ReadingId>(),
      expiresAt: inAMinute,
      pool: world.pool,
      chainId,
      pointId,
      target: 'vda',
      mapRoot: 'ab',
      ...more,
    };
    return world.sealer.seal(JSON.stringify(plain));
  };
  const get = (headers: Record<string, string> = {}, query = '', sealed = ticket()) =>
    fetch(url + query, { headers: { authorization: `Bearer ${sealed}`, ...headers } });
  const bytesOf = async (response: Response) => Buffer.from(await response.arrayBuffer());

  it('as raw is the disk', async () => {
    const response = await get();
    expect(response.status).toBe(200);
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'accept-ranges': 'bytes',
      etag: '"ab"',
      'content-length': String(sizeBytes),
    });
    expect((await bytesOf(response)).equals(disk)).toBe(true);
  });

  it.each([
    ['bytes=0-0', 0, 1],
    ['bytes=1000-3500000', 1_000, 3_500_001],
    [`bytes=${sizeBytes - 777}-`, sizeBytes - 777, sizeBytes],
    ['bytes=-100000', sizeBytes - 100_000, sizeBytes],
  ])('in part (%s)', async (range, from, to) => {
    const response = await get({ range });
    expect(response.status).toBe(206);
    expect(response.headers.get('content-range')).toBe(`bytes ${from}-${to - 1}/${sizeBytes}`);
    expect((await bytesOf(response)).equals(disk.subarray(from, to))).toBe(true);
  });

  it('of a part that is not there is 416', async () => {
    const response = await get({ range: `bytes=${sizeBytes}-` });
    expect(response.status).toBe(416);
    expect(response.headers.get('content-range')).toBe(`bytes */${sizeBytes}`);
  });

  it('as qcow2 is clean and holds the same bytes', async () => {
    const response = await get({ range: 'bytes=1-2' }, '?format=qcow2');
    expect([response.status, response.headers.get('accept-ranges')]).toEqual([200, 'none']);
    const bytes = await bytesOf(response);
    expect(bytes.length).toBe(Number(response.headers.get('content-length')));
    expect(bytes.length).toBeLessThan(12 * mib);
    const path = join(world.dir.path, 'download.qcow2');
    await writeFile(path, bytes);
    expect((await run('qemu-img', ['check', path])).stdout).toContain('No errors were found');
    expect(await world.compare(image, path)).toBe('');
  });

  it('needs a ticket of this installation, once, in time', async () => {
    const once = ticket();
    expect((await get({ range: 'bytes=0-0' }, '', once)).status).toBe(206);
    for (const refused of [
      once,
      ticket({ expiresAt: new Date(Date.now() - 1).toISOString() }),
      'sealed:v1:x',
    ])
      expect((await get({}, '', refused)).status).toBe(401);
  });

  it('of a disk or a point that is not there says so', async () => {
    expect((await get({}, '', ticket({ target: 'vdz' }))).status).toBe(400);
    const gone = await get({}, '', ticket({ pointId: newId() }));
    expect(await gone.json()).toMatchObject({ code: 'POOL_OBJECT_MISSING' });
  });

  it('is given up when the reader leaves', async () => {
    const leaving = new AbortController();
    const response = await fetch(url, {
      headers: { authorization: `Bearer ${ticket()}` },
      signal: leaving.signal,
    });
    const reader = response.body!.getReader();
    await reader.read();
    leaving.abort();
    await expect(reader.read()).rejects.toThrow();
    expect((await get({ range: 'bytes=5-6' })).status).toBe(206);
  });
});
