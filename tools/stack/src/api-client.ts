import {
  alertChannelSchema,
  alertTestSchema,
  createdApiTokenSchema,
  getPoint,
  listAlerts,
  jobSchema,
  licenceSchema,
  listBackupHosts,
  listChains,
  listHosts,
  listImages,
  listPlatforms,
  listPoints,
  listPools,
  listProfiles,
  listRunLog,
  listRuns,
  listStorages,
  listSwitches,
  listVms,
  platformSchema,
  poolViewSchema,
  problemSchema,
  restorePreviewSchema,
  runDetailSchema,
  runSchema,
  sessionSchema,
  vmSchema,
  type AlertChannel,
  type AlertTest,
  type AlertView,
  type ChainId,
  type CreatedApiToken,
  type FaultCode,
  type Job,
  type JobId,
  type NewAlertChannelBody,
  type NewApiTokenBody,
  type Licence,
  type NewJobBody,
  type NewLicenceBody,
  type NewImageBody,
  type NewVolumeBody,
  type RollbackBody,
  type NewPlatformBody,
  type NewPoolBody,
  type Platform,
  type PlatformId,
  type Point,
  type PointId,
  type PoolView,
  type Problem,
  type RestorePreview,
  type RestorePreviewBody,
  type Run,
  type RunChoice,
  type RunDetail,
  type RunId,
  type RunLogLine,
  type Session,
  type Vm,
  type VmId,
} from '@casvault/contracts';
import { setTimeout as sleep } from 'node:timers/promises';

/** A problem that the API answered, as an error. */
export class ApiProblem extends Error {
  override readonly name = 'ApiProblem';
  constructor(readonly problem: Problem) {
    const fields = problem.errors?.map(({ field, rule }) => `\n  ${field}: ${rule}`).join('') ?? '';
    super(`${problem.title} (${problem.code}): ${problem.detail}${fields} [trace ${problem.traceId}]`);
  }
  get code(): FaultCode {
    return this.problem.code;
  }
  get status(): number {
    return this.problem.status;
  }
}

export interface PlainRequest {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly body?: object;
  readonly query?: Readonly<Record<string, string | number | undefined>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly idempotencyKey?: string;
  readonly signal?: AbortSignal;
}

/** A schema, as far as it is needed here. */
interface Reader<T> {
  parse(value: unknown): T;
}
type ReplyOf<Q extends { reply: Reader<unknown> }> = ReturnType<Q['reply']['parse']>;
const anything: Reader<unknown> = { parse: (value) => value };
type Filter = Readonly<Record<string, string | undefined>>;

/** How often `watchRun` connects again before it gives up, and how long it waits between. */
const watchAttempts = 30;
const watchPauseMs = 1_000;

const pathWith = (path: string, query: PlainRequest['query'] = {}): string => {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query))
    if (value !== undefined) parameters.set(name, String(value));
  return parameters.size === 0 ? path : `${path}?${parameters.toString()}`;
};

/** The REST API in words, for the demonstration and the end-to-end tests. Replies are held against the contracts. */
export class ApiClient {
  private token: string | null = null;

  /** `origin`: `http://127.0.0.1:8088` */
  constructor(private readonly origin: string) {}

  /** Goes on as somebody who has signed in elsewhere, or with an API token. */
  useToken(token: string): void {
    this.token = token;
  }

  /** Signs in; later calls are made in this session. */
  async signIn(userName: string, password: string): Promise<Session> {
    const session = await this.ask(sessionSchema, '/sessions', {
      method: 'POST',
      body: { userName, password },
    });
    this.token = session.token;
    return session;
  }
  createApiToken(body: NewApiTokenBody): Promise<CreatedApiToken> {
    return this.ask(createdApiTokenSchema, '/api-tokens', { method: 'POST', body });
  }
  importLicence(body: NewLicenceBody): Promise<Licence> {
    return this.ask(licenceSchema, '/licences', { method: 'POST', body });
  }
  /** True when the gateway answers and reaches its messages. */
  async isHealthy(): Promise<boolean> {
    const response = await this.send('/healthz', {}).catch(() => null);
    await response?.body?.cancel();
    return response?.ok ?? false;
  }

  createAlertChannel(body: NewAlertChannelBody): Promise<AlertChannel> {
    return this.ask(alertChannelSchema, '/alert-channels', { method: 'POST', body });
  }
  testAlertChannel({ id }: AlertChannel): Promise<AlertTest> {
    return this.ask(alertTestSchema, `/alert-channels/${id}/test`, { method: 'POST' });
  }
  listAlerts(filter: Filter = {}): Promise<AlertView[]> {
    return this.all(listAlerts.reply, '/alerts', filter);
  }
  runLog(runId: RunId): Promise<RunLogLine[]> {
    return this.all(listRunLog.reply, `/runs/${runId}/log`);
  }

