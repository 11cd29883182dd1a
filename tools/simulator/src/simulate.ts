import 'reflect-metadata';
import {
  Fault,
  newId,
  rollbackTargetSchema,
  transferOptionsSchema,
  type DeletionId,
  type JobId,
  type PlatformId,
  type PointId,
  type PoolId,
  type Retry,
  type RunId,
  type RunItemId,
  type VerificationId,
  type VmId,
} from '@casvault/contracts';
import { Bus } from './bus.js';
import { DiskServices } from './disk-service.js';
import { type Attempt } from './engine.js';
import { Faults, type FaultKind } from './faults.js';
import { type Installation } from './inventory.js';
import { InventoryRows } from './inventory-rows.js';
import { Oracle } from './oracle.js';
import { ModelPlatform, type ModelDisk, type ModelHost, type ModelVm } from './platform.js';
import { ModelPool } from './pool.js';
import { SimProcess } from './process.js';
import { Random } from './random.js';
import { type RunRow } from './rows.js';
import {
  Databases,
  type CatalogueUser,
  startController,
  startInventory,
  startScheduler,
  startSnapshotEngine,
} from './services.js';
import { ModelWorker, newWorkerId } from './worker.js';
import { World } from './world.js';

export interface SimulationOptions {
  readonly seed: number;
  /** Kinds of faults to leave out. */
  readonly without?: ReadonlySet<FaultKind>;
  readonly isTraced?: boolean;
}
export interface SimulationResult {
  readonly seed: number;
  readonly violation: string | null;
  readonly kinds: readonly FaultKind[];
  readonly trace: readonly string[];
  readonly steps: number;
  readonly points: number;
  readonly restored: number;
  readonly rolledBack: number;
  readonly deleted: number;
  readonly verified: number;
  readonly tracked: number;
  readonly lies: number;
  readonly snapshots: number;
  readonly poweredOff: number;
  readonly failed: number;
  readonly retried: number;
  readonly deaths: number;
  readonly virtualSeconds: number;
}

type User = ReturnType<typeof startScheduler>;

/** R8, R9: what incremental backups of running VMs hang on. */
const releases = ['E0785', 'E0785', 'E0785', 'E0760', 'E0710'] as const;
const minute = 60_000;
const day = 24 * 60 * minute;
const retries: readonly [Retry, ...Retry[]] = [
  { count: 0, intervalMinutes: 10 },
  { count: 1, intervalMinutes: 0 },
  { count: 2, intervalMinutes: 1 },
];
/** G2: everything has ended so long after the faults, and is clean so long after them. */
const settleMs = 5 * minute;
const cleanMs = 10 * minute;

/** A VM's disks one after the other, each by one connection. */
const oneLane = { disksPerVm: 1, streamsPerDisk: 1 } as const;

/** One installation, one seed, one run: faults for some minutes, then none, then everything must have settled. */
export const simulate = async (options: SimulationOptions): Promise<SimulationResult> =>
  new Simulation(options).run();

class Simulation {
  readonly #seed: number;
  readonly #random: Random;
  readonly #world: World;
  readonly #bus: Bus;
  readonly #pool: ModelPool;
  readonly #here: Installation;
  readonly #databases: Databases;
  readonly #oracle: Oracle;
  readonly #processes = new Set<SimProcess>();
  readonly #schedulers = new Map<SimProcess, User>();
  readonly #engines = new Map<SimProcess, CatalogueUser>();
  readonly #stopped = new Map<string, number>();
  readonly #faultsEnd: number;
  readonly #retry: Retry;
  /** Rows are dated by the service that makes them. */
  #schedulerSkew = 0;
  #steps = 0;
  #deaths = 0;

