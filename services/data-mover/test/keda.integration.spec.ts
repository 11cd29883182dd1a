import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type TransferId } from '@casvault/contracts';
import { createSealer } from '@casvault/service-host';
import { spawnService, tempDir, until, type RunningProcess, type TempDir } from '@casvault/testkit';
import { lagOf, renderedScaledObject, replicasFor, type KedaTrigger, type ScaledObject } from './keda.js';
import { backupSpec, RunningController } from './running-controller.js';
import { PlayedDiskService } from './worker-disk-service.js';

const main = fileURLToPath(new URL('../src/main.js', import.meta.url));
const mib = 1 << 20;
const diskBytes = 24 * mib;

describe('what KEDA scales the movers by, of a real NATS', () => {
  let dir: TempDir;
  let controller: RunningController;
  let disks: PlayedDiskService;
  let scaledObject: ScaledObject;
  let transfers: KedaTrigger;
  let hooks: KedaTrigger;
  let moverEnv: ReadonlyMap<string, string | undefined>;
  let source: string;
  let mover: RunningProcess | null = null;

  beforeAll(async () => {
    dir = await tempDir('keda');
    source = join(dir.path, 'source.raw');
    await writeFile(source, randomBytes(diskBytes));
    controller = await RunningController.start({ listen: false, monitoring: true });
    controller.pool = { ...controller.pool, location: { kind: 'fs', path: dir.path } };
    disks = await PlayedDiskService.start();
    ({ scaledObject, moverEnv } = await renderedScaledObject(controller.nats.monitoring ?? ''));
    [transfers, hooks] = scaledObject.triggers as [KedaTrigger, KedaTrigger];
  });
  afterAll(async () => {
    await mover?.kill9();
    await disks.stop();
    await controller.stop();
    await dir.remove();
  });

  /** As the Deployment starts it. */
  const startMover = async (): Promise<void> => {
    const { CASVAULT_DATABASE_URL: _none, ...env } = controller.env;
    const own = ['ROLE', 'GROUP', 'TRANSFERS'].map((name) => `CASVAULT_DATA_MOVER_${name}`);
    const rendered = Object.fromEntries(own.map((name) => [name, moverEnv.get(name) ?? '']));
    mover = spawnService(main, { env: { ...env, ...rendered, CASVAULT_DATA_MOVER_NAME: 'mover' } });
    await mover.sees(/service started/);
  };
  const stopMover = async (): Promise<void> => {
    await mover?.stop();
    mover = null;
  };
  const backUp = async (): Promise<TransferId> => {
    const base = backupSpec();
    const token = createSealer(controller.env['CASVAULT_SEALING_KEY'] ?? '').seal(disks.token);
    const [disk] = base.disks.map((one) => ({ ...one, path: source, format: 'raw' as const }));
    return controller.ask({
      ...base,
      pool: controller.pool,
      diskService: { url: disks.url, token },
      disks: [{ ...disk!, sizeBytes: diskBytes }],
    });
  };
  const inState = async (state: 'queued' | 'running'): Promise<number> =>
    (await controller.scrape()).sum('casvault_transfers', { state });
  const atRest = () =>
    until(async () => (await lagOf(transfers)).total === 0 && (await lagOf(hooks)).total === 0);

  it('has nothing to read before the group’s first work, and then counts it without a mover, also of a NATS that lost its data', async () => {
    await expect(lagOf(transfers)).rejects.toThrow('consumer work_default not found in stream WORK');
    await backUp().then((id) => controller.reaches(id, 'queued'));
    const isSeen = async (): Promise<boolean> =>
      (await lagOf(transfers)).total > 0 && (await lagOf(hooks)).total === 0;
    await until(isSeen);
    expect(await replicasFor(scaledObject)).toBeGreaterThan(0);
    await controller.nats.lose();
    await controller.nats.start();
    await until(isSeen, 60_000);
    await startMover();
    await atRest();
    expect(await replicasFor(scaledObject)).toBe(0);
  });

  it('is what is queued and what runs, and nothing when all has ended: movers from 0 to N, and to 0', async () => {
    expect(transfers.lagThreshold).toBe(Number(moverEnv.get('CASVAULT_DATA_MOVER_TRANSFERS')));
    disks.bytesPerSecond = 2 * mib;
    const asked: TransferId[] = [];
    for (let one = 0; one < 5; one++) asked.push(await backUp());
    const lag = await until(async () => {
      const isCounted = (await inState('queued')) === 3 && (await inState('running')) === 2;
      const seen = await lagOf(transfers);
      return isCounted && seen.total === asked.length ? seen : null;
    });
    expect(lag).toEqual({ pending: 3, unacknowledged: 2, total: 5 });
    expect(await replicasFor(scaledObject)).toBe(3);
    disks.bytesPerSecond = 0;
    for (const id of asked) await controller.reaches(id, 'succeeded');
    await atRest();
    expect(await replicasFor(scaledObject)).toBe(0);
  });

  it('counts a transfer that waits for a mover again each time it is rung, and falls to 0 all the same', async () => {
    await stopMover();
    const id = await backUp();
    await until(async () => (await lagOf(transfers)).total === 1);
    expect(await replicasFor(scaledObject)).toBe(1);
    const waiting = await until(async () => {
      const seen = await lagOf(transfers);
      return seen.total > 1 ? seen : null;
    });
    expect(waiting.unacknowledged).toBe(0);
    expect(await inState('queued')).toBe(1);
    await startMover();
    await controller.reaches(id, 'succeeded');
    await atRest();
    expect(await replicasFor(scaledObject)).toBe(0);
  });
});
