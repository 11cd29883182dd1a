import { randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import {
  claimTransfer,
  finishTransfer,
  getPoolAccess,
  newId,
  renewTransfer,
  reportBackupHost,
  startTransfer,
  transferChanged,
  trackingSchema,
  transferOptionsSchema,
  type BackupHostId,
  type BackupSpec,
  type ChainId,
  type DiskId,
  type finishTransfer as FinishTransfer,
  type PointId,
  type Pool,
  type PoolId,
  type RestoreSpec,
  type RunItemId,
  type Sealed,
  type TransferChanged,
  type TransferId,
  type TransferSpec,
  type VmId,
} from '@casvault/contracts';
import { type MessagingClient, WorkQueue } from '@casvault/messaging';
import { ScriptedService } from '@casvault/messaging/testing';
import { provisionSchema } from '@casvault/persistence';
import {
  freePort,
  parsePrometheusText,
  spawnService,
  startNats,
  startPostgres,
  TestLogger,
  until,
  type NatsServer,
  type PostgresServer,
  type RunningProcess,
  type Scrape,
} from '@casvault/testkit';
import { type z } from 'zod';

const main = fileURLToPath(new URL('../src/main.js', import.meta.url));

export const pool: Pool = {
  id: newId<PoolId>(),
  name: 'pool',
  type: 'standard',
  location: { kind: 'fs', path: '/pool' },
  createdAt: '2026-01-01T00:00:00.000Z',
};

export const restoreSpec = (): RestoreSpec => ({
  kind: 'restore',
  pointId: newId<PointId>(),
  chainId: newId<ChainId>(),
  pool,
  diskService: { url: 'http://127.0.0.1:8192', token: 'sealed:v1:x' as Sealed },
  disks: [{ target: 'vda', path: '/vms/new.qcow2', format: 'qcow2', sizeBytes: 1 << 20 }],
  options: transferOptionsSchema.parse({}),
});

export const backupSpec = (): BackupSpec => ({
  kind: 'backup',
  pointId: newId<PointId>(),
  chainId: newId<ChainId>(),
  pointKind: 'full',
  parentPointId: null,
  pool,
  vm: {
    vmId: newId<VmId>(),
    uuid: newId(),
    name: 'db',
    platformName: 'lab',
    platformVersion: 'E0760',
  },
  configuration: {},
  diskService: { url: 'http://127.0.0.1:8192', token: 'sealed:v1:x' as Sealed },
  disks: [
    {
      target: 'vda',
      path: '/vms/db.qcow2',
      diskId: newId<DiskId>(),
      role: 'system',
      bus: 'virtio',
      format: 'qcow2',
      sizeBytes: 1 << 20,
    },
  ],
  excludedDisks: [],
  tracking: trackingSchema.parse({}),
  quiesceSeconds: null,
  snapshot: null,
  options: transferOptionsSchema.parse({}),
});

/** A worker played by hand: it does what a test says, under the epoch that it was given. */
export class PlayedWorker {
  readonly id = newId<BackupHostId>();
  constructor(private readonly client: MessagingClient) {}

  claim(transferId: TransferId) {
    return this.client.request(claimTransfer, { transferId, workerId: this.id });
  }
  /** The epoch of a claim that was granted. */
  async take(transferId: TransferId): Promise<number> {
    const claim = await this.claim(transferId);
    if (claim.outcome === 'declined') throw new Error(`declined: ${claim.state}`);
    return claim.epoch;
  }
  renew(transferId: TransferId, epoch: number, doneBytes = 0, capturedAt: string | null = null) {
    const progress = [{ target: 'vda', totalBytes: 100, doneBytes, storedBytes: 0, resumedBytes: 0 }];
    return this.client.request(renewTransfer, { transferId, epoch, capturedAt, method: null, progress });
  }
  finish(
    transferId: TransferId,
    epoch: number,
    state: z.input<typeof FinishTransfer.request>['outcome']['state'] = 'succeeded',
  ) {
    const result = { disks: [], capturedAt: null, method: 'write' as const, reasons: [] };
    const fault = { code: 'POOL_FULL' as const, message: 'full', details: {} };
    const outcome =
      state === 'succeeded' ? { state, result } : state === 'failed' ? { state, fault } : { state };
    return this.client.request(finishTransfer, { transferId, epoch, outcome });
  }
}

/** The controller as a process of its own over real NATS and Postgres. */
export class RunningController {
  service!: RunningProcess;
  /** As inventory tells it. */
  pool = pool;
  readonly backupHosts: string[] = [];
  readonly changes: TransferChanged[] = [];
  readonly nudges: TransferId[] = [];
  readonly #stopping = new AbortController();
  #played: ScriptedService[] = [];
  #ringing: Promise<void> = Promise.resolve();

  #httpPort = 0;

  private constructor(
    readonly nats: NatsServer,
    readonly postgres: PostgresServer,
    readonly env: Readonly<Record<string, string>>,
  ) {}

  /** With `listen` false nobody takes nudges but real workers. */
  static async start(
    options: { readonly listen?: boolean; readonly monitoring?: boolean } = {},
  ): Promise<RunningController> {
    const nats = await startNats({ monitoring: options.monitoring ?? false });
    const postgres = await startPostgres();
    const rolePrefix = `t${randomBytes(4).toString('hex')}`;
    const controller = new RunningController(nats, postgres, {
      CASVAULT_DATA_MOVER_ROLE: 'controller',
      CASVAULT_NATS_URL: nats.url,
      CASVAULT_DATABASE_URL: await provisionSchema(postgres.adminUrl, 'data-mover', { rolePrefix }),
      CASVAULT_SEALING_KEY: randomBytes(32).toString('base64'),
      CASVAULT_DRAIN_SECONDS: '5',
    });
    await controller.#play(options.listen ?? true);
    await controller.boot();
    return controller;
  }

  async #play(listen: boolean): Promise<void> {
    const options = { url: this.nats.url, logger: new TestLogger() };
    const engine = await ScriptedService.start({ ...options, service: 'snapshot-engine' }, ({ event }) =>
      event(transferChanged, (change) => void this.changes.push(change)),
    );
    const inventory = await ScriptedService.start({ ...options, service: 'inventory' }, ({ query }) => {
      query(getPoolAccess, () => this.pool);
      query(reportBackupHost, (host) => {
        this.backupHosts.push(host.name);
        return {};
      });
    });
    this.#played = [engine, inventory];
    if (!listen) return;
    const { signal } = this.#stopping;
    const queue = new WorkQueue(engine.client);
    this.#ringing = queue.consume(
      'default',
      { signal, maxInFlight: 4, graceMs: 100 },
      async ({ transferId }) => {
        this.nudges.push(transferId);
      },
    );
  }

  async boot(): Promise<void> {
    this.#httpPort = await freePort();
    this.service = spawnService(main, { env: { ...this.env, CASVAULT_HTTP_PORT: String(this.#httpPort) } });
    await this.service.sees(/service started/);
  }
  async scrape(): Promise<Scrape> {
    return parsePrometheusText(await (await fetch(`http://127.0.0.1:${this.#httpPort}/metrics`)).text());
  }
  get client(): MessagingClient {
    return this.#played[0]!.client;
  }
  worker(): PlayedWorker {
    return new PlayedWorker(this.client);
  }

  async ask(spec: TransferSpec): Promise<TransferId> {
    const transferId = newId<TransferId>();
    const request = { transferId, ownerId: newId<RunItemId>(), group: 'default', spec };
    await this.client.send(startTransfer, request, { messageId: newId() });
    return transferId;
  }
  /** A transfer whose first nudge has come. */
  async transfer(spec: TransferSpec = restoreSpec()): Promise<TransferId> {
    const transferId = await this.ask(spec);
    await until(() => this.nudges.includes(transferId));
    return transferId;
  }
  of(transferId: string): TransferChanged[] {
    return this.changes.filter((change) => change.transferId === transferId);
  }
  async reaches(transferId: string, state: TransferChanged['state']): Promise<TransferChanged> {
    return until(() => {
      const newest = this.of(transferId).at(-1);
      return newest?.state === state ? newest : null;
    });
  }
  async stop(): Promise<void> {
    await this.service.stop();
    this.#stopping.abort();
    await this.#ringing;
    for (const played of this.#played) await played.stop();
    await this.nats[Symbol.asyncDispose]();
    await this.postgres[Symbol.asyncDispose]();
  }
}
