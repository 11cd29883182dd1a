import {
  Fault,
  getJob,
  getRun,
  listAlerts,
  listRunLog,
  newId,
  startRun,
  stopRun,
  createJob,
  type HookResult,
  type Job,
  type JobId,
  type RunDetail,
  type RunId,
} from '@casvault/contracts';
import { until } from '@casvault/testkit';
import { type z } from 'zod';
import { RunningScheduler } from './running-scheduler.js';

const patienceMs = 60_000;

describe('D10: the precondition and the scripts of a run, over NATS and Postgres', () => {
  let scheduler: RunningScheduler;
  beforeAll(async () => {
    scheduler = await RunningScheduler.start();
  });
  afterAll(() => scheduler.stop());

  const precondition = { type: 'command' as const, script: 'ready', arguments: [] };
  const scripts = { pre: { script: 'freeze', arguments: ['--all'] }, post: { script: 'thaw' } };
  const begin = async (hooks: object): Promise<{ job: Job; runId: RunId }> => {
    const vmIds = [scheduler.peers.vm(), scheduler.peers.vm()];
    const request: z.input<typeof createJob.request> = {
      id: newId<JobId>(),
      name: 'nightly',
      definition: { kind: 'backup', vmIds, poolId: scheduler.peers.pool(), ...hooks },
      plans: [{ type: 'manual' }],
    };
    const job = await scheduler.client.request(createJob, request);
    return { job, runId: await start(job.id) };
  };
  const start = async (jobId: JobId): Promise<RunId> => {
    const runId = newId<RunId>();
    await scheduler.client.request(startRun, { jobId, runId });
    return runId;
  };
  const detail = (runId: RunId): Promise<RunDetail> => scheduler.client.request(getRun, { runId });
  const reaches = (runId: RunId, state: RunDetail['state']) =>
    until(async () => {
      const run = await detail(runId);
      return run.state === state ? run : null;
    }, patienceMs);
  const logOf = async (runId: RunId): Promise<string[]> => {
    const { items } = await scheduler.client.request(listRunLog, { runId, limit: 500 });
    return items.map(({ level, vmName, text }) => `${level} ${vmName ?? 'run'}: ${text.en}`);
  };
  const endItems = async (runId: RunId): Promise<void> => {
    for (const { itemId } of await scheduler.peers.askedFor(runId, 2))
      await scheduler.peers.tell(itemId, 'succeeded');
  };
  const resultOf = (exitCode: number, output: string[]): HookResult => {
    const fault = exitCode === 0 ? null : new Fault('HOOK_FAILED', `ended with ${exitCode}`).toJSON();
    return { fault, exitCode, httpStatus: null, output, droppedBytes: 0 };
  };

  it('a precondition that does not hold gives the run up: not failed, no alert, and the job is idle again', async () => {
    const { peers } = scheduler;
    const { job, runId } = await begin({ precondition, scripts });
    const { spec } = await peers.hookOf(runId, 'precondition');
    expect(spec.action).toEqual({ ...precondition, timeoutSeconds: 60 });
    expect(await detail(runId)).toMatchObject({ state: 'running', startedAt: null });
    await peers.tellHook(runId, 'precondition', 'succeeded', { result: resultOf(1, ['not yet']) });
    const run = await reaches(runId, 'given up');
    expect(run).toMatchObject({
      startedAt: null,
      reasons: ['PRECONDITION_NOT_MET'],
      fault: { code: 'HOOK_FAILED' },
      hooks: [{ hook: 'precondition', state: 'failed', exitCode: 1 }],
    });
    await until(
      async () => (await detail(runId)).items.every(({ state }) => state === 'skipped'),
      patienceMs,
    );
    expect(peers.asked.filter((one) => one.runId === runId)).toEqual([]);
    expect(await logOf(runId)).toEqual(
      expect.arrayContaining([
        'warn run: precondition: | not yet',
        'warn run: precondition: failed: HOOK_FAILED: ended with 1',
        'warn run: given up: the precondition of the job does not hold',
      ]),
    );
    expect(await scheduler.client.request(getJob, { jobId: job.id })).toMatchObject({
      lastRunState: 'given up',
    });
    const again = await start(job.id);
    await peers.tellHook(again, 'precondition', 'succeeded');
    await peers.tellHook(again, 'pre', 'failed', {
      fault: new Fault('HOOK_REFUSED', 'no such script').toJSON(),
    });
    await peers.tellHook(again, 'post', 'succeeded');
    await reaches(again, 'failed');
    const alerts = await until(async () => {
      const { items } = await scheduler.client.request(listAlerts, { jobId: job.id });
      return items.length > 0 ? items : null;
    }, patienceMs);
    expect(alerts.map(({ runId: of, kind, fault }) => [of, kind, fault?.code])).toEqual([
      [again, 'run-failed', 'HOOK_REFUSED'],
    ]);
  });

  it('a pre script that fails fails the run; no VM is asked for, and the post script runs', async () => {
    const { peers } = scheduler;
    const { runId } = await begin({ scripts });
    const { spec } = await peers.hookOf(runId, 'pre');
    expect(spec.facts).toMatchObject({
      CASVAULT_RUN_ID: runId,
      CASVAULT_VM_COUNT: '2',
      CASVAULT_RUN_STATE: '',
    });
    await peers.tellHook(runId, 'pre', 'running');
    const output = ['frozen: vm-1', '虚拟机'];
    await peers.tellHook(runId, 'pre', 'succeeded', { result: resultOf(3, output) });
    const post = await peers.hookOf(runId, 'post');
    expect(post.spec.facts).toMatchObject({ CASVAULT_HOOK: 'post', CASVAULT_RUN_STATE: 'failed' });
    expect(post.spec.facts['CASVAULT_VMS']).toContain('"state":"failed"');
    expect((await detail(runId)).state).toBe('running');
    await peers.tellHook(runId, 'post', 'succeeded', { result: resultOf(1, []) });
    const run = await reaches(runId, 'failed');
    expect(run.fault).toMatchObject({ code: 'HOOK_FAILED', message: 'ended with 3' });
    expect(run.items.map(({ state, fault }) => [state, fault?.message])).toEqual([
      ['failed', 'ended with 3'],
      ['failed', 'ended with 3'],
    ]);
    expect(run.hooks).toMatchObject([
      { hook: 'pre', state: 'failed', exitCode: 3 },
      { hook: 'post', state: 'failed', exitCode: 1 },
    ]);
    expect(peers.asked.filter((one) => one.runId === runId)).toEqual([]);
    const log = await logOf(runId);
    const ours = log.filter((line) => line.includes('scripts.pre'));
    expect(ours).toEqual([
      'info run: scripts.pre: asked of the backup hosts',
      'info run: scripts.pre: began',
      'error run: scripts.pre: | frozen: vm-1',
      'error run: scripts.pre: | 虚拟机',
      'error run: scripts.pre: failed: HOOK_FAILED: ended with 3',
    ]);
    expect(log).toContain('warn run: scripts.post: failed: HOOK_FAILED: ended with 1');
  });

  it('goes on with each of them, whoever is killed when, and counts news that come twice once', async () => {
    const { peers } = scheduler;
    const reboot = async (): Promise<void> => {
      await scheduler.service.kill9();
      await scheduler.boot();
    };
    const { runId } = await begin({ precondition, scripts });
    await peers.hookOf(runId, 'precondition');
    await reboot();
    await peers.tellHook(runId, 'precondition', 'succeeded');
    await peers.hookOf(runId, 'pre');
    await reboot();
    const told = { result: resultOf(0, ['frozen']), at: '2030-01-01T00:00:00.000Z' };
    await peers.tellHook(runId, 'pre', 'succeeded', told);
    await peers.tellHook(runId, 'pre', 'succeeded', told);
    await endItems(runId);
    const { spec } = await peers.hookOf(runId, 'post');
    expect(spec.facts['CASVAULT_RUN_STATE']).toBe('succeeded');
    await reboot();
    await peers.tellHook(runId, 'post', 'failed', { fault: new Fault('HOOK_REFUSED', 'gone').toJSON() });
    const run = await reaches(runId, 'succeeded');
    expect(run).toMatchObject({ fault: null, reasons: [] });
    expect(run.hooks.map(({ hook, state }) => [hook, state])).toEqual([
      ['precondition', 'succeeded'],
      ['pre', 'succeeded'],
      ['post', 'failed'],
    ]);
    const log = await logOf(runId);
    expect(log.filter((line) => line.includes('frozen'))).toHaveLength(1);
    const ids = new Set(peers.hooks.filter((one) => one.spec.runId === runId).map((one) => one.transferId));
    expect(ids.size).toBe(3);
  });

  it('stopped, ends its pre script, waits for it, and runs the post script', async () => {
    const { peers } = scheduler;
    const { runId } = await begin({ scripts });
    await peers.hookOf(runId, 'pre');
    await scheduler.client.request(stopRun, { runId });
    await peers.hookOf(runId, 'pre', true);
    await peers.tellHook(runId, 'pre', 'stopped');
    const { spec } = await peers.hookOf(runId, 'post');
    expect(spec.facts['CASVAULT_RUN_STATE']).toBe('stopped');
    await peers.tellHook(runId, 'post', 'succeeded');
    const run = await reaches(runId, 'stopped');
    expect(run.hooks.map(({ hook, state }) => [hook, state])).toEqual([
      ['pre', 'stopped'],
      ['post', 'succeeded'],
    ]);
  });
});