  constructor({ seed, without = new Set(), isTraced = false }: SimulationOptions) {
    this.#seed = seed;
    this.#random = new Random(seed);
    const faults = new Faults(this.#random.fork('faults'), without);
    this.#world = new World(this.#random.fork('world'), faults, isTraced);
    this.#bus = new Bus(this.#world);
    this.#pool = new ModelPool(this.#world);
    const platform = new ModelPlatform(this.#world, this.#random.pick(releases));
    const disks = new DiskServices(this.#world, platform);
    this.#here = {
      world: this.#world,
      platformId: newId<PlatformId>(),
      platform,
      disks,
      pool: {
        id: newId<PoolId>(),
        name: 'pool',
        type: 'standard',
        location: { kind: 'fs', path: '/pool' },
        createdAt: '2026-01-01T00:00:00.000Z',
      },
      inventory: new InventoryRows(),
    };
    this.#here.inventory.nextSyncAt = this.#random.whole(0, 300_000);
    this.#oracle = new Oracle({
      world: this.#world,
      platform,
      disks,
      pool: this.#pool,
      isShutDown: (vm) => this.#here.inventory.isShutDown(vm.vmId),
    });
    this.#databases = new Databases(this.#world, (step) => {
      this.#steps += 1;
      this.#oracle.onStep(step, this.#databases);
    });
    this.#faultsEnd = this.#random.whole(60, 360) * 1_000;
    this.#retry = this.#random.fork('retries').pick(retries);
  }

  async run(): Promise<SimulationResult> {
    const { time } = this.#world;
    this.#furnish();
    this.#boot();
    this.#plan();
    const failed = () => this.#world.violation !== null;
    await time.run(this.#faultsEnd, failed);
    this.#calm();
    const isSettled = () => failed() || this.#open().length === 0;
    const retriesMs = this.#retry.count * (this.#retry.intervalMinutes + 1) * minute;
    await time.run(this.#faultsEnd + settleMs + retriesMs, isSettled);
    this.#world.require(
      this.#open().length === 0,
      () => `5 minutes, and those of retries, after the faults: ${this.#open().join('; ')}`,
    );
    await time.run(this.#faultsEnd + cleanMs + retriesMs, failed);
    if (!failed()) this.#oracle.clean(this.#databases);
    return this.#result();
  }

  #open(): readonly string[] {
    return this.#oracle.settled(this.#databases);
  }

  #result(): SimulationResult {
    const { protections, restores, rollbacks, deletions, verifications } = this.#databases;
    const items = [...protections.values(), ...restores.values(), ...rollbacks.values()];
    const made = [...protections.values()].filter(({ phase }) => phase === 'succeeded');
    return {
      seed: this.#seed,
      violation: this.#world.violation?.message ?? null,
      kinds: [...this.#world.faults.kinds],
      trace: this.#world.lines,
      steps: this.#steps,
      points: made.length,
      restored: [...restores.values()].filter(({ phase }) => phase === 'succeeded').length,
      rolledBack: [...rollbacks.values()].filter(({ phase }) => phase === 'succeeded').length,
      deleted: [...deletions.values()].filter(({ phase }) => phase === 'deleted').length,
      verified: [...verifications.values()].filter(({ phase }) => phase === 'sound').length,
      tracked: made.filter(({ result }) => result?.disks.some(({ tracked }) => tracked)).length,
      lies: made.filter(({ result }) =>
        result?.disks.some(({ reasons }) => reasons.includes('TRACKER_WRONG')),
      ).length,
      snapshots: made.filter(({ plan }) => plan?.method.endsWith('snapshot')).length,
      poweredOff: made.filter(({ plan }) => plan?.method === 'power-off').length,
      failed: items.filter(({ phase }) => phase === 'failed').length,
      retried: [...this.#databases.scheduler.items.values()].filter(({ attempt }) => attempt > 1).length,
      deaths: this.#deaths,
      virtualSeconds: this.#world.time.now / 1_000,
    };
  }

  // ---- the installation

  #furnish(): void {
    const { platform } = this.#here;
    const random = this.#random;
    const hosts = [0, 1].map(() => platform.addHost(this.#skew(), random.chance(0.65)));
    const count = random.whole(2, 4);
    for (let i = 0; i < count; i += 1) {
      const host = hosts[i % hosts.length];
      if (host) this.#addVm(host, i);
    }
  }

  #addVm(host: ModelHost, number: number): void {
    const { platform } = this.#here;
    const random = this.#random;
    const vm = platform.addVm(host, `vm${number + 1}`, random.chance(0.7) ? 'running' : 'stopped');
    for (const target of random.chance(0.4) ? ['vda', 'vdb'] : ['vda']) {
      const disk = platform.addDisk(vm, {
        target,
        blocks: random.whole(6, 20),
        format: random.chance(0.15) ? 'raw' : 'qcow2',
        mode: random.chance(0.15) ? 'independent-persistent' : 'dependent',
      });
      for (let block = 0; block < disk.blocks.length; block += 1)
        if (random.chance(0.7)) platform.write(disk, block);
    }
  }

  /** Services and hosts whose clocks are a day apart. Replicas of one service share a clock to a second. */
  #skew(): number {
    const { faults } = this.#world;
    return faults.kinds.has('skew') ? faults.of('skew').whole(-day, day) : 0;
  }

  #boot(): void {
    const parts = { bus: this.#bus, databases: this.#databases, installation: this.#here };
    const replicas = this.#random.whole(1, 2);
    this.#service('scheduler', replicas, (process) => {
      this.#schedulerSkew = process.aheadMs;
      this.#schedulers.set(process, startScheduler(process, parts));
    });
    this.#service('snapshot-engine', replicas, (process) => {
      this.#engines.set(process, startSnapshotEngine(process, parts));
    });
    this.#service('controller', replicas, (process) => startController(process, parts));
    this.#service('inventory', 1, (process) => startInventory(process, parts));
    for (let i = 0; i < this.#random.whole(1, 3); i += 1) this.#worker(`worker-${i + 1}`);
  }

  #service(name: string, replicas: number, start: (process: SimProcess) => void): void {
    const skew = this.#skew();
    for (let i = 0; i < replicas; i += 1)
      this.#process(`${name}-${i + 1}`, skew + this.#random.whole(0, 1_000), start);
  }

  #worker(name: string): void {
    const workerId = newWorkerId();
    this.#process(name, this.#skew(), (process) => {
      const engine = {
        process,
        pool: this.#pool,
        disks: this.#here.disks,
        onRollbackWrite: (id: string, disk: ModelDisk) => this.#oracle.onRollbackWrite(id, disk),
        onAttempt: (attempt: Attempt) => this.#oracle.onAttempt(attempt),
      };
      const worker = new ModelWorker(process, workerId, this.#bus.clientOf(process), engine);
      this.#bus.consumeNudges({ process, hasRoom: worker.hasRoom, take: worker.take });
    });
  }

  /** Started again whenever it has died. */
  #process(name: string, aheadMs: number, start: (process: SimProcess) => void): void {
    const { time, faults } = this.#world;
    const again = () => {
      this.#deaths += 1;
      this.#processes.delete(process);
      this.#schedulers.delete(process);
      this.#engines.delete(process);
      const delay = faults.of('crash').pick([500, 5_000, 45_000]);
      const latest = Math.max(0, this.#faultsEnd - time.now) + 500;
      time.after(Math.min(delay, latest), () => this.#process(name, aheadMs, start));
    };
    const process = new SimProcess(this.#world, name, aheadMs, again);
    this.#processes.add(process);
    start(process);
  }

  #calm(): void {
    this.#world.trace('FAULTS', 'end');
    this.#world.faults.active = false;
    for (const process of this.#processes) process.wake();
    for (const host of this.#here.platform.hosts) host.awayUntil = 0;
  }

  // ---- what happens to it

  #plan(): void {
    const random = this.#random;
    const jobs = random.whole(1, 2);
    for (let i = 0; i < jobs; i += 1) this.#at(random.whole(0, 60_000), () => this.#backup());
    this.#every(2_000, 15_000, () => this.#guestWrites());
    this.#every(10_000, 60_000, () => this.#restore());
    this.#every(20_000, 90_000, () => this.#rollBack());
    this.#every(15_000, 60_000, () => this.#delete());
    this.#every(30_000, 120_000, () => this.#hold());
    this.#every(20_000, 90_000, () => this.#verify());
    this.#every(60_000, 120_000, () => this.#backup());
    if (this.#world.faults.kinds.has('hosts')) this.#every(20_000, 90_000, () => this.#hostGoesAway());
    if (this.#world.faults.kinds.has('platform')) this.#every(30_000, 120_000, () => this.#loseCapture());
  }

  #at(ms: number, happen: () => void): void {
    this.#world.time.after(ms, () => {
      if (this.#world.faults.active) happen();
    });
  }
  #every(low: number, high: number, happen: () => void): void {
    this.#at(this.#random.whole(low, high), () => {
      happen();
      this.#every(low, high, happen);
    });
  }

  #backup(): void {
    const random = this.#random;
    const vms = this.#here.platform.vms.filter(({ marker }) => marker === null);
    const first = vms[0];
    if (!first) return;
    const definition: RunRow['definition'] = {
      kind: 'backup',
      vmIds: [first.vmId],
      hostIds: [],
      excludedVmIds: [],
      poolId: this.#here.pool.id,
      group: 'default',
      parallel: { vms: random.whole(1, 3), vmsPerHost: random.whole(1, 2), ...oneLane },
      pointKind: random.pick(['full', 'incremental', 'incremental']),
      cbt: { enable: true, fallback: random.pick(['full', 'skip-alert', 'skip-silent']) },
      powerOff: random.pick([false, true]),
      network: { preferred: 'auto' },
      reserve: { freePercent: null, freeGiB: null },
      retry: this.#retry,
      options: transferOptionsSchema.parse({ reconnect: { minutes: random.pick([1, 10]) } }),
    };
    this.#startRun(
      definition,
      vms.map((vm) => ({ vm, host: vm.host.hostId })),
    );
  }

  #restore(): void {
    const random = this.#random;
    const running = [...this.#databases.restores.values()].length;
    const chosen = random.pick(this.#databases.catalogue.available);
    const host = random.pick(this.#here.platform.hosts);
    if (!chosen || !host || running >= 3) return;
    const target = {
      platformId: this.#here.platformId,
      hostId: host.hostId,
      storageName: 'local',
      vmName: `restored-${this.#databases.scheduler.items.size}`,
      powerOn: random.chance(0.5),
    };
    const definition: RunRow['definition'] = {
      kind: 'restore',
      items: [{ pointId: chosen.id, target }],
      group: 'default',
      parallel: { vms: 2, vmsPerHost: 2, channels: 2, ...oneLane },
      network: { preferred: 'auto' },
      options: transferOptionsSchema.parse({}),
    };
    this.#startRun(definition, [{ pointId: chosen.id, target, host: host.hostId }]);
  }

  #rollBack(): void {
    const random = this.#random;
    const point = random.pick(this.#databases.catalogue.available);
    const vm = this.#here.platform.vms.find(({ vmId }) => vmId === point?.vmId);
    if (!point || !vm || this.#databases.rollbacks.size >= 3) return;
    const target = rollbackTargetSchema.parse({ startAfter: random.chance(0.3) });
    const definition: RunRow['definition'] = {
      kind: 'rollback',
      items: [{ pointId: point.id, target }],
      group: 'default',
      parallel: { vms: 2, vmsPerHost: 2, channels: 2, ...oneLane },
      network: { preferred: 'auto' },
      options: transferOptionsSchema.parse({ reconnect: { minutes: random.pick([1, 10]) } }),
    };
    this.#startRun(definition, [{ pointId: point.id, target, host: vm.host.hostId }]);
  }

  /** Previewed, and confirmed as long as it is refused for not being measured yet. */
  #delete(): void {
    const random = this.#random;
    const point = random.pick(this.#databases.catalogue.available);
    if (!point) return;
    const deletionId = newId<DeletionId>();
    const mode = random.pick(['single', 'cascade'] as const);
    const what = random.chance(0.2) ? { chainId: point.chainId } : { pointIds: [point.id] };
    this.#world.trace('USER', `previews deletion ${deletionId} of ${point.id} (${mode})`);
    this.#asKeeper(({ deletions }) => deletions.preview({ deletionId, mode, ...what }, 'user'));
    for (let i = 1; i <= 3; i += 1)
      this.#at(random.whole(3_000, 12_000) * i, () =>
        this.#asKeeper(({ deletions }) => deletions.confirm(deletionId, 'user')),
      );
  }

  #verify(): void {
    const random = this.#random;
    const point = random.pick(this.#databases.catalogue.available);
    if (!point) return;
    const depth = random.pick(['stored', 'content'] as const);
    const ids = { verificationId: newId<VerificationId>(), pointId: point.id };
    const request = { ...ids, depth, group: 'default' };
    this.#asKeeper(({ verifications }) => verifications.verify(request, 'user'));
  }

  #hold(): void {
    const random = this.#random;
    const point = random.pick(this.#databases.catalogue.available);
    const hold = { by: 'user', reason: 'kept', at: '2026-01-01T00:00:00.000Z' };
    if (point) this.#databases.catalogue.hold(point.id, random.chance(0.4) ? hold : null);
  }

  #asKeeper(ask: (user: CatalogueUser) => Promise<unknown>): void {
    const [chosen] = [...this.#engines].filter(([process]) => process.isAlive);
    if (!chosen) return;
    const [process, engine] = chosen;
    process.enter(() => {
      ask(engine).catch((error: unknown) =>
        this.#world.trace('USER', `is refused: ${Fault.from(error).message}`),
      );
    });
  }

  #startRun(
    definition: RunRow['definition'],
    items: readonly { vm?: ModelVm; host: string; pointId?: PointId; target?: object }[],
  ): void {
    const { scheduler } = this.#databases;
    const runId = newId<RunId>();
    this.#world.trace('USER', `starts ${definition.kind} run ${runId} of ${items.length}`);
    const createdAt = Date.parse('2026-01-01T00:00:00Z') + this.#world.time.now + this.#schedulerSkew;
    scheduler.runs.set(runId, { id: runId, jobId: newId<JobId>(), definition, createdAt, state: 'queued' });
    for (const [seq, { vm, host, pointId = null, target = null }] of items.entries())
      scheduler.items.set(
        ...itemRow(runId, seq, { vmId: vm?.vmId ?? null, host, pointId, target, kind: definition.kind }),
      );
    this.#asUser((user) => user.begin(runId));
    if (this.#world.faults.strikes('stops'))
      this.#at(this.#world.faults.of('stops').whole(1_000, 60_000), () => this.#stop(runId));
  }

  #stop(runId: RunId): void {
    this.#world.trace('USER', `stops run ${runId}`);
    this.#stopped.set(runId, this.#world.time.now);
    this.#asUser((user) => user.stop(runId));
  }

  /** A request of a user to one of the schedulers; what fails is not tried again. */
  #asUser(ask: (user: User) => Promise<void>): void {
    const [chosen] = [...this.#schedulers].filter(([process]) => process.isAlive);
    if (!chosen) return;
    const [process, user] = chosen;
    process.enter(() => {
      ask(user).catch((error: unknown) => this.#world.trace('USER', `is refused: ${String(error)}`));
    });
  }

  #guestWrites(): void {
    const random = this.#random;
    const running = this.#here.platform.vms.filter(
      ({ power, marker }) => power === 'running' && marker === null,
    );
    const disk = random.pick(random.pick(running)?.disks ?? []);
    if (!disk) return;
    for (let i = 0; i < random.whole(1, 4); i += 1)
      this.#here.platform.write(disk, random.whole(0, disk.blocks.length - 1));
  }

  #hostGoesAway(): void {
    const { faults, time } = this.#world;
    if (!faults.strikes('hosts')) return;
    const host = faults.of('hosts').pick(this.#here.platform.hosts);
    const ms = faults.of('hosts').pick([3_000, 30_000, 150_000]);
    if (!host) return;
    host.awayUntil = time.now + ms;
    this.#world.trace(host.name, `does not answer for ${ms} ms`);
  }

  #loseCapture(): void {
    const { faults } = this.#world;
    if (!faults.strikes('platform')) return;
    const vm = faults.of('platform').pick(this.#here.platform.vms);
    if (!vm) return;
    this.#world.trace('platform', `ends the capture of ${vm.name}`);
    this.#here.disks.loseCaptures(vm);
  }
}

const itemRow = (
  runId: RunId,
  seq: number,
  item: {
    vmId: VmId | null;
    host: string;
    pointId: PointId | null;
    target: object | null;
    kind: RunRow['definition']['kind'];
  },
) => {
  const id = newId<RunItemId>();
  const row = {
    id,
    runId,
    seq,
    ...item,
    vmName: 'vm',
    restoredVmId: null,
    attempt: 1,
    attemptId: id,
    notBefore: null,
    earlierFault: null,
    state: 'queued' as const,
    phase: null,
    progress: [],
    reasons: [],
    fault: null,
    doneBytes: '0',
    storedBytes: '0',
    toldAt: null,
    heardAt: null,
    startedAt: null,
    finishedAt: null,
  };
  return [id, row as unknown as Parameters<Databases['scheduler']['items']['set']>[1]] as const;
};
