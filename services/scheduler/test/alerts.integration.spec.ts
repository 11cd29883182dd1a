import { createHmac } from 'node:crypto';
import {
  acknowledgeAlert,
  createAlertChannel,
  createJob,
  deleteAlertChannel,
  getRun,
  listAlertChannels,
  listAlerts,
  listRunLog,
  newId,
  reasons,
  testAlertChannel,
  updateAlertChannel,
  type AlertChannel,
  type AlertChannelId,
  type AlertId,
  type AlertView,
  type Job,
  type JobId,
  type RunId,
  type RunLogLine,
} from '@casvault/contracts';
import { inTransaction } from '@casvault/persistence';
import { freePort, postgresText, until } from '@casvault/testkit';
import { type DataSource } from 'typeorm';
import { type z } from 'zod';
import { HistoryStore } from '../src/history-store.js';
import { appendLines } from '../src/run-log-store.js';
import { maxLogLines } from '../src/run-log.rules.js';
import { RunStore } from '../src/run-store.js';
import { RunningScheduler } from './running-scheduler.js';
import { WebhookReceiver } from './webhook-receiver.js';

type NewChannel = z.input<typeof createAlertChannel.request>;
const fault = { code: 'POOL_FULL' as const, message: 'no room', details: {} };
const secrets = {
  path: 'path-s3cret',
  hmac: 'hmac-s3cret',
  bearer: 'bearer-s3cret',
  password: 'mail-s3cret',
};

