import { randomBytes } from 'node:crypto';
import { copyFile, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  newId,
  removePoints,
  stopTransfer,
  type BackupSpec,
  type PoolId,
  type RestoreSpec,
  type RunItemId,
  type TransferChanged,
  type TransferId,
} from '@casvault/contracts';
import { createSealer } from '@casvault/service-host';
import { spawnService, tempDir, until, type RunningProcess, type TempDir } from '@casvault/testkit';
import { backupSpec, restoreSpec, RunningController } from './running-controller.js';
import { PlayedDiskService } from './worker-disk-service.js';

const main = fileURLToPath(new URL('../src/main.js', import.meta.url));
const mib = 1 << 20;
/** docs/formats/repository-v1.md. */
const voidPointBytes = 96;

/** Random bytes with a hole in the middle and a size that is no multiple of a block. */
const makeDisk = async (path: string, dataMiB: number): Promise<number> => {
  const file = await open(path, 'w');
  for (let i = 0; i < dataMiB; i++)
    await file.write(randomBytes(mib), 0, mib, (i < dataMiB / 2 ? i : i + 32) * mib);
  const sizeBytes = (dataMiB + 32) * mib + 512;
  await file.truncate(sizeBytes);
  await file.close();
  return sizeBytes;
};

const expectEqual = async (one: string, other: string): Promise<void> => {
  const [a, b] = [await open(one), await open(other)];
  try {
    expect((await b.stat()).size).toBe((await a.stat()).size);
    const [left, right] = [Buffer.alloc(8 * mib), Buffer.alloc(8 * mib)];
    for (let at = 0; ; at += left.length) {
      const { bytesRead } = await a.read(left, 0, left.length, at);
      if (bytesRead === 0) return;
      await b.read(right, 0, right.length, at);
      if (!left.subarray(0, bytesRead).equals(right.subarray(0, bytesRead)))
        throw new Error(`${one} and ${other} differ within 8 MiB of ${at}`);
    }
  } finally {
    await a.close();
    await b.close();
  }
};

const sumOf = ({ result }: TransferChanged, key: 'doneBytes' | 'resumedBytes'): number =>
  (result?.disks ?? []).reduce((sum, disk) => sum + disk[key], 0);