  registerPlatform(body: NewPlatformBody, idempotencyKey?: string): Promise<Platform> {
    return this.ask(platformSchema, '/platforms', { method: 'POST', body, ...keyed(idempotencyKey) });
  }
  listPlatforms(): Promise<Platform[]> {
    return this.all(listPlatforms.reply, '/platforms');
  }
  syncPlatform(platformId: PlatformId): Promise<Platform> {
    return this.ask(platformSchema, `/platforms/${platformId}/sync`, { method: 'POST' });
  }
  async deregisterPlatform(platformId: PlatformId): Promise<void> {
    await this.ask(anything, `/platforms/${platformId}`, { method: 'DELETE' });
  }
  listHosts(platformId: PlatformId): Promise<ReplyOf<typeof listHosts>['items']> {
    return this.all(listHosts.reply, `/platforms/${platformId}/hosts`);
  }
  listStorages(platformId: PlatformId): Promise<ReplyOf<typeof listStorages>['items']> {
    return this.all(listStorages.reply, `/platforms/${platformId}/storages`);
  }
  listSwitches(platformId: PlatformId): Promise<ReplyOf<typeof listSwitches>['items']> {
    return this.all(listSwitches.reply, `/platforms/${platformId}/switches`);
  }
  listImages(platformId: PlatformId): Promise<ReplyOf<typeof listImages>['items']> {
    return this.all(listImages.reply, `/platforms/${platformId}/images`);
  }
  listProfiles(platformId: PlatformId): Promise<ReplyOf<typeof listProfiles>['items']> {
    return this.all(listProfiles.reply, `/platforms/${platformId}/profiles`);
  }

  listVms(filter: { platformId?: string; hostId?: string; search?: string } = {}): Promise<Vm[]> {
    return this.all(listVms.reply, '/vms', filter);
  }
  getVm(vmId: VmId): Promise<Vm> {
    return this.ask(vmSchema, `/vms/${vmId}`);
  }
  listBackupHosts(): Promise<ReplyOf<typeof listBackupHosts>['items']> {
    return this.all(listBackupHosts.reply, '/backup-hosts');
  }

  createPool(body: NewPoolBody, idempotencyKey?: string): Promise<PoolView> {
    return this.ask(poolViewSchema, '/pools', { method: 'POST', body, ...keyed(idempotencyKey) });
  }
  listPools(): Promise<PoolView[]> {
    return this.all(listPools.reply, '/pools');
  }

  createJob(body: NewJobBody, idempotencyKey?: string): Promise<Job> {
    return this.ask(jobSchema, '/jobs', { method: 'POST', body, ...keyed(idempotencyKey) });
  }
  /** F6: what a restore would do, with the code to submit it with unless something is refused. */
  previewRestore(body: RestorePreviewBody): Promise<RestorePreview> {
    return this.ask(restorePreviewSchema, '/restores/preview', { method: 'POST', body });
  }
  /** The same job with the code of its preview where it takes one (F6); throws every refusal. */
  async confirmed(body: NewJobBody): Promise<NewJobBody> {
    const { name, definition, plans } = body;
    if (definition.kind !== 'restore') return body;
    const { confirmation, ...preview } = await this.previewRestore({ name, definition, plans });
    if (confirmation !== null) return { ...body, confirmation: confirmation.code };
    const refusals = [...preview.refusals, ...preview.items.flatMap((item) => item.refusals)];
    throw new Error(`restore refused: ${refusals.map(({ message }) => message).join('; ')}`);
  }
  getJob(jobId: JobId): Promise<Job> {
    return this.ask(jobSchema, `/jobs/${jobId}`);
  }
  startRun(jobId: JobId, choice: RunChoice = {}, idempotencyKey?: string): Promise<Run> {
    const path = `/jobs/${jobId}/runs`;
    return this.ask(runSchema, path, { method: 'POST', body: choice, ...keyed(idempotencyKey) });
  }
  /** "+ incremental" on a chain. */
  extendChain(chainId: ChainId, idempotencyKey?: string): Promise<Run> {
    return this.ask(runSchema, `/chains/${chainId}/points`, { method: 'POST', ...keyed(idempotencyKey) });
  }
  listRuns(filter: { jobId?: string } = {}): Promise<Run[]> {
    return this.all(listRuns.reply, '/runs', filter);
  }
  getRun(runId: RunId): Promise<RunDetail> {
    return this.ask(runDetailSchema, `/runs/${runId}`);
  }
  async stopRun(runId: RunId): Promise<void> {
    await this.ask(anything, `/runs/${runId}/stop`, { method: 'POST' });
  }

