import { randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import {
  checkFeatures,
  copyPoint,
  idFrom,
  type ChainId,
  alertRaised,
  Fault,
  getHost,
  getOriginalPlace,
  getPlatform,
  getPoint,
  getPool,
  getVm,
  getVms,
  hookChanged,
  itemChanged,
  listBackupHosts,
  listPointsToCopy,
  listPointsToVerify,
  listVms,
  newId,
  previewRestores,
  protectVm,
  restoreVm,
  runChanged,
  runHook,
  stopItem,
  verifyPoint,
  type Alert,
  type BackupHost,
  type BackupHostId,
  type FaultJson,
  type HookChanged,
  type HookKind,
  type HookSpec,
  type Host,
  type HostId,
  type ItemChanged,
  type LicensedFeature,
  type Platform,
  type PlatformId,
  type Point,
  type PointId,
  type PoolId,
  type PoolView,
  type RestoreTarget,
  type RunDetail,
  type RunId,
  type RunItemId,
  type TransferId,
  type Vm,
  type VmId,
} from '@casvault/contracts';
import { createSealer, type Sealer } from '@casvault/service-host';
import { inContracts, ScriptedService, type ContractOf, type Script } from '@casvault/messaging/testing';
import { openDatabase, provisionSchema } from '@casvault/persistence';
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
import { type DataSource } from 'typeorm';
import { schedulerDatabase } from '../src/data-source.js';

const main = fileURLToPath(new URL('../src/main.js', import.meta.url));
const at = '2026-01-01T00:00:00.000Z';

interface Asked {
  readonly itemId: RunItemId;
  readonly runId: RunId;
  readonly vmId: VmId | null;
  readonly pointId: PointId | null;
  readonly target: RestoreTarget | null;
}

interface AskedHook {
  readonly transferId: TransferId;
  readonly spec: HookSpec;
  readonly isStopped: boolean;
}

/** The peers of the scheduler, played: what they know is in maps, what they are asked for is remembered. */
export class Peers {
  readonly vms = new Map<string, Vm>();
  readonly points = new Map<string, Point>();
  /** Of whatever pool. */
  readonly toVerify = new Set<PointId>();
  /** With the names of their chains. */
  readonly toCopy = new Map<PointId, string>();
  readonly vmOfPoints = newId<VmId>();
  readonly pools = new Set<string>();
  readonly hosts = new Set<string>();
  readonly backupHosts: BackupHost[] = [];
  readonly asked: Asked[] = [];
  readonly hooks: AskedHook[] = [];
  readonly stopped: RunItemId[] = [];
  /** What a preview of a restore is told, by the name of the VM in the details. */
  refusals: FaultJson[] = [];
  /** What valid licences have. */
  readonly licensed = new Set<LicensedFeature>();
  /** Items that do not stop. */
  readonly deaf = new Set<RunItemId>();
  readonly news: RunDetail[] = [];
  readonly alerts: Alert[] = [];
  engine!: ScriptedService;
  /** Which contracts they have: the present ones, or those of another release. */
  contractOf: ContractOf = (contract) => contract;
  #told = Date.parse(at);

  vm(host = newId<HostId>()): VmId {
    const id = newId<VmId>();
    const name = `vm-${this.vms.size}`;
    this.vms.set(id, {
      id,
      name,
      title: name,
      platformId: newId<PlatformId>(),
      externalId: '1',
      uuid: id,
      hostId: host,
      hostName: 'cvk1',
      hostIp: '127.0.0.2',
      powerState: 'running',
      cpuCount: 1,
      memoryMiB: 64,
      disks: [],
      nics: [],
    });
    return id;
  }
  backupHost(group: string, timeZone: string): void {
    this.backupHosts.push({
      id: newId<BackupHostId>(),
      name: `mover-${this.backupHosts.length}`,
      group,
      address: '127.0.0.1',
      timeZone,
      version: '0.1.0',
      contentUrl: null,
      state: 'online',
      lastSeenAt: at,
    });
  }
  pool(): PoolId {
    const id = newId<PoolId>();
    this.pools.add(id);
    return id;
  }

  host(): HostId {
    const id = newId<HostId>();
    this.hosts.add(id);
    return id;
  }

  inventory = ({ query }: Script): void => {
    query(getHost, ({ hostId }): Host => {
      if (!this.hosts.has(hostId)) return missing('NOT_FOUND', `there is no host ${hostId}`);
      const machine = { cpuCount: 8, memoryMiB: 65_536, vmCount: 0, status: 'normal' } as const;
      return {
        id: hostId,
        platformId: newId<PlatformId>(),
        externalId: '1',
        name: 'cvk1',
        ip: '127.0.0.2',
        ...machine,
      };
    });
    query(listVms, ({ hostId, limit, cursor = '0' }) => {
      const there = [...this.vms.values()].filter((vm) => vm.hostId === hostId);
      const end = Number(cursor) + limit;
      return { items: there.slice(Number(cursor), end), nextCursor: end < there.length ? String(end) : null };
    });
    query(getVm, ({ vmId }) => this.vms.get(vmId) ?? missing('VM_NOT_FOUND', `there is no VM ${vmId}`));
    query(getVms, ({ vmIds }) => {
      const gone = vmIds.filter((vmId) => !this.vms.has(vmId));
      return {
        vms: vmIds.flatMap((vmId) => this.vms.get(vmId) ?? []),
        gone: gone.map((vmId) => ({
          vmId,
          fault: new Fault('VM_NOT_FOUND', `there is no VM ${vmId}`).toJSON(),
        })),
      };
    });
    query(getOriginalPlace, ({ vmId }) => {
      const vm = this.vms.get(vmId) ?? missing('VM_NOT_FOUND', `no VM ${vmId} is known`);
      return { platformId: vm.platformId, hostId: vm.hostId, storageName: 'local', vmName: vm.name };
    });
    query(getPlatform, ({ platformId }): Platform => ({
      id: platformId,
      name: 'lab',
      type: 'h3c-cas',
      address: '127.0.0.1',
      ssl: false,
      port: 8080,
      userName: 'admin',
      version: 'E0760',
      architecture: 'x86_64',
      state: 'online',
      stateMessage: null,
      lastSyncAt: null,
      createdAt: at,
    }));
    query(listBackupHosts, () => ({ items: this.backupHosts, nextCursor: null }));
    query(getPool, ({ poolId }): PoolView => {
      if (!this.pools.has(poolId)) return missing('NOT_FOUND', `there is no pool ${poolId}`);
      const location = { kind: 'fs', path: '/pool' } as const;
      const size = { capacityBytes: null, freeBytes: null };
      return { id: poolId, name: 'pool', type: 'standard', location, ...size, createdAt: at };
    });
  };

  snapshotEngine = ({ query, command }: Script): void => {
    query(getPoint, ({ pointId }) => this.points.get(pointId) ?? missing('NOT_FOUND', `no point ${pointId}`));
    query(previewRestores, ({ items }) => ({
      items: items.map(({ target: { cpuCount = 1, memoryMiB = 64, nics = [], ...target } }) => ({
        outline: { cpuCount, coresPerSocket: 1, memoryMiB, nics, preallocation: 'thin' as const, disks: [] },
        refusals: this.refusals.filter(({ details }) => details['vmName'] === target.vmName),
        notices: ['MAY_CLASH' as const],
      })),
    }));
    command(protectVm, ({ itemId, runId, vmId }) => {
      this.asked.push({ itemId, runId, vmId, pointId: null, target: null });
    });
    command(restoreVm, ({ itemId, runId, pointId, target }) => {
      this.asked.push({ itemId, runId, vmId: null, pointId, target });
    });
    query(listPointsToVerify, ({ limit, cursor = '0' }) => {
      const all = [...this.toVerify];
      const end = Number(cursor) + limit;
      const items = all
        .slice(Number(cursor), end)
        .map((pointId) => ({ pointId, vmId: this.vmOfPoints, vmName: 'db' }));
      return { items, nextCursor: end < all.length ? String(end) : null };
    });
    query(listPointsToCopy, ({ limit }) => {
      const items = [...this.toCopy].slice(0, limit).map(([pointId, chain]) => {
        const chainId = idFrom<ChainId>(this.vmOfPoints, chain);
        return { pointId, chainId, vmId: this.vmOfPoints, vmName: 'db' };
      });
      return { items, nextCursor: null };
    });
    command(copyPoint, ({ itemId, runId, pointId }) => {
      this.asked.push({ itemId, runId, vmId: null, pointId, target: null });
    });
    command(verifyPoint, ({ itemId, runId, pointId }) => {
      this.asked.push({ itemId, runId, vmId: null, pointId, target: null });
    });
    command(stopItem, async ({ itemId }) => {
      this.stopped.push(itemId);
      if (!this.deaf.has(itemId)) await this.tell(itemId, 'stopped');
    });
  };

  licensingAuth = ({ query }: Script): void => {
    query(checkFeatures, ({ features }) => ({
      missing: features.filter((feature) => !this.licensed.has(feature)),
    }));
  };

  dataMover = ({ command }: Script): void => {
    command(runHook, ({ transferId, spec, stopAsked: isStopped = false }) => {
      this.hooks.push({ transferId, spec, isStopped });
    });
  };

  gateway = ({ event }: Script): void => {
    event(runChanged, (run) => void this.news.push(run));
    event(alertRaised, (alert) => void this.alerts.push(alert));
  };

  /** The n-th distinct item that was asked for by a run. */
  async askedFor(runId: string, count: number): Promise<Asked[]> {
    return until(() => {
      const items = new Map(this.asked.filter((one) => one.runId === runId).map((one) => [one.itemId, one]));
      return items.size >= count ? [...items.values()] : null;
    });
  }

  /** The hook of a run, once it was asked for, or was told to stop. */
  async hookOf(runId: string, hook: HookKind, isStopped = false): Promise<AskedHook> {
    return until(
      () =>
        this.hooks.find(
          ({ spec, ...one }) => spec.runId === runId && spec.hook === hook && one.isStopped === isStopped,
        ),
      60_000,
    );
  }

  /** The data-mover tells of a hook that it was asked for. */
  async tellHook(
    runId: RunId,
    hook: HookKind,
    state: HookChanged['state'],
    more: Partial<HookChanged> = {},
  ): Promise<void> {
    const { transferId } = await this.hookOf(runId, hook);
    this.#told += 1;
    const result = { fault: null, exitCode: 0, httpStatus: null, output: [], droppedBytes: 0 };
    const change: HookChanged = {
      ...{ transferId, runId, hook, state, reasons: [], fault: null },
      result: state === 'succeeded' ? result : null,
      at: new Date(this.#told).toISOString(),
      ...more,
    };
    await this.engine.client.publish(this.contractOf(hookChanged), change, { messageId: newId() });
  }

  /** snapshot-engine tells of an item. */
  async tell(itemId: RunItemId, phase: ItemChanged['phase'], more: Partial<ItemChanged> = {}): Promise<void> {
    const asked = this.asked.find((one) => one.itemId === itemId);
    if (!asked) throw new Error(`item ${itemId} was not asked for`);
    this.#told += 1;
    const change: ItemChanged = {
      itemId,
      runId: asked.runId,
      kind: asked.pointId ? 'restore' : 'backup',
      phase,
      pointId: asked.pointId,
      restoredVmId: null,
      imageId: null,
      capturedAt: null,
      progress: [],
      reasons: [],
      fault: null,
      at: new Date(this.#told).toISOString(),
      ...more,
    };
    await this.engine.client.publish(this.contractOf(itemChanged), change, { messageId: newId() });
  }
}

const missing = (code: 'NOT_FOUND' | 'VM_NOT_FOUND', message: string): never => {
  throw new Fault(code, message);
};

/** The service as a process of its own over real NATS and Postgres, among played peers. */
export class RunningScheduler {
  readonly peers = new Peers();
  service!: RunningProcess;
  readonly #others: RunningProcess[] = [];
  #played: ScriptedService[] = [];

  private constructor(
    readonly nats: NatsServer,
    readonly postgres: PostgresServer,
    private readonly env: Record<string, string> &
      Record<'CASVAULT_DATABASE_URL' | 'CASVAULT_SEALING_KEY', string>,
  ) {}

  /** As the gateway seals. */
  get sealer(): Sealer {
    return createSealer(this.env.CASVAULT_SEALING_KEY);
  }

  /** With `contractOf`: among peers of another release. */
  static async start(contractOf: ContractOf = (contract) => contract): Promise<RunningScheduler> {
    const nats = await startNats();
    const postgres = await startPostgres();
    const rolePrefix = `t${randomBytes(4).toString('hex')}`;
    const scheduler = new RunningScheduler(nats, postgres, {
      CASVAULT_NATS_URL: nats.url,
      CASVAULT_DATABASE_URL: await provisionSchema(postgres.adminUrl, 'scheduler', { rolePrefix }),
      CASVAULT_SEALING_KEY: randomBytes(32).toString('base64'),
      CASVAULT_DRAIN_SECONDS: '5',
      CASVAULT_SCHEDULER_GROUP_RUNS: 'single=1',
      CASVAULT_HTTP_PORT: String(await freePort()),
    });
    const { peers } = scheduler;
    peers.contractOf = contractOf;
    const logger = new TestLogger();
    const play = (service: string, script: (script: Script) => void) =>
      ScriptedService.start({ url: nats.url, service, logger }, inContracts(contractOf, script));
    peers.engine = await play('snapshot-engine', peers.snapshotEngine);
    scheduler.#played = [
      await play('gateway', peers.gateway),
      peers.engine,
      await play('inventory', peers.inventory),
      await play('data-mover', peers.dataMover),
      await play('licensing-auth', peers.licensingAuth),
    ];
    await scheduler.boot();
    return scheduler;
  }

  /** A way of its own to the database of the service; whoever opens it destroys it. */
  openDatabase(): Promise<DataSource> {
    const url = this.env['CASVAULT_DATABASE_URL'] ?? '';
    return openDatabase({ ...schedulerDatabase, url, schema: 'scheduler', logger: new TestLogger() });
  }
  async boot(): Promise<void> {
    this.service = spawnService(main, { env: this.env });
    await this.service.sees(/service started/);
  }
  /** One more replica beside the service. */
  async replica(): Promise<RunningProcess> {
    const { CASVAULT_HTTP_PORT: _, ...env } = this.env;
    const process = spawnService(main, { env });
    this.#others.push(process);
    await process.sees(/service started/);
    return process;
  }
  async scrape(): Promise<Scrape> {
    const answer = await fetch(`http://127.0.0.1:${this.env['CASVAULT_HTTP_PORT']}/metrics`);
    return parsePrometheusText(await answer.text());
  }
  get client(): ScriptedService['client'] {
    return this.#played[0]!.client;
  }
  async stop(): Promise<void> {
    for (const other of this.#others) await other.stop();
    await this.service.stop();
    for (const played of this.#played) await played.stop();
    await this.nats[Symbol.asyncDispose]();
    await this.postgres[Symbol.asyncDispose]();
  }
}
