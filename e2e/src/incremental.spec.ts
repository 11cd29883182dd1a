import {
  jobSchema,
  planPreviewSchema,
  type Disk,
  type Point,
  type RunDetail,
  type Vm,
} from '@casvault/contracts';
import { labBackup } from '@casvault/stack';
import { until } from '@casvault/testkit';
import {
  expectNothingLeft,
  expectRestoredEqual,
  expectSucceeded,
  MiB,
  pointOf,
  startWorld,
  type World,
} from './world.js';

const sampleBytes = 66 * 64 * 1024;

/** D1, D2, D6 over all services: chains of one VM, each point held against an independent copy of its instant. */
describe('incremental', () => {
  let world: World;
  let poolId: string;
  let labId: number;

  beforeAll(async () => {
    world = await startWorld('incremental', {
      vms: [
        {
          name: 'tracked',
          host: 1,
          disks: [
            { sizeBytes: 256 * MiB, dataBytes: 40 * MiB, seed: 1 },
            { sizeBytes: 256 * MiB, dataBytes: 32 * MiB, seed: 2 },
            { sizeBytes: 64 * MiB, format: 'raw', dataBytes: 8 * MiB, seed: 3 },
          ],
        },
      ],
    });
    poolId = (await world.trial.standardPool('incremental')).id;
    labId = world.trial.lab.vms.find((one) => one.name === 'tracked')?.id ?? 0;
  });
  afterAll(() => world[Symbol.asyncDispose]());

  const tracked = (): Promise<Vm> => world.trial.vm(world.platform, 'tracked');
  const backUp = async (more: object = {}): Promise<Point> => {
    const vm = await tracked();
    const definition = { ...labBackup, vmIds: [vm.id], poolId, ...more };
    const run: RunDetail = await world.trial.runJob(definition, 'incremental', () => undefined);
    return pointOf(world, expectSucceeded(run));
  };
  /** The guest writes a while, then its disks stay as they are. */
  const write = async (): Promise<void> => {
    const { admin } = world.trial.lab;
    const before = await admin.startWorkload(labId, { pairsPerSecond: 50, bulkKiBPerSecond: 512 });
    await until(async () => (await admin.workload(labId)).number > before.number + 20);
    await admin.stopWorkload(labId);
  };
  const diskOf = (point: Point, target: string) => {
    const disk = point.disks.find((one) => one.target === target);
    if (disk === undefined) throw new Error(`the point has no disk ${target}`);
    return disk;
  };
  const how = (point: Point): object =>
    Object.fromEntries(
      point.disks.map(({ target, tracked: isTracked, reasons }) => [target, [isTracked, ...reasons]]),
    );
  const chains = async (vm: Vm) => world.trial.api.listChains({ vmId: vm.id });

  it('D6: the first point of a chain is full; D2: the next reads and stores what the guest wrote', async () => {
    const first = await backUp();
    expect(first).toMatchObject({ kind: 'full', parentPointId: null });
    expect(first.reasons).toContain('FULL_FIRST_POINT');
    await write();
    const second = await backUp();
    expect(second).toMatchObject({ kind: 'incremental', chainId: first.chainId, parentPointId: first.id });
    // R5: the raw disk is read in full and compared; what is equal is not stored again.
    expect(how(second)).toEqual({ vda: [true], vdb: [true], vdc: [false, 'CBT_UNSUPPORTED'] });
    for (const target of ['vda', 'vdb']) {
      const disk = diskOf(second, target);
      expect(disk.readBytes).toBeGreaterThan(0);
      expect(disk.readBytes).toBeLessThan(48 * MiB);
    }
    expect(second.poolBytes).toBeLessThan(first.poolBytes / 2);
    await expectRestoredEqual(world, first);
    await expectRestoredEqual(world, second);
    await expectNothingLeft(world);
  });

  it('G1: an incremental with nothing changed reads its sample and its thirtieth', async () => {
    const point = await backUp();
    const { readBytes, tracked: isTracked, storedBytes } = diskOf(point, 'vdb');
    expect(isTracked).toBe(true);
    expect(readBytes).toBeLessThanOrEqual(sampleBytes + (256 * MiB) / 30 + 4 * MiB);
    expect(storedBytes).toBeLessThan(MiB);
    await expectRestoredEqual(world, point);
  });

  it('R7: after a power cycle what is not proven is compared in full, and the point is right', async () => {
    const { admin } = world.trial.lab;
    await admin.power(labId, 'shutDown');
    await until(async () => (await admin.vm(labId)).state === 'shutOff');
    await admin.power(labId, 'start');
    await write();
    const point = await backUp();
    expect(point.kind).toBe('incremental');
    for (const target of ['vda', 'vdb']) {
      const { tracked: isTracked, reasons } = diskOf(point, target);
      expect(isTracked).toBe(reasons.length === 0);
    }
    await expectRestoredEqual(world, point);
    const next = await backUp();
    expect(how(next)).toMatchObject({ vda: [true], vdb: [true] });
  });

  it('D2: an added disk is read in full, the others go on incrementally', async () => {
    const { target } = await world.trial.lab.admin.attachDisk(labId, { sizeBytes: 32 * MiB });
    await world.trial.api.syncPlatform(world.platform.id);
    await write();
    const point = await backUp();
    expect(how(point)).toMatchObject({ vda: [true], vdb: [true], [target]: [false, 'DISK_ADDED'] });
    await expectRestoredEqual(world, point);
  });

  it('D6: a new full opens a chain, and an older one can still be extended', async () => {
    const [older] = await chains(await tracked());
    const full = await backUp({ pointKind: 'full' });
    expect(full.chainId).not.toBe(older?.id);
    const run = await world.trial.api.extendChain(older!.id);
    const extended = await pointOf(
      world,
      expectSucceeded(await world.trial.api.watchRun(run.id, () => undefined)),
    );
    expect(extended).toMatchObject({ kind: 'incremental', chainId: older?.id });
    await expectRestoredEqual(world, extended);
    expect(await backUp()).toMatchObject({ kind: 'incremental', chainId: full.chainId });
  });

  it('D1: a backup of one disk has a chain of its own', async () => {
    const vm = await tracked();
    const vda = vm.disks.find(({ target }) => target === 'vda') as Disk;
    const first = await backUp({ diskIds: [vda.id] });
    expect(first.kind).toBe('full');
    expect(first.disks.map(({ target }) => target)).toEqual(['vda']);
    expect(first.excludedDisks).toContainEqual({ target: 'vdb', reason: 'DISK_NOT_CHOSEN' });
    const second = await backUp({ diskIds: [vda.id] });
    expect(second).toMatchObject({ kind: 'incremental', chainId: first.chainId });
    await expectRestoredEqual(world, second);
    const own = (await chains(vm)).filter(({ diskIds }) => diskIds !== null);
    expect(own).toMatchObject([{ id: first.chainId, diskIds: [vda.id] }]);
  });

  it('R6: without the live export a VM with a raw disk is shut down for its backup and runs again afterwards', async () => {
    const { admin } = world.trial.lab;
    await admin.offerLiveExport(1, false);
    try {
      const vm = await tracked();
      const definition = { ...labBackup, vmIds: [vm.id], poolId };
      const refused = await world.trial.runJob(definition, 'refused', () => undefined);
      expect(refused.items[0]).toMatchObject({ state: 'failed', reasons: ['POWER_OFF_NEEDED'] });
      const point = await backUp({ powerOff: true });
      expect(point.method).toBe('offline');
      expect(point.reasons).toContain('CAPTURE_POWERED_OFF');
      expect((await admin.vm(labId)).state).toBe('running');
      await expectRestoredEqual(world, point);
    } finally {
      await admin.offerLiveExport(1, true);
    }
  });

  it('D7, D9: a plan runs once at the clock of the backup host; its job is edited, rests, is copied and deleted', async () => {
    const { api } = world.trial;
    const vm = await tracked();
    const [mover] = await api.listBackupHosts();
    const clock = new Intl.DateTimeFormat('sv-SE', {
      timeZone: mover?.timeZone ?? 'none',
      dateStyle: 'short',
      timeStyle: 'medium',
    });
    const at = clock.format(new Date(Date.now() + 15_000)).replace(' ', 'T');
    const nightly = { type: 'daily', time: '02:00', pointKind: 'incremental' } as const;
    const definition = { ...labBackup, vmIds: [vm.id], poolId } as never;
    const job = await api.createJob({
      name: 'planned',
      definition,
      plans: [{ type: 'once', at, pointKind: 'full' }, nightly],
    });
    expect(job).toMatchObject({ timeZone: mover?.timeZone, version: 1, enabled: true, lastRunId: null });
    const [run] = await until(async () => {
      const runs = await api.listRuns({ jobId: job.id });
      return runs.length > 0 ? runs : null;
    });
    if (run === undefined) throw new Error('the plan was not fired');
    expect(run.dueAt).toBe(job.nextRunAt);
    const point = await pointOf(world, expectSucceeded(await api.watchRun(run.id, () => undefined)));
    expect(point.kind).toBe('full');
    await expectRestoredEqual(world, point);

    const path = `/jobs/${job.id}`;
    const change = (suffix: string, method: 'PUT' | 'POST', body: object) =>
      api.ask(jobSchema, path + suffix, { method, body });
    const { dues } = await api.ask(planPreviewSchema, '/plans/preview', {
      method: 'POST',
      body: { plan: nightly, count: 2 },
    });
    expect(dues.map(({ local }) => local.slice(11))).toEqual(['02:00:00', '02:00:00']);
    const edited = await change('', 'PUT', { name: 'nightly', version: 1, definition, plans: [nightly] });
    expect(edited).toMatchObject({ version: 2, nextRunAt: dues[0]?.at, lastRunId: run.id });
    await expect(
      change('', 'PUT', { name: 'late', version: 1, definition, plans: [nightly] }),
    ).rejects.toMatchObject({ problem: { code: 'CONFLICT', status: 409 } });
    expect(await change('/enabled', 'PUT', { enabled: false })).toMatchObject({ nextRunAt: null });
    const copy = await change('/clones', 'POST', { name: 'copy' });
    expect(copy).toMatchObject({ name: 'copy', enabled: false, plans: edited.plans, version: 1 });
    await api.ask({ parse: () => null }, path, { method: 'DELETE' });
    await expect(api.getJob(job.id)).rejects.toMatchObject({ problem: { code: 'NOT_FOUND' } });
    expect((await api.listRuns({ jobId: job.id })).map(({ id }) => id)).toEqual([run.id]);
    expect((await api.getPoint(point.id)).state).toBe('available');
  });
});
