import 'reflect-metadata';
import { newId, type PlatformId, type PoolId, type Retry } from '@casvault/contracts';
import { Bus } from './bus.js';
import { DiskServices } from './disk-service.js';
import { Faults, type FaultKind } from './faults.js';
import { type Installation } from './inventory.js';
import { InventoryRows } from './inventory-rows.js';
import { Occasions } from './occasions.js';
import { Oracle } from './oracle.js';
import { ModelPlatform } from './platform.js';
import { ModelPool } from './pool.js';
import { Processes } from './processes.js';
import { Random } from './random.js';
import { Databases } from './services.js';
import { Surroundings } from './surroundings.js';
import { Users } from './users.js';
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

/** R8, R9: what incremental backups of running VMs hang on. */
const releases = ['E0785', 'E0785', 'E0785', 'E0760', 'E0710'] as const;
const minute = 60_000;
const retries: readonly [Retry, ...Retry[]] = [
  { count: 0, intervalMinutes: 10 },
  { count: 1, intervalMinutes: 0 },
  { count: 2, intervalMinutes: 1 },
];
/** G2: everything has ended so long after the faults, and is clean so long after them. */
const settleMs = 5 * minute;
const cleanMs = 10 * minute;

/** One installation, one seed, one run: faults for some minutes, then none, then everything must have settled. */
export const simulate = async (options: SimulationOptions): Promise<SimulationResult> =>
  new Simulation(options).run();

class Simulation {
  readonly #seed: number;
  readonly #random: Random;
  readonly #world: World;
  readonly #pool: ModelPool;
  readonly #here: Installation;
  readonly #databases: Databases;
  readonly #oracle: Oracle;
  readonly #processes: Processes;
  readonly #occasions: Occasions;
  readonly #surroundings: Surroundings;
  readonly #users: Users;
  readonly #faultsEnd: number;
  readonly #retry: Retry;
  #steps = 0;

  constructor({ seed, without = new Set(), isTraced = false }: SimulationOptions) {
    this.#seed = seed;
    this.#random = new Random(seed);
    const faults = new Faults(this.#random.fork('faults'), without);
    this.#world = new World(this.#random.fork('world'), faults, isTraced);
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
    this.#occasions = new Occasions(this.#world, this.#random);
    this.#surroundings = new Surroundings(this.#here, this.#random);
    this.#processes = new Processes(
      {
        bus: new Bus(this.#world),
        databases: this.#databases,
        installation: this.#here,
        pool: this.#pool,
        oracle: this.#oracle,
        faultsEnd: this.#faultsEnd,
      },
      this.#random,
    );
    this.#users = new Users({
      here: this.#here,
      databases: this.#databases,
      processes: this.#processes,
      occasions: this.#occasions,
      random: this.#random,
      retry: this.#retry,
    });
  }

  async run(): Promise<SimulationResult> {
    const { time } = this.#world;
    this.#surroundings.furnish();
    this.#processes.boot();
    this.#plan();
    const failed = () => this.#world.violation !== null;
    await time.run(this.#faultsEnd, failed);
    this.#calm();
    const isSettled = this.#settled(failed);
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

  /** Only a step of a machine ends what is open. */
  #settled(failed: () => boolean): () => boolean {
    let at = -1;
    let isOpen = true;
    return () => {
      if (at !== this.#steps) isOpen = this.#open().length > 0;
      at = this.#steps;
      return failed() || !isOpen;
    };
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
      deaths: this.#processes.deaths,
      virtualSeconds: this.#world.time.now / 1_000,
    };
  }

  #calm(): void {
    this.#world.trace('FAULTS', 'end');
    this.#world.faults.active = false;
    this.#processes.wake();
    for (const host of this.#here.platform.hosts) host.awayUntil = 0;
  }

  /** What happens to it. */
  #plan(): void {
    const occasions = this.#occasions;
    const users = this.#users;
    const surroundings = this.#surroundings;
    const random = this.#random;
    const jobs = random.whole(1, 2);
    for (let i = 0; i < jobs; i += 1) occasions.at(random.whole(0, 60_000), () => users.backup());
    occasions.every(2_000, 15_000, () => surroundings.guestWrites());
    occasions.every(10_000, 60_000, () => users.restore());
    occasions.every(20_000, 90_000, () => users.rollBack());
    occasions.every(15_000, 60_000, () => users.delete());
    occasions.every(30_000, 120_000, () => users.hold());
    occasions.every(20_000, 90_000, () => users.verify());
    occasions.every(60_000, 120_000, () => users.backup());
    if (this.#world.faults.kinds.has('hosts'))
      occasions.every(20_000, 90_000, () => surroundings.hostGoesAway());
    if (this.#world.faults.kinds.has('platform'))
      occasions.every(30_000, 120_000, () => surroundings.loseCapture());
  }
}
