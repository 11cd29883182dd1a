import {
  checkJobStage,
  cloneJob,
  createJob,
  deleteJob,
  enableJob,
  getJob,
  listJobs,
  listRuns,
  localText,
  newId,
  previewPlan,
  startRun,
  stopRun,
  updateJob,
  type createJob as CreateJob,
  type Job,
  type JobId,
  type Plan,
  type PointId,
  type PoolId,
  type Run,
  type RunId,
  type VmId,
} from '@casvault/contracts';
import { until } from '@casvault/testkit';
import { type z } from 'zod';
import { RunningScheduler } from './running-scheduler.js';

type NewJob = z.input<typeof CreateJob.request>;
const zone = 'Asia/Shanghai';
const daily = { type: 'daily', time: '02:00' } as const;

describe('D7, D9: plans over NATS and Postgres', () => {
  let scheduler: RunningScheduler;
  beforeAll(async () => {
    scheduler = await RunningScheduler.start();
    scheduler.peers.backupHost('default', zone);
  });
  afterAll(() => scheduler.stop());

  const jobOf = (plans: NewJob['plans'], more: Partial<NewJob> = {}): NewJob => ({
    id: newId<JobId>(),
    name: 'planned',
    definition: { kind: 'backup', vmIds: [scheduler.peers.vm()], poolId: scheduler.peers.pool() },
    plans,
    ...more,
  });
  const create = (job: NewJob): Promise<Job> => scheduler.client.request(createJob, job);
  const get = (jobId: JobId): Promise<Job> => scheduler.client.request(getJob, { jobId });
  const runsOf = async (jobId: JobId): Promise<Run[]> =>
    (await scheduler.client.request(listRuns, { jobId })).items;
  /** As the clock at the backup host will show it. */
  const inMs = (ms: number): Plan => ({
    type: 'once',
    at: localText(zone, Math.ceil((new Date().getTime() + ms) / 1000) * 1000),
  });
  const due = (job: Job): number => Date.parse(job.nextRunAt ?? '');
  const succeed = async (runId: RunId): Promise<void> => {
    for (const { itemId } of await scheduler.peers.askedFor(runId, 1))
      await scheduler.peers.tell(itemId, 'succeeded');
    await until(async () =>
      (await scheduler.client.request(listRuns, {})).items.some(
        ({ id, state }) => id === runId && state === 'succeeded',
      ),
    );
  };

  /** To before the only run of the job. */
  const setBackToBefore = async (job: Job, runId: RunId): Promise<void> => {
    const database = await scheduler.openDatabase();
    await database.query('DELETE FROM run_item WHERE run_id = $1', [runId]);
    await database.query('DELETE FROM run WHERE id = $1', [runId]);
    await database.query('DELETE FROM machine_instance WHERE id = $1', [runId]);
    await database.query('UPDATE job_plan SET due_at = $2 WHERE job_id = $1', [job.id, job.nextRunAt]);
    await database.destroy();
  };

  it('D7: a plan that is due in two seconds runs once, and then no more', async () => {
    const job = await create(jobOf([inMs(2_000)]));
    expect(job).toMatchObject({ timeZone: zone, enabled: true, version: 1, lastRunId: null });
    const [run] = await until(async () => {
      const runs = await runsOf(job.id);
      return runs.length > 0 ? runs : null;
    });
    expect(run).toMatchObject({ dueAt: job.nextRunAt, reasons: [], itemCount: 1 });
    expect(Date.parse(run!.createdAt)).toBeGreaterThanOrEqual(due(job));
    await succeed(run!.id);
    expect(await get(job.id)).toMatchObject({ nextRunAt: null, lastRunId: run!.id });
    expect(await runsOf(job.id)).toHaveLength(1);
    const scrape = await scheduler.scrape();
    expect(scrape.sum('casvault_scheduling_delay_seconds_count')).toBe(1);
    const delay = Date.parse(run!.createdAt) - due(job);
    expect(scrape.sum('casvault_scheduling_delay_seconds_sum') * 1_000).toBeGreaterThanOrEqual(delay - 1_000);
  });

  it('D7: three replicas fire every plan once, though they are killed where they stand', async () => {
    const replicas = [await scheduler.replica(), await scheduler.replica()];
    const at = inMs(6_000);
    const jobs: Job[] = [];
    for (let i = 0; i < 40; i += 1) jobs.push(await create(jobOf([at])));
    await until(async () => (await runsOf(jobs[0]!.id)).length > 0);
    await replicas[0]!.kill9();
    await scheduler.service.kill9();
    await scheduler.boot();
    for (const { id } of jobs) {
      await until(async () => (await runsOf(id)).length > 0);
      await until(async () => (await get(id)).lastRunState === 'running');
    }
    for (const { id } of jobs)
      expect((await runsOf(id)).map(({ dueAt }) => dueAt)).toEqual([jobs[0]!.nextRunAt]);
    await replicas[1]!.stop();
    for (const { id } of jobs) await succeed((await runsOf(id))[0]!.id);
  });

  it('D7: what is due while the last run goes on is a skipped run, and told', async () => {
    const job = await create(
      jobOf([{ type: 'immediate', pointKind: 'full' }, { ...inMs(2_000), pointKind: 'incremental' } as Plan]),
    );
    const skipped = await until(async () => (await runsOf(job.id)).find(({ state }) => state === 'skipped'));
    expect(skipped).toMatchObject({ reasons: ['PREVIOUS_RUN_GOES_ON'], itemCount: 0, dueAt: job.nextRunAt });
    await until(() => scheduler.peers.news.some(({ id, state }) => id === skipped.id && state === 'skipped'));
    expect(await get(job.id)).toMatchObject({ lastRunId: job.lastRunId, lastRunState: 'running' });
    await succeed(job.lastRunId as RunId);
  });

  it('D7: what was due while nobody was there is made up for', async () => {
    const job = await create(jobOf([inMs(3_000)]));
    await scheduler.service.kill9();
    await until(() => new Date().getTime() > due(job) + 1_000);
    await scheduler.boot();
    const [run] = await until(async () => {
      const runs = await runsOf(job.id);
      return runs.length > 0 ? runs : null;
    });
    expect(run).toMatchObject({ dueAt: job.nextRunAt, reasons: [] });
    await succeed(run!.id);
  });

  it('D7: the run that a set back database makes a second time has the items of the first', async () => {
    const job = await create(jobOf([inMs(2_000)]));
    const [first] = await until(async () => {
      const runs = await runsOf(job.id);
      return runs.length > 0 ? runs : null;
    });
    const asked = await scheduler.peers.askedFor(first!.id, 1);
    await succeed(first!.id);
    await scheduler.service.kill9();
    scheduler.peers.asked.length = 0;
    await setBackToBefore(job, first!.id);
    await scheduler.boot();
    expect(await scheduler.peers.askedFor(first!.id, 1)).toEqual(asked);
    await succeed(first!.id);
  });

  it('D7: a plan of which the content is gone is a failed run with the reason', async () => {
    const job = await create(jobOf([inMs(2_000)]));
    if (job.definition.kind !== 'backup') throw new Error('not a backup');
    scheduler.peers.pools.delete(job.definition.poolId);
    const run = await until(async () => (await runsOf(job.id)).find(({ state }) => state === 'failed'));
    expect(run.fault).toMatchObject({ code: 'NOT_FOUND', details: { field: 'definition.poolId' } });
    expect(await get(job.id)).toMatchObject({ lastRunId: run.id, lastRunState: 'failed', nextRunAt: null });
  });

  it('D7: follows the clock of most of its backup hosts', async () => {
    const definition = { ...jobOf([]).definition, group: 'moving' } as NewJob['definition'];
    const job = await create(jobOf([daily], { definition }));
    expect(job.timeZone).toBe('UTC');
    scheduler.peers.backupHost('moving', 'Europe/Berlin');
    await scheduler.service.stop();
    await scheduler.boot();
    const moved = await until(async () => {
      const now = await get(job.id);
      return now.timeZone === 'Europe/Berlin' ? now : null;
    });
    expect(localText('Europe/Berlin', due(moved)).slice(11)).toBe('02:00:00');
    expect(moved.version).toBe(1);
  });

  it('D7: refuses plans of the past, and those that are not for restores, by name', async () => {
    await expect(create(jobOf([inMs(-60_000)]))).rejects.toMatchObject({
      code: 'INPUT_INVALID',
      details: { field: 'plans.0.at' },
    });
    const target = { platformId: newId(), hostId: newId(), storageName: 'local', vmName: 'again' };
    const definition = {
      kind: 'restore',
      items: [{ pointId: newId(), target }],
    } as unknown as NewJob['definition'];
    await expect(create(jobOf([daily], { definition }))).rejects.toMatchObject({
      code: 'INPUT_INVALID',
      message: 'plans.0.type: must be immediate or once in a restore job',
    });
  });

  it('E8: takes every plan for a verification, but not one that asks for a kind of point', async () => {
    const definition = { kind: 'verify', poolId: scheduler.peers.pool() } as unknown as NewJob['definition'];
    expect((await create(jobOf([daily], { definition }))).nextRunAt).not.toBeNull();
    await expect(create(jobOf([{ ...daily, pointKind: 'full' }], { definition }))).rejects.toMatchObject({
      code: 'INPUT_INVALID',
      message: 'plans.0.pointKind: only a backup makes points',
    });
  });

  it('D9: previews a plan at the group’s clock', async () => {
    const { timeZone, dues } = await scheduler.client.request(previewPlan, { plan: daily, count: 3 });
    expect(timeZone).toBe(zone);
    expect(dues.map(({ local }) => local.slice(11))).toEqual(['02:00:00', '02:00:00', '02:00:00']);
  });

  it('D9: judges the stages of a job that is being put together', async () => {
    const check = (job: z.input<typeof checkJobStage.request>['job']) =>
      scheduler.client.request(checkJobStage, { job });
    const [vmId, gone] = [scheduler.peers.vm(), newId<VmId>()];
    expect(await check({ stage: 'content', definition: { vmIds: [vmId] } })).toMatchObject({
      refusals: [],
      content: { itemCount: 1, items: [{ vmId, fault: null }] },
    });
    expect(await check({ stage: 'content', definition: { vmIds: [vmId, gone] } })).toMatchObject({
      refusals: [{ code: 'VM_NOT_FOUND', details: { field: 'definition.vmIds' } }],
      content: { itemCount: 2 },
    });
    const poolId = newId<PoolId>();
    expect(await check({ stage: 'target', definition: { poolId } })).toMatchObject({
      refusals: [{ code: 'NOT_FOUND', details: { field: 'definition.poolId' } }],
      hostsOnline: scheduler.peers.backupHosts.filter(({ group }) => group === 'default').length,
    });
    const past = { type: 'once', at: '2020-01-01T00:00' } as const;
    expect(await check({ stage: 'plans', plans: [past] })).toMatchObject({
      refusals: [{ code: 'INPUT_INVALID', details: { field: 'plans.0.at' } }],
      plans: null,
    });
    const { plans } = await check({ stage: 'plans', plans: [daily] });
    expect(plans?.map(({ timeZone, dues }) => [timeZone, dues.length])).toEqual([[zone, 3]]);
    expect((await check({ stage: 'options' })).options).toMatchObject({ retry: { count: 3 } });
  });

  it('B1, D10: adjustable compression is refused while no licence has it, as a job is saved and as a run begins', async () => {
    const { peers, client } = scheduler;
    const options = { compression: { mode: 'adjustable', level: 7 } } as const;
    const dense = (plans: NewJob['plans']): NewJob => {
      const job = jobOf(plans);
      if (job.definition.kind !== 'backup') throw new Error('not a backup');
      return { ...job, definition: { ...job.definition, options } };
    };
    const field = 'definition.options.compression.mode';
    const refusal = {
      code: 'LICENCE_REQUIRED',
      details: { field, value: 'adjustable', feature: 'advanced' },
    };
    const stage = () => client.request(checkJobStage, { job: { stage: 'options', definition: { options } } });
    await expect(create(dense([{ type: 'manual' }]))).rejects.toMatchObject(refusal);
    expect((await stage()).refusals).toMatchObject([refusal]);
    peers.licensed.add('advanced');
    const [started, planned] = [
      await create(dense([{ type: 'manual' }])),
      await create(dense([inMs(3_000)])),
    ];
    expect((await stage()).refusals).toEqual([]);
    peers.licensed.clear();
    const starting = client.request(startRun, { jobId: started.id, runId: newId<RunId>() });
    await expect(starting).rejects.toMatchObject(refusal);
    const failed = await until(async () =>
      (await runsOf(planned.id)).find(({ state }) => state === 'failed'),
    );
    expect(failed.fault).toMatchObject(refusal);
    const plain = await create(jobOf([{ type: 'manual' }]));
    expect(plain.definition).toMatchObject({ options: { compression: { mode: 'fast' } } });
  });

  it('D9: judges the stages of a verify and of a copy job', async () => {
    const { peers, client } = scheduler;
    const check = async (job: z.input<typeof checkJobStage.request>['job']) =>
      client.request(checkJobStage, { job });
    const [poolId, sourcePoolId, pointId] = [peers.pool(), peers.pool(), newId<PointId>()];
    peers.toVerify.add(pointId);
    peers.toCopy.set(pointId, 'one');
    const seen = { refusals: [], content: { itemCount: 1, items: [{ pointId, fault: null }] } };
    expect(await check({ stage: 'content', kind: 'verify', definition: { poolId } })).toMatchObject(seen);
    const copied = { sourcePoolId, poolId };
    expect(await check({ stage: 'content', kind: 'copy', definition: copied })).toMatchObject(seen);
    peers.toVerify.clear();
    peers.toCopy.clear();
    const lost = { ...copied, sourcePoolId: newId<PoolId>() };
    expect(await check({ stage: 'content', kind: 'copy', definition: lost })).toMatchObject({
      refusals: [{ code: 'NOT_FOUND', details: { field: 'definition.sourcePoolId' } }],
      content: null,
    });
    const asking = [{ ...daily, pointKind: 'full' }] as const;
    expect(await check({ stage: 'plans', kind: 'copy', plans: [...asking] })).toMatchObject({
      refusals: [{ details: { field: 'plans.0.pointKind' } }],
    });
    expect((await check({ stage: 'options', kind: 'verify' })).options).toEqual({
      depth: 'stored',
      parallel: { points: 2 },
    });
    expect((await check({ stage: 'options', kind: 'copy' })).options).toMatchObject({
      parallel: { points: 2, streamsPerDisk: 1 },
      options: { reconnect: { minutes: 10 } },
    });
  });

  it('D9: edits a version once; the run that goes on keeps the definition that it began with', async () => {
    const job = await create(jobOf([{ type: 'immediate' }]));
    const { id: jobId, name, version } = job;
    const definition = { ...job.definition, vmIds: [scheduler.peers.vm()] } as NewJob['definition'];
    const edit = { jobId, name, version, definition, plans: [daily] };
    const edited = await scheduler.client.request(updateJob, edit);
    expect(edited).toMatchObject({
      version: 2,
      definition: { vmIds: [expect.any(String)] },
      lastRunId: job.lastRunId,
    });
    expect(localText(zone, due(edited)).slice(11)).toBe('02:00:00');
    expect(await scheduler.client.request(updateJob, edit)).toEqual(edited);
    await expect(scheduler.client.request(updateJob, { ...edit, name: 'another' })).rejects.toMatchObject({
      code: 'CONFLICT',
      details: { version: 2 },
    });
    const [asked] = await scheduler.peers.askedFor(job.lastRunId as string, 1);
    expect(job.definition).toMatchObject({ vmIds: [asked?.vmId] });
    await expect(scheduler.client.request(deleteJob, { jobId })).rejects.toMatchObject({ code: 'CONFLICT' });
    await succeed(job.lastRunId as RunId);
  });

  it('D9: rests while it is disabled, but for runs that somebody starts', async () => {
    const { id: jobId, nextRunAt } = await create(jobOf([daily]));
    expect(nextRunAt).not.toBeNull();
    const disabled = await scheduler.client.request(enableJob, { jobId, enabled: false });
    expect(disabled).toMatchObject({ enabled: false, nextRunAt: null });
    const runId = newId<RunId>();
    await scheduler.client.request(startRun, { jobId, runId });
    await scheduler.client.request(stopRun, { runId });
    const enabled = await scheduler.client.request(enableJob, { jobId, enabled: true });
    expect(enabled).toMatchObject({ enabled: true, nextRunAt });
  });

  it('D9: copies a job, disabled, and deletes one, of which the runs stay', async () => {
    const job = await create(jobOf([{ type: 'immediate' }]));
    const copy = { jobId: job.id, id: newId<JobId>(), name: 'copy' };
    const cloned = await scheduler.client.request(cloneJob, copy);
    expect(cloned).toMatchObject({
      name: 'copy',
      enabled: false,
      lastRunId: null,
      definition: job.definition,
    });
    expect(await scheduler.client.request(cloneJob, copy)).toEqual(cloned);
    await succeed(job.lastRunId as RunId);
    await scheduler.client.request(deleteJob, { jobId: job.id });
    await expect(get(job.id)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    const listed = await scheduler.client.request(listJobs, { limit: 500 });
    expect(listed.items.map(({ id }) => id)).not.toContain(job.id);
    expect((await runsOf(job.id)).map(({ id }) => id)).toEqual([job.lastRunId]);
    const again = { jobId: job.id, runId: newId<RunId>() };
    await expect(scheduler.client.request(startRun, again)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  it('E7: a copy job has an item for each point that the target lacks, at most as many as it says, of one chain one at a time, and is skipped where there is none', async () => {
    const { peers } = scheduler;
    const [sourcePoolId, poolId] = [peers.pool(), peers.pool()];
    const job = (more: object, plan: Plan = { type: 'immediate' }): NewJob =>
      jobOf([plan], { definition: { kind: 'copy', sourcePoolId, poolId, ...more } as NewJob['definition'] });
    const planned = await create(job({}, { ...daily, everyDays: 1 }));
    expect(planned.nextRunAt).not.toBeNull();
    const { name, plans, version, id: jobId } = planned;
    const definition = { ...planned.definition, mostPoints: 5 } as NewJob['definition'];
    const edited = await scheduler.client.request(updateJob, { jobId, name, plans, version, definition });
    expect(edited).toMatchObject({ version: 2, definition: { kind: 'copy', mostPoints: 5 } });
    const twin = { jobId, id: newId<JobId>(), name: 'twin' };
    expect(await scheduler.client.request(cloneJob, twin)).toMatchObject({
      enabled: false,
      definition: { kind: 'copy', mostPoints: 5 },
    });
    const [none] = await runsOf((await create(job({}))).id);
    expect(none).toMatchObject({ kind: 'copy', state: 'skipped', reasons: ['NOTHING_TO_COPY'] });
    await expect(create(job({ sourcePoolId: newId() }))).rejects.toMatchObject({
      code: 'NOT_FOUND',
      details: { field: 'definition.sourcePoolId' },
    });
    const [first, second, other] = [newId<PointId>(), newId<PointId>(), newId<PointId>()];
    peers.toCopy.set(first, 'one').set(second, 'one').set(other, 'two');
    const { id, lastRunId } = await create(job({ parallel: { points: 8 } }));
    const runId = lastRunId as RunId;
    const asked = await peers.askedFor(runId, 2);
    expect(asked.map(({ pointId }) => pointId)).toEqual([first, other]);
    await peers.tell(asked[0]!.itemId, 'succeeded', { kind: 'copy' });
    const [, , last] = await peers.askedFor(runId, 3);
    expect(last?.pointId).toBe(second);
    for (const { itemId } of [asked[1]!, last!]) await peers.tell(itemId, 'succeeded', { kind: 'copy' });
    await until(async () => (await runsOf(id))[0]?.state === 'succeeded');
    const [few] = await runsOf((await create(job({ mostPoints: 1 }))).id);
    expect(few).toMatchObject({ kind: 'copy', itemCount: 1 });
    await scheduler.client.request(stopRun, { runId: few!.id });
    peers.toCopy.clear();
  });
});