describe('a real controller and real workers', () => {
  const dataBytes = 192 * mib;
  let dir: TempDir;
  let controller: RunningController;
  let disks: PlayedDiskService;
  let source: string;
  let sizeBytes: number;
  let workers: RunningProcess[] = [];

  beforeAll(async () => {
    dir = await tempDir('movers');
    controller = await RunningController.start({ listen: false });
    disks = await PlayedDiskService.start();
    source = join(dir.path, 'source.raw');
    sizeBytes = await makeDisk(source, dataBytes / mib);
  });
  afterAll(async () => {
    await disks.stop();
    await controller.stop();
    await dir.remove();
  });
  beforeEach(async () => {
    const path = join(dir.path, newId());
    await mkdir(path);
    controller.pool = { ...controller.pool, id: newId<PoolId>(), location: { kind: 'fs', path } };
  });
  afterEach(async () => {
    for (const worker of workers) await worker.kill9();
    workers = [];
  });

  const worker = async (name: string): Promise<RunningProcess> => {
    const { CASVAULT_DATABASE_URL: _none, ...env } = controller.env;
    const role = { CASVAULT_DATA_MOVER_ROLE: 'worker', CASVAULT_DATA_MOVER_NAME: name };
    const process = spawnService(main, { env: { ...env, ...role, CASVAULT_DRAIN_SECONDS: '20' } });
    workers.push(process);
    await process.sees(/service started/);
    return process;
  };
  const diskService = () => ({
    url: disks.url,
    token: createSealer(controller.env['CASVAULT_SEALING_KEY'] ?? '').seal(disks.token),
  });
  /** A backup under way at a worker, slow enough to be disturbed; what comes after it is not slow. */
  const disturbed = async () => {
    disks.bytesPerSecond = 32 * mib;
    const first = await worker('first');
    const base = backupSpec();
    const spec: BackupSpec = {
      ...base,
      pool: controller.pool,
      diskService: diskService(),
      disks: base.disks.map((disk) => ({ ...disk, path: source, format: 'raw', sizeBytes })),
    };
    const transferId = await controller.ask(spec);
    const running = await inMidTransfer(transferId);
    disks.bytesPerSecond = 0;
    return { spec, transferId, first, capturedAt: running.capturedAt };
  };
  const inMidTransfer = (transferId: TransferId): Promise<TransferChanged> =>
    until(() => {
      const newest = controller.of(transferId).at(-1);
      return (newest?.progress[0]?.doneBytes ?? 0) > 48 * mib ? newest : null;
    });
  const expectRestorable = async (
    { pointId, chainId }: BackupSpec,
    image = source,
    bytes = sizeBytes,
  ): Promise<void> => {
    const path = join(dir.path, `${newId()}.raw`);
    const file = await open(path, 'w');
    await file.truncate(bytes);
    await file.close();
    const volumes: RestoreSpec['disks'] = [{ target: 'vda', path, format: 'raw', sizeBytes: bytes }];
    const spec = { ...restoreSpec(), pointId, chainId, pool: controller.pool, diskService: diskService() };
    await controller.reaches(await controller.ask({ ...spec, disks: volumes }), 'succeeded');
    await expectEqual(image, path);
    await until(() => disks.openings.size === 0);
    await rm(path);
  };
  const filesOf = async (chainId: string): Promise<string[]> => {
    const { location } = controller.pool;
    const root = location.kind === 'fs' ? location.path : '';
    const found = await readdir(root, { recursive: true, withFileTypes: true });
    return found
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => join(parentPath, name))
      .filter((path) => path.includes(chainId));
  };

  /** What is left of a chain but for the marks that let nobody commit its points any more. */
  const leftOf = async (chainId: string): Promise<string[]> => {
    const left: string[] = [];
    for (const path of await filesOf(chainId))
      if (!path.includes('/points/') || (await stat(path)).size > voidPointBytes) left.push(path);
    return left;
  };

  it('killed in mid-transfer: another goes on from what is durable, of the same capture', async () => {
    const { spec, transferId, first, capturedAt } = await disturbed();
    await first.kill9();
    await worker('second');
    const end = await controller.reaches(transferId, 'succeeded');
    expect(end).toMatchObject({ epoch: 2, capturedAt });
    expect(end.reasons).toContain('WORKER_LOST');
    expect(sumOf(end, 'resumedBytes')).toBeGreaterThan(16 * mib);
    expect(sumOf(end, 'doneBytes')).toBeLessThan(dataBytes - 16 * mib);
    expect(sumOf(end, 'doneBytes') + sumOf(end, 'resumedBytes')).toBeGreaterThanOrEqual(dataBytes);
    await expectRestorable(spec);
  });

  it('told to end: hands back within ten seconds, and the next goes on from there', async () => {
    const { spec, transferId, first, capturedAt } = await disturbed();
    const began = performance.now();
    expect(await first.stop()).toBe(0);
    expect(performance.now() - began).toBeLessThan(10_000);
    expect(disks.openings.size).toBe(1);
    await worker('second');
    const end = await controller.reaches(transferId, 'succeeded');
    expect(end.capturedAt).toBe(capturedAt);
    expect(end.reasons).not.toContain('WORKER_LOST');
    expect(sumOf(end, 'resumedBytes')).toBeGreaterThan(16 * mib);
    await expectRestorable(spec);
  });

  it('stopped: closes its capture, and a removal leaves nothing of the point in the pool', async () => {
    const { spec, transferId } = await disturbed();
    await controller.client.send(stopTransfer, { transferId }, { messageId: newId() });
    await controller.reaches(transferId, 'stopped');
    await until(() => disks.openings.size === 0);
    const { chainId } = spec;
    expect(await filesOf(chainId)).not.toEqual([]);
    await controller.reaches(await remove([spec], false), 'succeeded');
    expect(await leftOf(chainId)).toEqual([]);
  });

  /** A chain of points of a disk whose beginning is written anew between them, each with the image of its instant. */
  const chainOf = async (length: number) => {
    const live = join(dir.path, 'live.raw');
    const bytes = await makeDisk(live, 16);
    const base = backupSpec();
    const points: { spec: BackupSpec; image: string }[] = [];
    for (let n = 0; n < length; n++) {
      const file = await open(live, 'r+');
      await file.write(randomBytes(2 * mib), 0, 2 * mib, 0);
      await file.close();
      const parentPointId = points.at(-1)?.spec.pointId ?? null;
      const spec: BackupSpec = {
        ...base,
        pointId: newId<BackupSpec['pointId']>(),
        pointKind: parentPointId ? 'incremental' : 'full',
        parentPointId,
        pool: controller.pool,
        diskService: diskService(),
        disks: base.disks.map((disk) => ({ ...disk, path: live, format: 'raw', sizeBytes: bytes })),
      };
      await controller.reaches(await controller.ask(spec), 'succeeded');
      const image = join(dir.path, `${n}.raw`);
      await copyFile(live, image);
      points.push({ spec, image });
    }
    return { points, bytes };
  };
  const remove = async (points: readonly BackupSpec[], dryRun: boolean): Promise<TransferId> => {
    const transferId = newId<TransferId>();
    const command = {
      transferId,
      ownerId: newId<RunItemId>(),
      poolId: controller.pool.id,
      chainId: points[0]?.chainId ?? newId(),
      pointIds: points.map(({ pointId }) => pointId),
      dryRun,
    };
    await controller.client.send(removePoints, command, { messageId: newId() });
    return transferId;
  };
  const bytesIn = async (chainId: string): Promise<number> => {
    let sum = 0;
    for (const path of await filesOf(chainId)) sum += (await stat(path)).size;
    return sum;
  };

  it('G3: points go from the front and the middle, freeing what was measured; a killed worker’s successor ends it', async () => {
    const first = await worker('first');
    const { points, bytes } = await chainOf(4);
    const specs = points.map(({ spec }) => spec);
    const { chainId } = specs[0]!;
    const going = [specs[0]!, specs[2]!];
    const before = await bytesIn(chainId);
    const measured = await controller.reaches(await remove(going, true), 'succeeded');
    expect(await bytesIn(chainId)).toBe(before);
    const { location } = controller.pool;
    const path = location.kind === 'fs' ? location.path : '';
    await rename(path, `${path}.away`);
    const transferId = await remove(going, false);
    await first.sees(/transfer interrupted/);
    await first.kill9();
    await rename(`${path}.away`, path);
    await worker('second');
    const removed = await controller.reaches(transferId, 'succeeded');
    expect(removed.epoch).toBe(2);
    expect(removed.result?.removed).toEqual(measured.result?.removed);
    expect(measured.result?.removed?.freedBytes).toBe(before - (await bytesIn(chainId)));
    expect(measured.result?.removed?.freedBytes).toBeGreaterThan(2 * mib);
    for (const { spec, image } of [points[1]!, points[3]!]) await expectRestorable(spec, image, bytes);
    await controller.reaches(await remove(specs, false), 'succeeded');
    expect(await leftOf(chainId)).toEqual([]);
  });

  it('goes on over a death of the controller and a cut from NATS', async () => {
    const { spec, transferId } = await disturbed();
    await controller.service.kill9();
    await controller.nats.kill();
    await controller.nats.start();
    await controller.boot();
    expect(await controller.reaches(transferId, 'succeeded')).toMatchObject({ epoch: 1 });
    await expectRestorable(spec);
  });
});
