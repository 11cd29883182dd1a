import {
  createJob,
  deleteJob,
  Fault,
  findBackupJob,
  getAlertChannel,
  getJob,
  getRun,
  listAlertChannels,
  listAlerts,
  listJobs,
  listRunLog,
  listRuns,
  newId,
  previewBackup,
  previewContent,
  previewPlan,
  previewRestore,
  updateJob,
  type JobId,
  type PointId,
  type Query,
  type RunId,
} from '@casvault/contracts';
import { contractsOf, readBaseline, Samples } from '@casvault/contracts/testing';
import { type ContractOf } from '@casvault/messaging/testing';
import { until } from '@casvault/testkit';
import { RunningScheduler } from './running-scheduler.js';

const patienceMs = 60_000;

/** The gateway, snapshot-engine, inventory and data-mover have the contracts of the last release; the scheduler those of this one. */
describe('the scheduler among services of the last release', () => {
  let scheduler: RunningScheduler;
  let then: ContractOf;
  let samples: Samples;
  let sent: Awaited<ReturnType<typeof readBaseline>>['sent'];
  beforeAll(async () => {
    const baseline = await readBaseline();
    then = contractsOf(baseline);
    sent = baseline.sent;
    samples = new Samples(sent);
    scheduler = await RunningScheduler.start(then);
  });
  afterAll(() => scheduler.stop());

  it('takes a job through its run: asks, is told, tells, and is edited and asked about', async () => {
    const { client, peers } = scheduler;
    const job = await client.request(then(createJob), {
      id: newId<JobId>(),
      name: 'nightly',
      definition: { kind: 'backup', vmIds: [peers.vm(), peers.vm()], poolId: peers.pool() },
      plans: [{ type: 'immediate' }],
    });
    const runId = job.lastRunId as RunId;
    const items = await peers.askedFor(runId, 2);
    for (const { itemId } of items) {
      const progress = [{ target: 'vda', totalBytes: 9, doneBytes: 4, storedBytes: 3, resumedBytes: 0 }];
      await peers.tell(itemId, 'transferring', { progress, pointId: newId<PointId>() });
      await peers.tell(itemId, 'succeeded');
    }
    const run = await until(async () => {
      const shown = await client.request(then(getRun), { runId });
      return shown.state === 'succeeded' ? shown : null;
    }, patienceMs);
    expect(run.items.map(({ state }) => state)).toEqual(['succeeded', 'succeeded']);
    await until(() => peers.news.some(({ id, state }) => id === runId && state === 'succeeded'), patienceMs);
    const log = await client.request(then(listRunLog), { runId });
    expect(log.items.at(-1)?.code).toBe('RUN_SUCCEEDED');
    const { definition, plans, version } = job;
    const edited = { jobId: job.id, name: 'weekly', definition, plans, version };
    expect(await client.request(then(updateJob), edited)).toMatchObject({ name: 'weekly' });
    await client.request(then(deleteJob), { jobId: job.id });
    await expect(client.request(then(getJob), { jobId: job.id })).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
  });

  it.each<Query>([
    listJobs,
    getJob,
    listRuns,
    getRun,
    listRunLog,
    listAlerts,
    listAlertChannels,
    getAlertChannel,
    findBackupJob,
    previewBackup,
    previewContent,
    previewPlan,
    previewRestore,
  ])('answers what they may ask by $subject with what they understand', async (query) => {
    const asked = samples.of(sent.properties[`${query.subject} request`] ?? {}).slice(0, 20);
    expect(asked.length).toBeGreaterThan(0);
    for (const request of asked) {
      // Ill-formed replies and faults unknown to that release come out as BUG.
      const code = await scheduler.client.request(then(query), request).then(
        () => 'a reply',
        (error: unknown) => Fault.from(error).code,
      );
      expect({ request, code }).not.toEqual({ request, code: 'BUG' });
    }
  });
});
