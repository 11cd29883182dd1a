import {
  createJob,
  deleteJob,
  getJob,
  getRun,
  listJobs,
  listRunLog,
  listRuns,
  newId,
  previewContent,
  previewRestore,
  startRun,
  stopRun,
  type createJob as CreateJob,
  type HostId,
  type Job,
  type JobId,
  type PlatformId,
  type Point,
  type PointId,
  type PoolId,
  type RunDetail,
  type RunId,
  type VmId,
} from '@casvault/contracts';
import { until } from '@casvault/testkit';
import { type z } from 'zod';
import { RunningScheduler } from './running-scheduler.js';

type NewJob = z.input<typeof CreateJob.request>;

describe('scheduler over NATS and Postgres', () => {
  let scheduler: RunningScheduler;
  beforeAll(async () => {
    scheduler = await RunningScheduler.start();
  });
  afterAll(() => scheduler.stop());

  const backupOf = (vmIds: VmId[], plan: 'immediate' | 'manual' = 'immediate', parallel = {}): NewJob => ({
    id: newId<JobId>(),
    name: 'nightly',
    definition: { kind: 'backup', vmIds, poolId: scheduler.peers.pool(), parallel },
    plans: [{ type: plan }],
  });
  const create = (job: NewJob): Promise<Job> => scheduler.client.request(createJob, job);
  /** A job that runs at once, with its run. */
  const running = async (count: number, parallel = {}) => {
    const vmIds = Array.from({ length: count }, () => scheduler.peers.vm());
    const job = await create(backupOf(vmIds, 'immediate', parallel));
    return { job, runId: job.lastRunId as RunId };
  };
  const detail = (runId: RunId): Promise<RunDetail> => scheduler.client.request(getRun, { runId });
  const reaches = (runId: RunId, state: RunDetail['state']) =>
    until(async () => {
      const run = await detail(runId);
      return run.state === state ? run : null;
    });

  it('runs at once, tells progress, and succeeds when all items have', async () => {
    const { job, runId } = await running(2);
    const { peers } = scheduler;
    const items = await peers.askedFor(runId, 2);
    const progress = [
      { target: 'vda', totalBytes: 100, doneBytes: 40, storedBytes: 30, resumedBytes: 0 },
      { target: 'vdb', totalBytes: 100, doneBytes: 5, storedBytes: 4, resumedBytes: 0 },
    ];
    const pointId = newId<PointId>();
    const begun = progress.map((disk) => ({ ...disk, doneBytes: 0, storedBytes: 0 }));
    const at = (second: number) => new Date(Date.UTC(2025, 11, 31, 0, 0, second)).toISOString();
    await peers.tell(items[0]!.itemId, 'transferring', { progress: begun, pointId, at: at(0) });
    await peers.tell(items[0]!.itemId, 'transferring', { progress, pointId, at: at(10) });
    const seen = await until(() => peers.news.find((run) => run.id === runId && run.doneBytes === 45));
    expect(seen.items.find(({ id }) => id === items[0]?.itemId)).toMatchObject({
      state: 'running',
      phase: 'transferring',
      progress,
      pointId,
    });
    const shown = await detail(runId);
    expect(shown.storedBytes).toBe(34);
    // G15: 40 % in 10 s; of the other disk not a tenth yet, so nobody knows of the VM.
    const [vda, vdb] = shown.items.find(({ id }) => id === items[0]?.itemId)?.progress ?? [];
    expect(vda).toMatchObject({ bytesPerSecond: 4, etaSeconds: 15 });
    expect([vdb?.etaSeconds, shown.etaSeconds]).toEqual([null, null]);
    for (const { itemId } of items) await peers.tell(itemId, 'succeeded');
    const run = await reaches(runId, 'succeeded');
    expect(run.finishedAt).not.toBeNull();
    expect(await scheduler.client.request(getJob, { jobId: job.id })).toMatchObject({
      lastRunId: runId,
      lastRunState: 'succeeded',
    });
    await until(() => peers.news.some(({ id, state }) => id === runId && state === 'succeeded'));
  });

  it('keeps to its limits, and a failed VM fails no other', async () => {
    const { runId } = await running(3, { vms: 1 });
    const { peers } = scheduler;
    const fault = { code: 'POOL_FULL' as const, message: 'no room', details: {} };
    for (const [i, phase] of (['failed', 'succeeded', 'succeeded'] as const).entries()) {
      const items = await peers.askedFor(runId, i + 1);
      expect(items).toHaveLength(i + 1);
      await peers.tell(items[i]!.itemId, phase, phase === 'failed' ? { fault } : {});
    }
    const run = await reaches(runId, 'partly failed');
    expect(run.items.map(({ state }) => state)).toEqual(['failed', 'succeeded', 'succeeded']);
    expect(run.items[0]?.fault).toEqual(fault);
  });

  it('H4: counts VMs of jobs with and without a backup, and shows whose backup is the oldest', async () => {
    const { peers } = scheduler;
    const fault = { code: 'POOL_FULL' as const, message: 'no room', details: {} };
    const before = await scheduler.scrape();
    const { job, runId } = await running(3, { vms: 8 });
    const items = await peers.askedFor(runId, 3);
    for (const [i, phase] of (['succeeded', 'succeeded', 'failed'] as const).entries())
      await peers.tell(items[i]!.itemId, phase, phase === 'failed' ? { fault } : {});
    await reaches(runId, 'partly failed');
    const after = await scheduler.scrape();
    const more = (name: string, labels = {}) => after.sum(name, labels) - before.sum(name, labels);
    expect(more('casvault_job_vms')).toBe(3);
    expect(more('casvault_protected_vms')).toBe(2);
    expect(more('casvault_protected_vms_by_age', { up_to_seconds: '3600' })).toBe(2);
    expect(more('casvault_jobs', { last_run: 'partly failed' })).toBe(1);
    expect(more('casvault_runs', { state: 'partly failed' })).toBe(1);
    const shown = after.samples.filter(({ name }) => name === 'casvault_vm_backup_age_seconds');
    const ours = shown.filter(({ labels }) => items.some(({ vmId }) => vmId === labels['vm_id']));
    expect(ours.map(({ labels }) => labels['vm_id']).sort()).toEqual(
      items
        .slice(0, 2)
        .map(({ vmId }) => vmId)
        .sort(),
    );
    expect(shown.length).toBeLessThanOrEqual(20);
    await scheduler.client.request(deleteJob, { jobId: job.id });
    expect((await scheduler.scrape()).sum('casvault_job_vms')).toBe(before.sum('casvault_job_vms'));
  });

  it('D1: a host is whatever VMs it has when the run begins, without those left out, and with those named beside it', async () => {
    const { peers } = scheduler;
    const host = peers.host();
    const [first, excluded, elsewhere] = [peers.vm(host), peers.vm(host), peers.vm()];
    const { definition, ...rest } = backupOf([elsewhere, first], 'manual', { vms: 32, vmsPerHost: 10 });
    const content = { vmIds: [elsewhere, first], hostIds: [host], excludedVmIds: [excluded] };
    const job = await create({ ...rest, definition: { ...definition, ...content } });
    const later = peers.vm(host);
    const preview = await scheduler.client.request(previewContent, content);
    expect(preview).toMatchObject({
      itemCount: 3,
      items: [{ vmId: elsewhere }, { vmId: first }, { vmId: later }],
    });
    const runId = newId<RunId>();
    await scheduler.client.request(startRun, { jobId: job.id, runId });
    const items = await peers.askedFor(runId, 3);
    expect(items.map(({ vmId }) => vmId)).toEqual([elsewhere, first, later]);
    for (const { itemId } of items) await peers.tell(itemId, 'succeeded');
    await reaches(runId, 'succeeded');
  });

  it('D1, R13: a VM or host that is gone is an item that has failed, and fails no other', async () => {
    const { peers } = scheduler;
    const host = peers.host();
    const [gone, stays] = [peers.vm(), peers.vm()];
    const { definition, ...rest } = backupOf([gone, stays], 'manual');
    const content = { ...definition, hostIds: [host] } as NewJob['definition'];
    const job = await create({ ...rest, definition: content });
    peers.vms.delete(gone);
    peers.hosts.delete(host);
    const runId = newId<RunId>();
    await scheduler.client.request(startRun, { jobId: job.id, runId });
    const [item] = await peers.askedFor(runId, 1);
    expect(item?.vmId).toBe(stays);
    await peers.tell(item!.itemId, 'succeeded');
    const run = await reaches(runId, 'partly failed');
    expect(run.items).toMatchObject([
      {
        state: 'failed',
        vmId: gone,
        fault: { code: 'VM_NOT_FOUND', details: { field: 'definition.vmIds' } },
      },
      { state: 'succeeded', vmId: stays },
      { state: 'failed', vmId: null, fault: { code: 'NOT_FOUND', details: { field: 'definition.hostIds' } } },
    ]);
  });

  it('D1: of a host without VMs nothing is backed up, which is no success: a skipped run with its reason', async () => {
    const { definition, ...rest } = backupOf([], 'manual');
    const content = { ...definition, hostIds: [scheduler.peers.host()] } as NewJob['definition'];
    const job = await create({ ...rest, definition: content });
    const runId = newId<RunId>();
    const start = () => scheduler.client.request(startRun, { jobId: job.id, runId });
    const skipped = { state: 'skipped', reasons: ['NOTHING_TO_BACK_UP'], itemCount: 0 };
    expect(await start()).toMatchObject(skipped);
    await scheduler.client.request(stopRun, { runId });
    expect(await start()).toMatchObject(skipped);
    await until(() => scheduler.peers.news.some(({ id, state }) => id === runId && state === 'skipped'));
  });

  it('retry: a VM that fails for a passing cause is tried again under an id of its own, with the earlier fault in view', async () => {
    const { peers } = scheduler;
    const job = backupOf([peers.vm(), peers.vm()], 'immediate');
    const definition = { ...job.definition, retry: { count: 1, intervalMinutes: 0 } } as NewJob['definition'];
    const runId = (await create({ ...job, definition })).lastRunId as RunId;
    const [first, second] = await peers.askedFor(runId, 2);
    const fault = { code: 'NBD_DISCONNECTED' as const, message: 'cut', details: {} };
    await peers.tell(first!.itemId, 'failed', { fault, pointId: newId<PointId>() });
    const asked = await peers.askedFor(runId, 3);
    expect(asked[2]?.vmId).toBe(first?.vmId);
    expect((await detail(runId)).items[0]).toMatchObject({
      id: first?.itemId,
      attempt: 2,
      state: 'running',
      fault: null,
      earlierFault: fault,
      pointId: null,
      reasons: ['TRIED_AGAIN'],
    });
    await peers.tell(first!.itemId, 'succeeded');
    await peers.tell(second!.itemId, 'failed', { fault: { ...fault, code: 'POOL_FULL' } });
    await peers.tell(asked[2]!.itemId, 'failed', { fault });
    const run = await reaches(runId, 'failed');
    const log = await scheduler.client.request(listRunLog, { runId, itemId: first!.itemId });
    expect(log.items.map(({ code }) => code)).toEqual([
      'VM_ADMITTED',
      'VM_FAILED',
      'VM_TRIED_AGAIN',
      'VM_ADMITTED',
      'VM_FAILED',
    ]);
    expect(run.items.map((item) => [item.attempt, item.fault?.code])).toEqual([
      [2, 'NBD_DISCONNECTED'],
      [1, 'POOL_FULL'],
    ]);
  });

  it('retry: a stop ends at once what waits to be tried again', async () => {
    const { runId } = await running(1);
    const { peers } = scheduler;
    const [item] = await peers.askedFor(runId, 1);
    const fault = { code: 'PLATFORM_BUSY' as const, message: 'migrating', details: {} };
    await peers.tell(item!.itemId, 'failed', { fault });
    const waiting = await until(async () => {
      const [one] = (await detail(runId)).items;
      return one?.retryAt ? one : null;
    });
    expect(waiting).toMatchObject({ state: 'queued', attempt: 2, earlierFault: fault });
    await scheduler.client.request(stopRun, { runId });
    await reaches(runId, 'stopped');
    // Its row is written right after the state of the run.
    const ended = await until(async () => {
      const [one] = (await detail(runId)).items;
      return one?.state === 'stopped' ? one : null;
    });
    expect(ended).toMatchObject({ retryAt: null, fault: { code: 'STOPPED' } });
  });

  it('a stop that nobody follows ends the run within 10 s; what comes of its items is still told', async () => {
    const { runId } = await running(1);
    const { peers } = scheduler;
    const [item] = await peers.askedFor(runId, 1);
    peers.deaf.add(item!.itemId);
    const asked = Date.now();
    await scheduler.client.request(stopRun, { runId });
    const run = await until(async () => {
      const now = await detail(runId);
      // The rows of its items follow it.
      return now.state === 'stopped' && now.items[0]?.state === 'stopped' ? now : null;
    });
    expect(Date.parse(run.finishedAt ?? '') - asked).toBeLessThan(10_000);
    expect(run.items[0]).toMatchObject({ state: 'stopped', phase: 'cleaning' });
    const fault = { code: 'STOPPED' as const, message: 'VM is off', details: { left: 'power-off' } };
    await peers.tell(item!.itemId, 'stopped', { fault });
    const told = await until(async () => {
      const [one] = (await detail(runId)).items;
      return one?.phase === 'stopped' ? one : null;
    });
    expect(told).toMatchObject({ state: 'stopped', fault });
  });

  it('R15: one run at a time for a group that is so limited; the others queue, and begin in their order', async () => {
    const { peers } = scheduler;
    const start = async (): Promise<RunId> => {
      const job = backupOf([peers.vm()]);
      const made = await create({ ...job, definition: { ...job.definition, group: 'single' } });
      return made.lastRunId as RunId;
    };
    const [first, second, third] = [await start(), await start(), await start()];
    await peers.askedFor(first, 1);
    const elsewhere = await running(1);
    const [free] = await peers.askedFor(elsewhere.runId, 1);
    expect([(await detail(second)).state, (await detail(third)).state]).toEqual(['queued', 'queued']);
    await scheduler.client.request(stopRun, { runId: second });
    await reaches(second, 'stopped');
    await peers.tell((await peers.askedFor(first, 1))[0]!.itemId, 'succeeded');
    const [last] = await peers.askedFor(third, 1);
    expect(peers.asked.some(({ runId }) => runId === second)).toBe(false);
    for (const { itemId } of [free!, last!]) await peers.tell(itemId, 'succeeded');
    await reaches(third, 'succeeded');
  });

  it('stops: the waiting at once, the running through snapshot-engine', async () => {
    const { runId } = await running(3, { vms: 1 });
    const [first] = await scheduler.peers.askedFor(runId, 1);
    await scheduler.client.request(stopRun, { runId });
    const run = await reaches(runId, 'stopped');
    expect(scheduler.peers.stopped).toContain(first?.itemId);
    expect(run.items.map(({ state }) => state)).toEqual(['stopped', 'stopped', 'stopped']);
    expect(run.items[2]?.fault?.code).toBe('STOPPED');
  });

  it('takes nothing back: late and doubled news of an item change nothing', async () => {
    const { runId } = await running(1);
    const { peers } = scheduler;
    const [item] = await peers.askedFor(runId, 1);
    await peers.tell(item!.itemId, 'succeeded', { at: '2026-05-01T00:00:00.000Z' });
    await reaches(runId, 'succeeded');
    await peers.tell(item!.itemId, 'transferring', { at: '2026-04-01T00:00:00.000Z' });
    await peers.tell(item!.itemId, 'failed', { at: '2026-06-01T00:00:00.000Z' });
    // News are handled in their order: those of another item come behind these.
    const other = await running(1);
    const [behind] = await peers.askedFor(other.runId, 1);
    await peers.tell(behind!.itemId, 'succeeded');
    await reaches(other.runId, 'succeeded');
    expect((await detail(runId)).items[0]).toMatchObject({ state: 'succeeded', phase: 'succeeded' });
  });

  it('asks again for an item of which nothing is heard', async () => {
    const { runId } = await running(1);
    const { peers } = scheduler;
    await until(() => peers.asked.filter((one) => one.runId === runId).length >= 2);
    await peers.tell((await peers.askedFor(runId, 1))[0]!.itemId, 'succeeded');
    await reaches(runId, 'succeeded');
  });

  it('goes on after it was killed', async () => {
    const { runId } = await running(2, { vms: 1 });
    const { peers } = scheduler;
    const [first] = await peers.askedFor(runId, 1);
    await scheduler.service.kill9();
    await peers.tell(first!.itemId, 'succeeded');
    await scheduler.boot();
    const items = await peers.askedFor(runId, 2);
    await peers.tell(items[1]!.itemId, 'succeeded');
    await reaches(runId, 'succeeded');
  });

  it('starts a manual job, once for a run id, and one run at a time', async () => {
    const job = await create(backupOf([scheduler.peers.vm()], 'manual'));
    expect(job).toMatchObject({ lastRunId: null, enabled: true });
    const runId = newId<RunId>();
    const start = (id: RunId) => scheduler.client.request(startRun, { jobId: job.id, runId: id });
    expect(await start(runId)).toMatchObject({ id: runId, jobName: 'nightly', itemCount: 1 });
    expect((await start(runId)).id).toBe(runId);
    await expect(start(newId<RunId>())).rejects.toMatchObject({ code: 'CONFLICT' });
    const [item] = await scheduler.peers.askedFor(runId, 1);
    await scheduler.peers.tell(item!.itemId, 'succeeded');
    await reaches(runId, 'succeeded');
    const second = await start(newId<RunId>());
    await scheduler.client.request(stopRun, { runId: second.id });
  });

  it('is idempotent by the job’s id, and refuses the id with other content', async () => {
    const job = backupOf([scheduler.peers.vm()]);
    const [first, second] = [await create(job), await create(job)];
    expect(second.lastRunId).toBe(first.lastRunId);
    await expect(create({ ...job, name: 'weekly' })).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
  });

  it('refuses what names something that is not there, with the field', async () => {
    const vmId = scheduler.peers.vm();
    const { definition, ...rest } = backupOf([vmId]);
    const job = (change: object) => create({ ...rest, definition: { ...definition, ...change } });
    await expect(job({ vmIds: [vmId, newId<VmId>()] })).rejects.toMatchObject({
      code: 'VM_NOT_FOUND',
      details: { field: 'definition.vmIds' },
    });
    await expect(job({ vmIds: [vmId, vmId] })).rejects.toMatchObject({ code: 'INPUT_INVALID' });
    await expect(job({ poolId: newId<PoolId>() })).rejects.toMatchObject({
      code: 'NOT_FOUND',
      details: { field: 'definition.poolId' },
    });
  });

  it('restores available points only', async () => {
    const { peers } = scheduler;
    const pointId = newId<PointId>();
    const target = {
      platformId: newId<PlatformId>(),
      hostId: newId<HostId>(),
      storageName: 'local',
      vmName: 'again',
    };
    const job: NewJob = {
      id: newId<JobId>(),
      name: 'restore',
      definition: { kind: 'restore', items: [{ pointId, target }] },
      plans: [{ type: 'immediate' }],
    };
    await expect(create(job)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    const point = { id: pointId, state: 'failed', vmId: peers.vm() } as Partial<Point> as Point;
    peers.points.set(pointId, { ...pointDefaults, ...point });
    await expect(create(job)).rejects.toMatchObject({ code: 'CONFLICT' });
    peers.points.set(pointId, { ...pointDefaults, ...point, state: 'available' });
    const { id: _, ...asked } = job;
    const { confirmation } = await scheduler.client.request(previewRestore, asked as never);
    const runId = (await create({ ...job, confirmation: confirmation?.code })).lastRunId as RunId;
    const [item] = await peers.askedFor(runId, 1);
    expect(item?.pointId).toBe(pointId);
    const restoredVmId = peers.vm();
    await peers.tell(item!.itemId, 'succeeded', { restoredVmId });
    expect((await reaches(runId, 'succeeded')).items[0]).toMatchObject({ vmName: 'again', restoredVmId });
  });

  it('E8: a verify job has an item for each point, at most as many as it says, and is skipped where there is none', async () => {
    const { peers } = scheduler;
    const poolId = peers.pool();
    const job = (more: object): NewJob => ({
      id: newId<JobId>(),
      name: 'verify',
      definition: { kind: 'verify', poolId, ...more },
      plans: [{ type: 'immediate' }],
    });
    expect(await create(job({}))).toMatchObject({ lastRunState: null });
    const [none] = (await scheduler.client.request(listRuns, { limit: 1 })).items;
    expect(none).toMatchObject({ kind: 'verify', state: 'skipped', reasons: ['NOTHING_TO_VERIFY'] });
    await expect(create(job({ poolId: newId() }))).rejects.toMatchObject({
      code: 'NOT_FOUND',
      details: { field: 'definition.poolId' },
    });
    for (let i = 0; i < 600; i += 1) peers.toVerify.add(newId<PointId>());
    const [first, second] = peers.toVerify;
    const all = await create({ ...job({}), plans: [{ type: 'manual' }] });
    const allRun = newId<RunId>();
    const begun = await scheduler.client.request(startRun, { jobId: all.id, runId: allRun });
    expect(begun.itemCount).toBe(600);
    await scheduler.client.request(stopRun, { runId: allRun });
    const two = await create(job({ mostPoints: 2, parallel: { points: 2 }, depth: 'content' }));
    const runId = two.lastRunId as RunId;
    const asked = await peers.askedFor(runId, 2);
    expect(asked.map(({ pointId }) => pointId)).toEqual([first, second]);
    const fault = { code: 'POOL_OBJECT_DAMAGED' as const, message: 'damaged', details: {} };
    await peers.tell(asked[0]!.itemId, 'failed', { kind: 'verify', fault });
    await peers.tell(asked[1]!.itemId, 'succeeded', { kind: 'verify' });
    const run = await reaches(runId, 'partly failed');
    expect(run.items).toMatchObject([
      { kind: 'verify', pointId: first, vmName: 'db', state: 'failed', fault },
      { kind: 'verify', pointId: second, state: 'succeeded' },
    ]);
    peers.toVerify.clear();
  });

  it('pages through jobs and runs, newest first', async () => {
    const jobs = await scheduler.client.request(listJobs, { limit: 2 });
    expect(jobs.items).toHaveLength(2);
    const next = await scheduler.client.request(listJobs, { limit: 2, cursor: jobs.nextCursor ?? '' });
    const times = [...jobs.items, ...next.items].map(({ createdAt }) => createdAt);
    expect(times).toEqual([...times].sort().reverse());
    const jobId = jobs.items[0]!.id;
    const runs = await scheduler.client.request(listRuns, { jobId });
    expect(runs.items.every((run) => run.jobId === jobId)).toBe(true);
    expect((await scheduler.client.request(listRuns, { limit: 3 })).nextCursor).not.toBeNull();
  });
});

const pointDefaults: Omit<Point, 'id' | 'state' | 'vmId'> = {
  chainId: newId(),
  parentPointId: null,
  kind: 'full',
  platformId: newId(),
  vmName: 'db',
  poolId: newId(),
  runId: newId(),
  createdAt: '2026-01-01T00:00:00.000Z',
  capturedAt: null,
  availableAt: null,
  method: 'live',
  consistency: 'crash',
  excludedDisks: [],
  poolBytes: 0,
  disks: [],
  reasons: [],
  fault: null,
  hold: null,
  verification: null,
  copyOf: null,
};
