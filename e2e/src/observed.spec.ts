import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Point, type RunDetail } from '@casvault/contracts';
import { labBackup } from '@casvault/stack';
import {
  parsePrometheusText,
  postgresText,
  startCephRgw,
  startNatsTap,
  startOtlpReceiver,
  tempDir,
  until,
  type CephRgw,
  type NatsTap,
  type OtlpReceiver,
  type Scrape,
} from '@casvault/testkit';
import { filesBelow, findSecrets, secretsOf, type Secrets } from './secrets.js';
import { isFollowedBy, TraceTree } from './trace-tree.js';
import { expectSucceeded, MiB, pointOf, startWorld, type World } from './world.js';

const processes = [
  'licensing-auth',
  'inventory',
  'scheduler',
  'snapshot-engine',
  'data-mover',
  'mover-1',
  'gateway',
] as const;
const dataBytes = { vda: 24 * MiB, vdb: 8 * MiB };

/** What one job left behind. */
interface Observed {
  /** As the gateway told the client. */
  readonly traceId: string;
  readonly run: RunDetail;
}
interface Reply {
  readonly status: number;
  readonly type: string;
  readonly traceId: string;
  readonly text: string;
}

/**
 * H4: one backup, for which no mover is there at first, and one restore through REST; then everything is stopped, so that all
 * is told, and what was told is looked at.
 */
