import { randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import {
  createRestoreVm,
  finishRestoreImage,
  finishRestoreVm,
  getPoolAccess,
  getVmFacts,
  itemChanged,
  pointAvailable,
  pointCaptured,
  removeCheckpoints,
  removePoints,
  removeRestoreVm,
  startTransfer,
  stopTransfer,
  transferChanged,
  type Fault,
  type ItemChanged,
  type TransferChanged,
  type Verified,
  type VmFacts,
} from '@casvault/contracts';
import { inContracts, ScriptedService, type ContractOf, type Script } from '@casvault/messaging/testing';
import { provisionSchema } from '@casvault/persistence';
import { type z } from 'zod';
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
import { ModelTransfer } from '../src/testing/model-transfer.js';
import { sampleFacts, samplePool } from '../src/testing/samples.js';

type RemovalCommand = z.infer<typeof removePoints.payload>;

const main = fileURLToPath(new URL('../src/main.js', import.meta.url));

/** The peers of snapshot-engine, played: an inventory whose platform can be made to refuse, and a data-mover of model transfers. */
export class Peers {
  facts: VmFacts = sampleFacts();
  refusal: Fault | null = null;
  /** Which contracts they have: the present ones, or those of another release. */
  contractOf: ContractOf = (contract) => contract;
  /** VMs on the platform that restores made, by restore. */
  readonly vms = new Map<string, 'half' | 'finished'>();
  /** What was asked for of each. */
  readonly made = new Map<string, z.output<typeof createRestoreVm.request>>();
  readonly transfers = new Map<string, ModelTransfer>();
  readonly removed: string[] = [];
  /** Removals of several points that were asked for, each once. */
  readonly removals = new Map<string, RemovalCommand>();
  /** Carries no removal out while it is set. */
  isPoolBusy = false;
  /** What was asked about checkpoints; a host that is away refuses. */
  readonly checkpoints: z.infer<typeof removeCheckpoints.request>[] = [];
  hostAway: Fault | null = null;
  readonly items: ItemChanged[] = [];
  readonly captured: string[] = [];
  readonly available: string[] = [];
  #client: ScriptedService['client'] | null = null;
  #count = 0;

  inventory = ({ query }: Script): void => {
    query(getVmFacts, () => this.#orRefuse(this.facts));
    query(getPoolAccess, () => samplePool);
    query(removeCheckpoints, (request) => {
      if (this.hostAway) throw this.hostAway;
      this.checkpoints.push(request);
      return { removed: [] };
    });
    query(createRestoreVm, (request) => {
      const { restoreId, disks } = request;
      this.made.set(restoreId, request);
      this.vms.set(restoreId, 'half');
      return this.#orRefuse({
        externalId: '9',
        uuid: '0b6a1a1e-6a0f-4f0e-9a53-2f4a5d1c9b12',
        diskService: this.facts.diskService,
        disks: disks.map(({ target, sizeBytes, format }) => ({
          target,
          sizeBytes,
          format,
          path: `/vms/${target}`,
        })),
      });
    });
    query(finishRestoreVm, ({ restoreId }) => {
      this.vms.set(restoreId, 'finished');
      return { vmId: this.facts.vm.id };
    });
    query(finishRestoreImage, ({ restoreId }) => {
      this.vms.set(restoreId, 'finished');
      return { imageId: '131' };
    });
    query(removeRestoreVm, ({ restoreId }) => {
      if (this.vms.get(restoreId) === 'half') this.vms.delete(restoreId);
      return {};
    });
  };

  dataMover = ({ command }: Script): void => {
    command(startTransfer, async (request) => {
      const transfer = this.transfers.get(request.transferId) ?? new ModelTransfer();
      this.transfers.set(request.transferId, transfer);
      transfer.start(request);
      await this.#post(transfer);
    });
    command(stopTransfer, async ({ transferId }) => {
      const transfer = this.transfers.get(transferId);
      transfer?.stop();
      if (transfer) await this.#post(transfer);
    });
    command(removePoints, (request) => this.#remove(request));
  };

  /** The removal that a deletion asked for, once it did. */
  async removalOf(deletionId: string, dryRun: boolean): Promise<RemovalCommand> {
    return until(() =>
      [...this.removals.values()].find((one) => one.ownerId === deletionId && one.dryRun === dryRun),
    );
  }
  /** Carries out what waits for the pool. */
  async freePool(): Promise<void> {
    this.isPoolBusy = false;
    for (const command of this.removals.values()) await this.#remove(command);
  }
  async #remove(command: RemovalCommand): Promise<void> {
    const { transferId, ownerId, dryRun } = command;
    this.removals.set(transferId, command);
    if (this.isPoolBusy && !dryRun) return;
    if (!dryRun) this.removed.push(...command.pointIds);
    const removed = { freedBytes: 4_096 * command.pointIds.length, removedObjects: 2 };
    const result = { disks: [], poolBytes: 0, capturedAt: null, method: 'write' as const, reasons: [] };
    await this.#publish({
      ...gone,
      result: { ...result, consistency: 'crash', removed },
      progress: [],
      reasons: [],
      transferId,
      ownerId,
      at: new Date().toISOString(),
    });
  }

  scheduler = ({ event }: Script): void => {
    event(itemChanged, (change) => void this.items.push(change));
    event(pointCaptured, ({ pointId }) => void this.captured.push(pointId));
    event(pointAvailable, ({ pointId }) => void this.available.push(pointId));
  };

  publishAs(service: ScriptedService): void {
    this.#client = service.client;
  }

  /** The transfer goes one step further. */
  async act(transfer: ModelTransfer, pick = 3): Promise<void> {
    transfer.act(pick);
    await this.#post(transfer);
  }
  /** The verification that a transfer carries out ends with this verdict. */
  async verified(transfer: ModelTransfer, verified: Verified): Promise<void> {
    transfer.verified(verified);
    await this.#post(transfer);
  }
  /** The only transfer of an item, once it was asked for. */
  async transferOf(itemId: string): Promise<ModelTransfer> {
    return until(() => [...this.transfers.values()].find(({ present }) => present?.ownerId === itemId));
  }
  /** The newest news of an item. */
  newest(itemId: string): ItemChanged | undefined {
    return this.items
      .filter((item) => item.itemId === itemId)
      .sort((a, b) => (a.at < b.at ? -1 : 1))
      .at(-1);
  }
  async reaches(itemId: string, phase: ItemChanged['phase']): Promise<ItemChanged> {
    return until(() => {
      const newest = this.newest(itemId);
      return newest?.phase === phase ? newest : null;
    });
  }

  async #post(transfer: ModelTransfer): Promise<void> {
    for (const change of transfer.mail.splice(0)) await this.#publish(change);
  }
  async #publish(change: TransferChanged): Promise<void> {
    await this.#client?.publish(this.contractOf(transferChanged), change, {
      messageId: `change-${++this.#count}`,
    });
  }
  #orRefuse<T>(value: T): T {
    if (this.refusal) throw this.refusal;
    return value;
  }
}