  listPoints(filter: { vmId?: string; chainId?: string; state?: string } = {}): Promise<Point[]> {
    return this.all(listPoints.reply, '/points', filter);
  }
  getPoint(pointId: PointId): Promise<Point> {
    return this.ask(getPoint.reply, `/points/${pointId}`);
  }
  /** F8: of the point's VM, whose present name is the confirmation. */
  rollBack(pointId: PointId, body: RollbackBody): Promise<Run> {
    return this.ask(runSchema, `/points/${pointId}/rollback`, { method: 'POST', body });
  }
  /** F9: a new volume with a disk of a point. */
  createVolume(pointId: PointId, target: string, body: NewVolumeBody): Promise<Run> {
    return this.ask(runSchema, `/points/${pointId}/disks/${target}/volumes`, { method: 'POST', body });
  }
  /** F9: a new image (template) with the system disk of a point. */
  createImage(pointId: PointId, body: NewImageBody): Promise<Run> {
    return this.ask(runSchema, `/points/${pointId}/images`, { method: 'POST', body });
  }
  /** F9: the answer as it comes, to be read or cancelled. */
  download(
    pointId: PointId,
    target: string,
    options: { format?: 'raw' | 'qcow2'; range?: string } = {},
  ): Promise<Response> {
    const { format = 'raw', range } = options;
    const path = pathWith(`/points/${pointId}/disks/${target}/content`, { format });
    return this.send(path, range === undefined ? {} : { headers: { Range: range } });
  }
  listChains(filter: { vmId?: string } = {}): Promise<ReplyOf<typeof listChains>['items']> {
    return this.all(listChains.reply, '/chains', filter);
  }

  /**
   * Follows a run to its end and returns it as it then is. Connects again when the connection is lost or the gateway is away;
   * a problem other than 503 is thrown.
   */
  async watchRun(runId: RunId, onChange: (run: RunDetail) => void, signal?: AbortSignal): Promise<RunDetail> {
    for (let attempt = 1; ; attempt += 1) {
      const last = await this.follow(runId, onChange, signal).catch((error: unknown) => {
        const isPassing = !(error instanceof ApiProblem) || error.status === 503;
        if (!isPassing || attempt >= watchAttempts || signal?.aborted === true) throw error;
        return null;
      });
      if (last !== null) return last;
      await sleep(watchPauseMs, undefined, signal === undefined ? {} : { signal });
    }
  }

  /** Any request; the body of the answer as `schema` has it. Throws an ApiProblem for every status from 400 on. */
  async ask<T>(schema: Reader<T>, path: string, request: PlainRequest = {}): Promise<T> {
    const response = await this.send(pathWith(path, request.query), request);
    const text = await response.text();
    return schema.parse(text === '' ? undefined : JSON.parse(text));
  }

  private async all<T>(
    schema: Reader<{ items: T[]; nextCursor: string | null }>,
    path: string,
    filter: Filter = {},
  ): Promise<T[]> {
    const items: T[] = [];
    let cursor: string | undefined;
    do {
      const page = await this.ask(schema, path, { query: { ...filter, limit: 500, cursor } });
      items.push(...page.items);
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined);
    return items;
  }

  private async send(path: string, request: PlainRequest): Promise<Response> {
    const { method = 'GET', body, headers, idempotencyKey, signal } = request;
    const response = await fetch(`${this.origin}/api/v1${path}`, {
      method,
      headers: {
        ...headers,
        ...(this.token === null ? {} : { Authorization: `Bearer ${this.token}` }),
        ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
        ...(idempotencyKey === undefined ? {} : { 'Idempotency-Key': `"${idempotencyKey}"` }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(signal === undefined ? {} : { signal }),
    });
    if (response.status >= 400) throw new ApiProblem(problemSchema.parse(await response.json()));
    return response;
  }

  /** One connection. Null when it ended before the run did. */
  private async follow(
    runId: RunId,
    onChange: (run: RunDetail) => void,
    signal?: AbortSignal,
  ): Promise<RunDetail | null> {
    const response = await this.send(`/runs/${runId}/events`, signal === undefined ? {} : { signal });
    let last: RunDetail | null = null;
    for await (const { event, data } of eventsOf(response)) {
      if (event === 'end') return last;
      last = runDetailSchema.parse(JSON.parse(data));
      onChange(last);
    }
    return null;
  }
}

const keyed = (idempotencyKey?: string): { idempotencyKey?: string } =>
  idempotencyKey === undefined ? {} : { idempotencyKey };

/** Server-sent events of a response, without its comments. */
async function* eventsOf(response: Response): AsyncGenerator<{ event: string; data: string }> {
  const decoder = new TextDecoder();
  let text = '';
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk as Uint8Array, { stream: true });
    const blocks = text.split('\n\n');
    text = blocks.pop() ?? '';
    for (const block of blocks) {
      const event = /^event: (.*)$/m.exec(block)?.[1];
      const data = /^data: (.*)$/m.exec(block)?.[1];
      if (event !== undefined && data !== undefined) yield { event, data };
    }
  }
}