describe('observed', () => {
  const resources = new AsyncDisposableStack();
  let world: World;
  let otlp: OtlpReceiver;
  let tap: NatsTap;
  let rgw: CephRgw;
  let secrets: Secrets;
  let sessionToken = '';
  let backup: Observed;
  let backupPoint: Point;
  let logs: ReadonlyMap<string, string>;
  let restore: Observed;
  let before: ReadonlyMap<string, Scrape>;
  let after: ReadonlyMap<string, Scrape>;
  const problems: Reply[] = [];
  const scraped: string[] = [];

  const send = async (path: string, body: string | object, token = sessionToken): Promise<Reply> => {
    const response = await fetch(`${world.stack.gatewayUrl}/api/v1${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
    const { status, headers } = response;
    const type = headers.get('content-type') ?? '';
    return { status, type, traceId: headers.get('x-trace-id') ?? '', text: await response.text() };
  };

  const startJob = async (
    name: string,
    definition: object,
  ): Promise<{ traceId: string; runId: RunDetail['id'] }> => {
    const plans = [{ type: 'immediate' as const }];
    const asked = await world.trial.api.confirmed({ name, definition: definition as never, plans });
    const reply = await send('/jobs', asked);
    expect(reply.status).toBe(201);
    const { id } = JSON.parse(reply.text) as { id: string };
    const [run] = await world.trial.api.listRuns({ jobId: id });
    if (run === undefined) throw new Error(`job ${name} has no run`);
    return { traceId: reply.traceId, runId: run.id };
  };

  const ended = async ({ traceId, runId }: Awaited<ReturnType<typeof startJob>>): Promise<Observed> => ({
    traceId,
    run: expectSucceeded(await world.trial.api.watchRun(runId, () => undefined)),
  });

  const scrapeAll = async (): Promise<Map<string, Scrape>> => {
    const scrapes = new Map<string, Scrape>();
    const keep = (name: string, text: string) => {
      scraped.push(text);
      scrapes.set(name, parsePrometheusText(text));
    };
    for (const name of processes) keep(name, await world.stack.process(name).scrape());
    for (const { id, address } of world.trial.lab.hosts)
      keep(`disk-service-${id}`, await (await fetch(`http://${address}:8192/metrics`)).text());
    return scrapes;
  };

  /** Requests that are refused in every way, each with a secret in it. */
  const provokeProblems = async (): Promise<void> => {
    const { cvm } = world.trial.lab;
    const password = secrets['CVM password'];
    const token = secrets['disk-service token'];
    const platform = { name: 'other', address: cvm.address, port: 1, userName: cvm.user, password };
    const diskService = { port: 8192, token };
    const pool = { name: 'other', type: 'object', endpoint: rgw.endpoint, bucket: 'nowhere' };
    const access = { accessKeyId: rgw.accessKeyId, secretKey: rgw.secretKey };
    const asked: [string, string | object, string?][] = [
      ['/platforms', { ...platform, diskService }],
      ['/platforms', { ...platform, port: cvm.port, password: `${password}x`, diskService }],
      ['/platforms', { ...platform, diskService: token }],
      ['/platforms', { ...platform, diskService, pasword: password, port: password }],
      ['/platforms', `{"name":"other","password":"${password}","token":"${token}"`],
      ['/pools', { ...pool, ...access }],
      ['/pools', { ...pool, ...access, secretKey: `${rgw.secretKey}x` }],
      ['/pools', { ...pool, ...access, endpoint: 'http://127.0.0.1:1' }],
      ['/pools', { ...pool, ...access, secretKey: [rgw.secretKey] }],
      ['/sessions', { userName: 'admin', password: `${world.stack.adminPassword}x` }],
      ['/sessions', { userName: world.stack.adminPassword, pass: world.stack.adminPassword }],
      ['/vms', {}, `${sessionToken}x`],
    ];
    for (const [path, body, bearer] of asked) {
      const reply = await send(path, body, bearer);
      expect([path, reply.status >= 400, reply.type]).toEqual([path, true, 'application/problem+json']);
      problems.push(reply);
    }
  };

  const run = async (): Promise<void> => {
    const { trial, stack, platform } = world;
    const session = await trial.api.signIn('admin', stack.adminPassword);
    sessionToken = session.token;
    const apiToken = await trial.api.createApiToken({ name: 'observer' });
    secrets = {
      ...(await secretsOf(world)),
      'S3 secret key': rgw.secretKey,
      'session token': sessionToken,
      'API token': apiToken.token,
    };
    await rgw.createBucket('observed');
    const { endpoint, accessKeyId, secretKey } = rgw;
    const place = { endpoint, bucket: 'observed', accessKeyId, secretKey };
    const pool = await trial.api.createPool({ name: 'observed', type: 'object', ...place });
    const vm = await trial.vm(platform, 'pair');
    before = await scrapeAll();

    await stack.process('mover-1').stop();
    const started = await startJob('backup', { ...labBackup, vmIds: [vm.id], poolId: pool.id });
    await provokeProblems();
    await until(
      async () => (await trial.api.getRun(started.runId)).items[0]?.reasons.includes('WAITING_FOR_WORKER'),
      60_000,
      100,
    );
    await stack.process('mover-1').start();
    backup = await ended(started);

    const host = (await trial.api.listHosts(platform.id)).find(({ externalId }) => externalId === '2');
    const storageName = 'defaultpool';
    const target = { platformId: platform.id, hostId: host?.id, storageName, vmName: 'pair-again' };
    const pointId = backup.run.items[0]?.pointId;
    restore = await ended(await startJob('restore', { kind: 'restore', items: [{ pointId, target }] }));
    after = await scrapeAll();
  };

  /** Each tells its last spans before it ends. */
  const stopAll = async (): Promise<void> => {
    for (const name of [...processes].reverse()) await world.stack.process(name).stop();
    await world.trial.lab.stop();
  };

  const readLogs = async (): Promise<Map<string, string>> => {
    const files = new Map<string, string>();
    const { stack, trial } = world;
    for (const name of processes) files.set(name, join(stack.dir, 'logs', `${name}.log`));
    for (const { id, root } of trial.lab.hosts)
      files.set(`disk-service-${id}`, join(root, 'disk-service.log'));
    for (const [name, file] of files) files.set(name, await readFile(file, 'utf8'));
    return files;
  };

  beforeAll(async () => {
    otlp = resources.use(await startOtlpReceiver());
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: otlp.endpoint };
    const rgwDir = resources.use(await tempDir('e2e-observed-rgw'));
    const starting = startCephRgw({ dir: rgwDir.path });
    resources.defer(async () => (await starting).stop());
    const disk = (bytes: number) => ({ sizeBytes: 64 * MiB, dataBytes: bytes });
    world = resources.use(
      await startWorld('observed', {
        vms: [{ name: 'pair', host: 1, guest: 'idle', disks: [disk(dataBytes.vda), disk(dataBytes.vdb)] }],
        env: Object.fromEntries(processes.map((name) => [name, env])),
        labEnv: env,
      }),
    );
    rgw = await starting;
    tap = resources.use(await startNatsTap(world.stack.nats.url));
    await run();
    backupPoint = await pointOf(world, backup.run);
    await stopAll();
    logs = await readLogs();
  });
  afterAll(() => resources.disposeAsync());

  const everyService = [
    'casvault-data-mover',
    'casvault-data-mover-worker',
    'casvault-disk-service',
    'casvault-gateway',
    'casvault-inventory',
    'casvault-scheduler',
    'casvault-snapshot-engine',
  ];
  /** Who calls is asked for only when the gateway has not asked for ten seconds. */
  const servicesOf = ({ services }: TraceTree): string[] =>
    services.filter((name) => name !== 'casvault-licensing-auth');

  it('backup: one trace from the HTTP request to the last disk byte, through every service', () => {
    const tree = new TraceTree(otlp.spans(backup.traceId));
    expect(tree.root).toMatchObject({
      service: 'casvault-gateway',
      name: 'POST /api/v1/jobs',
      kind: 'server',
    });
    expect(servicesOf(tree)).toEqual(everyService);
    expect(tree.spans.filter(({ failed }) => failed).map(({ name }) => name)).toEqual([]);
    const path = tree.pathTo(tree.only('PUT /v1/openings/:openingId'));
    expect(path.slice(0, 9)).toEqual([
      'gateway POST /api/v1/jobs',
      'gateway send qry.scheduler.create-job.v1',
      'scheduler qry.scheduler.create-job.v1',
      'scheduler run ask',
      'scheduler send cmd.snapshot-engine.protect-vm.v1',
      'snapshot-engine cmd.snapshot-engine.protect-vm.v1',
      'snapshot-engine protection startTransfer',
      'snapshot-engine send cmd.data-mover.start-transfer.v1',
      'data-mover cmd.data-mover.start-transfer.v1',
    ]);
    expect(path.slice(-7)).toEqual([
      'data-mover transfer nudge',
      'data-mover send work.default',
      'data-mover-worker work.default',
      'data-mover-worker transfer backup',
      'data-mover-worker open capture',
      'data-mover-worker disk-service open',
      'disk-service PUT /v1/openings/:openingId',
    ]);
    // What a timer decided while nobody took the transfer belongs to it too.
    expect(tree.all('transfer woken').length).toBeGreaterThan(0);
    expect(tree.all('send qry.data-mover.claim-transfer.v1').length).toBeGreaterThan(0);
    const facts = tree.only('qry.inventory.get-vm-facts.v1');
    expect(tree.all(/^cvm GET/).map((span) => tree.parent(span)?.spanId)).toContain(facts.spanId);

    const opening = tree.only('open capture');
    const commit = tree.only('commit');
    const closing = tree.only('disk-service close');
    for (const { target, readBytes, storedBytes } of backupPoint.disks) {
      const disk = tree.only(`transfer ${target}`);
      expect(tree.parent(disk)?.name).toBe('transfer backup');
      expect(readBytes).toBeGreaterThanOrEqual(dataBytes[target as 'vda' | 'vdb']);
      expect(disk.attributes).toMatchObject({
        'casvault.disk': target,
        'casvault.bytes.read': readBytes,
        'casvault.bytes.stored': storedBytes,
      });
      expect([isFollowedBy(opening, disk), isFollowedBy(disk, commit)]).toEqual([true, true]);
    }
    expect(isFollowedBy(commit, closing)).toBe(true);
  });

  it('restore: one trace from the HTTP request to the last disk byte, through every service', () => {
    const tree = new TraceTree(otlp.spans(restore.traceId));
    expect(tree.root).toMatchObject({
      service: 'casvault-gateway',
      name: 'POST /api/v1/jobs',
      kind: 'server',
    });
    expect(servicesOf(tree)).toEqual(everyService);
    expect(tree.spans.filter(({ failed }) => failed).map(({ name }) => name)).toEqual([]);
    expect(tree.all('PUT /v1/openings/:openingId')).toHaveLength(2);
    const made = tree.only('qry.inventory.create-restore-vm.v1');
    expect(tree.all(/^cvm POST/).map((span) => tree.parent(span)?.spanId)).toContain(made.spanId);
    const closings = tree.all('disk-service close');
    for (const { target } of backupPoint.disks) {
      const disk = tree.only(`transfer ${target}`);
      expect(Number(disk.attributes['casvault.bytes.written'])).toBeGreaterThan(0);
      expect(Number(disk.attributes['casvault.bytes.fetched'])).toBeGreaterThan(0);
      expect(closings.map((closing) => isFollowedBy(disk, closing))).toEqual([true, true]);
    }
    const report = tree.only('send qry.data-mover.finish-transfer.v1');
    expect(closings.map((closing) => isFollowedBy(closing, report))).toEqual([true, true]);
  });

  it('metrics: rate, errors and duration of every service, and what the product did', () => {
    const moved = (name: string, metric: string, labels: Record<string, string> = {}): number =>
      (after.get(name)?.sum(metric, labels) ?? 0) - (before.get(name)?.sum(metric, labels) ?? 0);
    const now = (name: string, metric: string, labels: Record<string, string> = {}): number =>
      after.get(name)?.sum(metric, labels) ?? -1;

    expect(
      moved('gateway', 'http_server_request_duration_seconds_count', { http_route: '/api/v1/jobs' }),
    ).toBe(2);
    const refused = { http_route: '/api/v1/pools', http_response_status_code: '400' };
    expect(moved('gateway', 'http_server_request_duration_seconds_count', refused)).toBeGreaterThan(0);
    for (const name of processes.filter((one) => one !== 'gateway' && one !== 'mover-1'))
      expect([name, moved(name, 'casvault_message_duration_seconds_count') > 0]).toEqual([name, true]);
    for (const name of ['scheduler', 'snapshot-engine', 'data-mover'])
      expect(moved(name, 'casvault_effect_duration_seconds_count', { outcome: 'ok' })).toBeGreaterThan(0);
    for (const name of processes) expect(now(name, 'process_resident_memory_bytes')).toBeGreaterThan(MiB);

    const sum = (of: (disk: (typeof backupPoint.disks)[number]) => number) =>
      backupPoint.disks.reduce((total, disk) => total + of(disk), 0);
    const read = sum(({ readBytes }) => readBytes);
    const stored = sum(({ storedBytes }) => storedBytes);
    const kind = 'backup';
    expect(moved('mover-1', 'casvault_worker_bytes_total', { kind, direction: 'read' })).toBe(read);
    expect(moved('mover-1', 'casvault_worker_bytes_total', { kind, direction: 'stored' })).toBe(stored);
    expect(moved('data-mover', 'casvault_transfer_read_bytes_total', { kind })).toBe(read);
    expect(moved('data-mover', 'casvault_transfer_stored_bytes_total', { kind })).toBe(stored);
    for (const of of ['backup', 'restore']) {
      const succeeded = { kind: of, outcome: 'succeeded' };
      expect(now('mover-1', 'casvault_worker_transfers_total', succeeded)).toBe(1);
      expect(now('mover-1', 'casvault_worker_transfer_seconds_count', succeeded)).toBe(1);
      expect(moved('data-mover', 'casvault_transfers', { kind: of, state: 'succeeded' })).toBe(1);
      expect(moved('data-mover', 'casvault_transfer_seconds_count', { kind: of, state: 'succeeded' })).toBe(
        1,
      );
    }
    expect(now('mover-1', 'casvault_worker_bytes_total', { direction: 'written' })).toBeGreaterThan(0);
    expect(now('mover-1', 'casvault_worker_bytes_total', { direction: 'fetched' })).toBeGreaterThan(0);
    expect(now('mover-1', 'casvault_worker_transfers_running')).toBe(0);
    expect(moved('snapshot-engine', 'casvault_points', { state: 'available' })).toBe(1);
    expect(moved('scheduler', 'casvault_runs', { state: 'succeeded' })).toBe(2);
    expect(now('inventory', 'casvault_platforms', { state: 'online' })).toBe(1);
    expect(now('inventory', 'casvault_vms')).toBeGreaterThan(0);
    expect(
      now('inventory', 'casvault_platform_sync_seconds_count', { outcome: 'succeeded' }),
    ).toBeGreaterThan(0);

    const ds = 'casvault_disk_service';
    expect(moved('disk-service-1', `${ds}_openings_opened_total`, { method: 'live' })).toBe(1);
    expect(moved('disk-service-2', `${ds}_openings_opened_total`, { method: 'write' })).toBe(2);
    expect(moved('disk-service-2', `${ds}_openings_ended_total`, { how: 'closed' })).toBe(2);
    expect(moved('disk-service-1', `${ds}_http_requests_total`, { method: 'PUT', status: '201' })).toBe(1);
    for (const host of ['disk-service-1', 'disk-service-2']) expect(now(host, `${ds}_openings`)).toBe(0);
  });

  const parsedLogs = () =>
    [...logs].flatMap(([service, text]) =>
      text
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => ({ service, line, fields: JSON.parse(line) as Record<string, unknown> })),
    );

  it('logs: every line is one JSON object with time, level, service and msg', () => {
    for (const { service, line, fields } of parsedLogs()) {
      expect({ line, fields }).toEqual({
        line,
        fields: expect.objectContaining({
          time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/) as string,
          level: expect.stringMatching(/^(debug|info|warn|error)$/) as string,
          service: logNameOf(service),
          msg: expect.stringMatching(/\w/) as string,
        }) as object,
      });
    }
  });

  it.each(['backup', 'restore'] as const)('logs: what became of a %s is told under its trace id', (kind) => {
    const { traceId, run } = kind === 'backup' ? backup : restore;
    const lines = parsedLogs();
    const told = lines.filter(({ fields }) => fields['traceId'] === traceId);
    expect([...new Set(told.map(({ fields }) => fields['service']))].sort()).toEqual(
      everyService.map((name) => name.replace('casvault-', '')).filter((name) => name !== 'inventory'),
    );
    const itemId = run.items[0]?.id ?? 'no item';
    const transfers = lines.flatMap(({ fields }) =>
      fields['ownerId'] === itemId ? [fields['instanceId']] : [],
    );
    const ids = new Set<unknown>([run.id, itemId, ...transfers]);
    const about = lines.filter(({ fields }) =>
      ['instanceId', 'runId', 'transferId'].some((name) => ids.has(fields[name])),
    );
    expect(about.length).toBeGreaterThan(8);
    for (const { line, fields } of about) expect([line, fields['traceId']]).toEqual([line, traceId]);
  });

  it('secrets are told nowhere: no log, span, metric, message, row or problem', async () => {
    const messages = await filesBelow(join(world.stack.dir, 'nats'));
    const rows = await postgresText(world.stack.postgres.adminUrl);
    const places: Record<string, Buffer> = {
      ...messages,
      'wire of NATS': tap.bytes(),
      'rows of Postgres': Buffer.from(rows),
      spans: otlp.bytes(),
      metrics: Buffer.from(scraped.join('\n')),
      problems: Buffer.from(problems.map(({ text }) => text).join('\n')),
      ...Object.fromEntries([...logs].map(([name, text]) => [`log of ${name}`, Buffer.from(text)])),
    };
    expect(findSecrets(secrets, places)).toEqual([]);
    expect(Object.keys(secrets)).toHaveLength(12);

    // The search sees what is there: the sealed form of the secrets, and what is no secret.
    const present = (text: string) => Object.keys(places).filter((place) => places[place]?.includes(text));
    expect(present('sealed:v1:')).toEqual(expect.arrayContaining(['wire of NATS', 'rows of Postgres']));
    expect(present(rgw.accessKeyId)).toEqual(expect.arrayContaining(['wire of NATS', 'rows of Postgres']));
    expect(present('evt.snapshot-engine.point-available.v1').some((place) => place in messages)).toBe(true);
    expect(present(backup.traceId)).toEqual(
      expect.arrayContaining(['spans', 'log of gateway', 'wire of NATS']),
    );
    expect(present('urn:casvault:problem:PLATFORM_LOGIN_REFUSED')).toEqual(['problems']);
    const clear = { secret: backup.traceId, short: 'x' };
    expect(findSecrets({ trace: clear.secret }, places)).toContain('trace in spans');
    expect(() => findSecrets({ x: clear.short }, places)).toThrow();
  });

  it('every problem bears the trace id that the header tells, and its log line has it', () => {
    for (const { text, traceId } of problems) {
      expect(JSON.parse(text)).toMatchObject({ traceId });
      expect(logs.get('gateway')).toContain(traceId);
    }
  });
});

const logNameOf = (process: string): string => {
  if (process === 'mover-1') return 'data-mover-worker';
  return process.startsWith('disk-service') ? 'disk-service' : process;
};