const gone = {
  kind: 'removal',
  state: 'succeeded',
  epoch: 1,
  capturedAt: null,
  result: null,
  fault: null,
} as const;

/** The service as a process of its own over real NATS and Postgres, among played peers. */
export class RunningEngine {
  readonly peers = new Peers();
  service!: RunningProcess;
  #played: ScriptedService[] = [];

  #httpPort = 0;

  private constructor(
    readonly nats: NatsServer,
    readonly postgres: PostgresServer,
    private readonly env: Record<string, string>,
  ) {}

  /** With `contractOf`: among peers of another release. */
  static async start(contractOf: ContractOf = (contract) => contract): Promise<RunningEngine> {
    const nats = await startNats();
    const postgres = await startPostgres();
    const rolePrefix = `t${randomBytes(4).toString('hex')}`;
    const engine = new RunningEngine(nats, postgres, {
      CASVAULT_NATS_URL: nats.url,
      CASVAULT_DATABASE_URL: await provisionSchema(postgres.adminUrl, 'snapshot-engine', { rolePrefix }),
      CASVAULT_SEALING_KEY: randomBytes(32).toString('base64'),
      CASVAULT_DRAIN_SECONDS: '5',
    });
    const { peers } = engine;
    peers.contractOf = contractOf;
    const logger = new TestLogger();
    for (const service of ['inventory', 'data-mover', 'scheduler'] as const) {
      const script = service === 'data-mover' ? peers.dataMover : peers[service];
      const played = inContracts(contractOf, script);
      engine.#played.push(await ScriptedService.start({ url: nats.url, service, logger }, played));
    }
    peers.publishAs(engine.#played[1]!);
    await engine.boot();
    return engine;
  }

  async boot(): Promise<void> {
    this.#httpPort = await freePort();
    this.service = spawnService(main, { env: { ...this.env, CASVAULT_HTTP_PORT: String(this.#httpPort) } });
    await this.service.sees(/service started/);
  }
  async scrape(): Promise<Scrape> {
    return parsePrometheusText(await (await fetch(`http://127.0.0.1:${this.#httpPort}/metrics`)).text());
  }
  get client(): ScriptedService['client'] {
    return this.#played[2]!.client;
  }
  async stop(): Promise<void> {
    await this.service.stop();
    for (const played of this.#played) await played.stop();
    await this.nats[Symbol.asyncDispose]();
    await this.postgres[Symbol.asyncDispose]();
  }
}