describe('H3: alerts over NATS, Postgres and HTTP', () => {
  let scheduler: RunningScheduler;
  let receiver: WebhookReceiver;
  let database: DataSource;
  beforeAll(async () => {
    receiver = await WebhookReceiver.start();
    scheduler = await RunningScheduler.start();
    database = await scheduler.openDatabase();
  });
  afterAll(async () => {
    await database.destroy();
    await scheduler.stop();
    await receiver.stop();
  });
  afterEach(async () => {
    receiver.received.length = 0;
    receiver.answer = (response) => response.writeHead(204).end();
    for (const { id } of (await ask(listAlertChannels, { limit: 500 })).items)
      await ask(deleteAlertChannel, { channelId: id });
  });

  const ask: RunningScheduler['client']['request'] = (query, payload, options) =>
    scheduler.client.request(query, payload, options);
  const channel = (more: Partial<NewChannel> = {}): Promise<AlertChannel> =>
    ask(createAlertChannel, {
      id: newId<AlertChannelId>(),
      name: `hook ${newId()}`,
      settings: {
        type: 'webhook',
        origin: receiver.origin,
        url: scheduler.sealer.seal(`${receiver.origin}/${secrets.path}`),
        hmacSecret: scheduler.sealer.seal(secrets.hmac),
        bearerToken: scheduler.sealer.seal(secrets.bearer),
      },
      ...more,
    });
  /** Asked again under its id: a request that a replica took into its grave has no other answer. */
  const job = (vms = 1): Promise<Job> => {
    const asked = {
      id: newId<JobId>(),
      name: 'nightly',
      definition: {
        kind: 'backup' as const,
        vmIds: Array.from({ length: vms }, () => scheduler.peers.vm()),
        poolId: scheduler.peers.pool(),
        parallel: { vms: 32, vmsPerHost: 10 },
      },
      plans: [{ type: 'immediate' as const }],
    };
    return until(() => ask(createJob, asked));
  };
  /** A run of as many VMs, each of which ends so. */
  const over = async (...ends: ('failed' | 'succeeded' | 'without CBT')[]): Promise<RunId> => {
    const runId = (await job(ends.length)).lastRunId as RunId;
    const items = await scheduler.peers.askedFor(runId, ends.length);
    for (const [i, end] of ends.entries()) {
      const { itemId } = items[i]!;
      if (end === 'succeeded') await scheduler.peers.tell(itemId, end);
      else if (end === 'failed')
        await scheduler.peers.tell(itemId, end, { fault, reasons: ['CAPTURE_LIVE'] });
      else await scheduler.peers.tell(itemId, 'failed', { fault, reasons: ['SKIPPED_WITHOUT_CBT'] });
    }
    return runId;
  };
  const alertsOf = async (runId: RunId): Promise<AlertView[]> => (await ask(listAlerts, { runId })).items;
  const alertOf = (runId: RunId, isSo: (alert: AlertView) => boolean = () => true): Promise<AlertView> =>
    until(async () => (await alertsOf(runId)).find(isSo));
  const hasState = (state: string) => (alert: AlertView) => alert.deliveries[0]?.state === state;

  it('raises one alert for a failed run, delivers it signed, publishes it once, and lets it be acknowledged', async () => {
    await channel();
    const runId = await over('failed', 'failed');
    const alert = await alertOf(runId, hasState('delivered'));
    expect(alert).toMatchObject({
      kind: 'run-failed',
      severity: 'error',
      vmCount: 2,
      fault,
      acknowledgedBy: null,
    });
    expect(receiver.received).toHaveLength(1);
    const [{ headers, body }] = receiver.received as [(typeof receiver.received)[0]];
    const { acknowledgedAt: _a, acknowledgedBy: _b, deliveries, ...told } = alert;
    expect((JSON.parse(body) as { alert: unknown }).alert).toEqual(told);
    expect(headers).toMatchObject({
      'idempotency-key': `${alert.id}:${deliveries[0]?.channelId}`,
      authorization: `Bearer ${secrets.bearer}`,
    });
    const signed = `${String(headers['x-casvault-timestamp'])}.${body}`;
    const signature = createHmac('sha256', secrets.hmac).update(signed).digest('hex');
    expect(headers['x-casvault-signature']).toBe(`sha256=${signature}`);
    await until(() => scheduler.peers.alerts.some(({ id }) => id === alert.id));
    expect(scheduler.peers.alerts.filter(({ id }) => id === alert.id)).toEqual([told]);
    const [first, second] = [
      await ask(acknowledgeAlert, { alertId: alert.id }, { actor: 'ann' }),
      await ask(acknowledgeAlert, { alertId: alert.id }, { actor: 'bob' }),
    ];
    expect(first.acknowledgedBy).toBe('ann');
    expect(second).toEqual(first);
    expect((await ask(listAlerts, { runId, state: 'open' })).items).toEqual([]);
    expect((await ask(listAlerts, { runId, state: 'acknowledged', kind: 'run-failed' })).items).toHaveLength(
      1,
    );
    await expect(ask(acknowledgeAlert, { alertId: newId<AlertId>() })).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
  });

  it('tells VMs that were skipped with an alert, by channels that ask for them', async () => {
    const { id } = await channel({ filter: { kinds: ['vm-skipped'] } });
    const runId = await over('succeeded', 'without CBT', 'failed');
    const skipped = await alertOf(runId, ({ kind }) => kind === 'vm-skipped');
    expect(skipped).toMatchObject({ severity: 'warning', vmCount: 1, reasons: ['SKIPPED_WITHOUT_CBT'] });
    const run = (await alertsOf(runId)).find(({ kind }) => kind === 'run-partly-failed');
    expect(run).toMatchObject({ vmCount: 2, deliveries: [] });
    expect((await alertOf(runId, hasState('delivered'))).deliveries[0]?.channelId).toBe(id);
    expect(receiver.received).toHaveLength(1);
  });

  it('tries again after a failure, says why, and gives up in the end', async () => {
    receiver.answer = (response) => response.writeHead(503).end('nothing of this is told');
    const { id } = await channel();
    const runId = await over('failed');
    const failed = await alertOf(
      runId,
      ({ deliveries }) => deliveries[0]?.attempts === 1 && deliveries[0].error !== null,
    );
    expect(failed.deliveries).toEqual([
      {
        channelId: id,
        channelName: expect.stringMatching(/^hook /) as string,
        state: 'waiting',
        attempts: 1,
        error: 'HTTP 503 Service Unavailable',
        nextAttemptAt: expect.any(String) as string,
        deliveredAt: null,
      },
    ]);
    const wait = Date.parse(failed.deliveries[0]?.nextAttemptAt ?? '') - new Date().getTime();
    expect(wait).toBeLessThanOrEqual(10_000);
    await database.query('UPDATE alert_delivery SET due_at = now(), attempts = 15 WHERE channel_id = $1', [
      id,
    ]);
    const givenUp = await alertOf(runId, hasState('given up'));
    expect(givenUp.deliveries[0]).toMatchObject({ attempts: 16, nextAttemptAt: null });
    expect(receiver.received).toHaveLength(2);
    expect(new Set(receiver.received.map(({ headers }) => headers['idempotency-key'])).size).toBe(1);
  });

  it('tests a channel at once, once, and says exactly what was wrong', async () => {
    const { id } = await channel({ enabled: false });
    expect(await ask(testAlertChannel, { channelId: id })).toEqual({ delivered: true, error: null });
    expect(JSON.parse(receiver.received[0]?.body ?? '')).toMatchObject({ event: 'test', alert: null });
    receiver.answer = (response) => response.writeHead(401).end();
    expect(await ask(testAlertChannel, { channelId: id })).toEqual({
      delivered: false,
      error: 'HTTP 401 Unauthorized',
    });
    const port = await freePort();
    const mail = await channel({
      settings: {
        type: 'smtp',
        host: '127.0.0.1',
        port,
        user: 'backup',
        password: scheduler.sealer.seal(secrets.password),
        from: 'backup@a.example',
        to: ['ops@a.example'],
      },
    });
    expect(await ask(testAlertChannel, { channelId: mail.id })).toEqual({
      delivered: false,
      error: `connect ECONNREFUSED 127.0.0.1:${port}`,
    });
    expect(receiver.received).toHaveLength(2);
  });

  it('changes channels, keeps the secrets that a change does not name, and takes none to another server', async () => {
    const made = await channel();
    const change = { channelId: made.id, name: 'renamed', settings: { type: 'webhook' as const } };
    expect(await ask(updateAlertChannel, change)).toEqual({ ...made, name: 'renamed' });
    expect(await ask(testAlertChannel, { channelId: made.id })).toMatchObject({ delivered: true });
    expect(receiver.received[0]?.headers.authorization).toBe(`Bearer ${secrets.bearer}`);
    const origin = 'http://127.0.0.2:1';
    const elsewhere = { type: 'webhook' as const, origin, url: scheduler.sealer.seal(origin) };
    await expect(ask(updateAlertChannel, { ...change, settings: elsewhere })).rejects.toMatchObject({
      code: 'INPUT_INVALID',
    });
    await expect(channel({ name: 'renamed' })).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
    await expect(channel({ id: made.id, name: 'other' })).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
    expect(await channel({ id: made.id, name: 'renamed' })).toMatchObject({ id: made.id });
  });

  it('has 50 channels at most', async () => {
    for (let i = 0; i < 50; i++) await channel();
    await expect(channel()).rejects.toMatchObject({ code: 'CONFLICT' });
    const { items } = await ask(listAlertChannels, { limit: 500 });
    const paged = await ask(listAlertChannels, { limit: 30 });
    const rest = await ask(listAlertChannels, { cursor: paged.nextCursor ?? '' });
    expect([...paged.items, ...rest.items]).toEqual(items);
    expect(items).toHaveLength(50);
  });

  it('raises each alert once and sends none twice at a time, with three replicas of which one is killed', async () => {
    const { id } = await channel();
    receiver.answer = (response) => void setTimeout(() => response.writeHead(204).end(), 200);
    const replicas = [await scheduler.replica(), await scheduler.replica()];
    const runIds: RunId[] = [];
    for (let i = 1; i <= 6; i++) {
      runIds.push(await over('failed'));
      if (i !== 3) continue;
      await until(() => receiver.received.length >= 3);
      await scheduler.service.kill9();
    }
    // What the killed process was sending is tried again when its lease of 60 s ends: after 5 s here.
    const endLeases = () =>
      database.query(
        `UPDATE alert_delivery SET due_at = now() WHERE channel_id = $1 AND claim IS NOT NULL
         AND due_at < now() + interval '55 seconds'`,
        [id],
      );
    for (const runId of runIds) {
      const alert = await until(async () => {
        await endLeases();
        return (await alertsOf(runId)).find(hasState('delivered'));
      }, 70_000);
      expect(await alertsOf(runId)).toEqual([alert]);
    }
    const keys = receiver.received.map(({ headers }) => headers['idempotency-key']);
    expect(new Set(keys).size).toBe(6);
    // The kill may have left one that was sent and not written down.
    expect(keys.length).toBeLessThanOrEqual(7);
    expect(receiver.overlaps).toEqual([]);
    for (const replica of replicas) await replica.stop();
    await scheduler.boot();
  });

  it('D7: tells of runs that were not begun', async () => {
    const owner = await job();
    const store = new RunStore(database);
    const base = { job: owner, choice: {}, dueAt: new Date('2026-03-01T02:00:00Z'), fault: null };
    for (const [state, kind, reason] of [
      ['skipped', 'run-skipped', 'PREVIOUS_RUN_GOES_ON'],
      ['missed', 'run-missed', 'SYSTEM_WAS_DOWN'],
    ] as const) {
      const runId = newId<RunId>();
      await inTransaction(database, (tx) =>
        store.insertUnbegun(tx, { ...base, runId, state, reasons: [reason] }, new Date()),
      );
      const alert = await alertOf(runId);
      expect(alert).toMatchObject({ kind, reasons: [reason], vmNames: [], vmCount: 0 });
      expect(alert.text.en).toContain(reasons[reason].en);
      const { items } = await ask(listRunLog, { runId });
      expect(items.map(({ text }) => text.en)).toEqual([reasons[reason].en]);
    }
  });

  it('keeps no secret in clear, and tells none', async () => {
    receiver.answer = (response) => response.writeHead(500).end();
    await channel();
    await alertOf(await over('failed'), ({ deliveries }) => deliveries[0]?.error != null);
    const seen = [
      await postgresText(scheduler.postgres.adminUrl),
      scheduler.service.output,
      JSON.stringify([await ask(listAlertChannels, {}), await ask(listAlerts, {})]),
    ];
    for (const text of seen) for (const secret of Object.values(secrets)) expect(text).not.toContain(secret);
  });

  it('D9: logs what a run did, in pages, by level, by VM and from a line on', async () => {
    const runId = (await job(2)).lastRunId as RunId;
    const [one, two] = await scheduler.peers.askedFor(runId, 2);
    await scheduler.peers.tell(one!.itemId, 'captured', { reasons: ['CAPTURE_LIVE', 'BITMAP_MISSING'] });
    await scheduler.peers.tell(one!.itemId, 'succeeded', { reasons: ['CAPTURE_LIVE', 'BITMAP_MISSING'] });
    await scheduler.peers.tell(two!.itemId, 'failed', { fault });
    const lines = await until(async () => {
      const { items } = await ask(listRunLog, { runId });
      return items.some(({ code }) => code === 'RUN_PARTLY_FAILED') ? items : null;
    });
    const told = (some: RunLogLine[]) => some.map(({ level, code, itemId }) => `${level} ${code} ${itemId}`);
    const [first, second] = [one!.itemId, two!.itemId];
    const expected = [
      'info RUN_BEGAN null',
      `info VM_PHASE ${first}`,
      `info VM_REASON ${first}`,
      `warn VM_REASON ${first}`,
      `info VM_SUCCEEDED ${first}`,
      `error VM_FAILED ${second}`,
      'warn RUN_PARTLY_FAILED null',
    ];
    const admitted = lines.filter(({ code }) => code === 'VM_ADMITTED');
    expect(new Set(admitted.map(({ itemId }) => itemId))).toEqual(new Set([first, second]));
    expect(told(lines.filter((line) => !admitted.includes(line)))).toEqual(expected);
    expect(lines.map(({ seq }) => seq)).toEqual(lines.map((_, i) => i + 1));
    const paged: RunLogLine[] = [];
    for (let cursor: string | null | undefined; cursor !== null;) {
      const page = await ask(listRunLog, { runId, limit: 4, ...(cursor === undefined ? {} : { cursor }) });
      paged.push(...page.items);
      cursor = page.nextCursor;
    }
    expect(paged).toEqual(lines);
    expect((await ask(listRunLog, { runId, after: 6 })).items).toEqual(lines.slice(6));
    const errors = (await ask(listRunLog, { runId, level: 'error' })).items;
    expect(told(errors)).toEqual([`error VM_FAILED ${second}`]);
    const ofOne = (await ask(listRunLog, { runId, itemId: first })).items;
    expect(ofOne.at(-1)?.code).toBe('VM_SUCCEEDED');
    await expect(ask(listRunLog, { runId: newId<RunId>() })).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  it('bounds the log of a run: beyond it lines about VMs are counted alone', async () => {
    const runId = await over('succeeded');
    await until(async () => (await ask(getRun, { runId })).state === 'succeeded');
    await database.query('UPDATE run_log_count SET told = $2 WHERE run_id = $1', [runId, maxLogLines - 1]);
    const line = { level: 'info', vmName: 'db', code: 'VM_ADMITTED', reason: null, params: {} } as const;
    const vm = { ...line, itemId: newId<never>() };
    const lines = [vm, vm, vm, { ...line, vmName: null, itemId: null, code: 'RUN_SUCCEEDED' as const }];
    await inTransaction(database, (tx) => appendLines(tx, runId, lines, new Date()));
    const page = await ask(listRunLog, { runId, after: maxLogLines - 1 });
    expect(page.items.map(({ seq, code }) => [seq, code])).toEqual([
      [maxLogLines, 'VM_ADMITTED'],
      [maxLogLines + 3, 'RUN_SUCCEEDED'],
    ]);
    expect(page.dropped).toBe(2);
  });

  it('D9: forgets old runs with all that is kept of them, never the newest of a job nor one that goes on', async () => {
    const owner = await job();
    const store = new RunStore(database);
    const history = new HistoryStore(database);
    const first = owner.lastRunId as RunId;
    const old = new Date('2020-01-01T00:00:00Z');
    const noted: RunId[] = [];
    for (let i = 1; i <= 4; i++) {
      const run = { job: owner, runId: newId<RunId>(), choice: {}, dueAt: old, fault: null };
      const at = new Date(old.getTime() + i * 1_000);
      await inTransaction(database, (tx) =>
        store.insertUnbegun(tx, { ...run, state: 'missed', reasons: ['SYSTEM_WAS_DOWN'] }, at),
      );
      noted.push(run.runId);
    }
    for (const runId of noted) await alertOf(runId);
    await until(async () => {
      const told = await database.query<{ told: boolean }[]>(
        'SELECT told FROM run WHERE id = ANY ($1) UNION ALL SELECT told FROM alert WHERE run_id = ANY ($1)',
        [noted],
      );
      return told.every((row) => row.told);
    });
    const rule = { before: new Date('2021-01-01T00:00:00Z'), runsOfJob: 3 };
    const oldOnes = async (runsOfJob: number) =>
      (await history.old({ ...rule, runsOfJob }, 10)).filter((id) => noted.includes(id));
    // The run that goes on is the newest, and counts.
    expect(await oldOnes(5)).toEqual([]);
    expect(await oldOnes(3)).toEqual(noted.slice(0, 2));
    expect(await oldOnes(1)).toEqual(noted);
    for (const id of [...noted, first]) await history.forget(id, rule);
    const left = await database.query<{ id: string }[]>('SELECT id FROM run WHERE job_id = $1', [owner.id]);
    expect(left.map(({ id }) => id).sort()).toEqual([...noted.slice(2), first].sort());
    const gone = [noted.slice(0, 2)];
    for (const table of ['alert', 'run_log', 'run_log_count', 'run_item'])
      expect(await database.query(`SELECT FROM ${table} WHERE run_id = ANY ($1)`, gone)).toEqual([]);
    // Of a deleted job nothing that is old stays, nor in the end the job.
    await scheduler.peers.tell((await scheduler.peers.askedFor(first, 1))[0]!.itemId, 'failed', { fault });
    await alertOf(first);
    await database.query('UPDATE job SET deleted_at = now() WHERE id = $1', [owner.id]);
    await database.query('UPDATE run SET finished_at = $2 WHERE job_id = $1', [owner.id, old]);
    await until(async () => {
      for (const id of await history.old(rule, 100)) await history.forget(id, rule);
      return (await database.query<unknown[]>('SELECT FROM run WHERE job_id = $1', [owner.id])).length === 0;
    });
    const machine = await database.query<unknown[]>(
      "SELECT FROM machine_instance WHERE kind = 'run' AND id = $1",
      [first],
    );
    expect(machine).toEqual([]);
    expect(await history.forgetJobs()).toBeGreaterThanOrEqual(1);
    expect(await database.query('SELECT FROM job WHERE id = $1', [owner.id])).toEqual([]);
  });
});
