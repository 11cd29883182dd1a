import { Fault } from '@casvault/contracts';
import { type Attempt } from './engine.js';
import { type Oracle } from './oracle.js';
import { type ModelDisk } from './platform.js';
import { type ModelPool } from './pool.js';
import { SimProcess } from './process.js';
import { type Random } from './random.js';
import {
  startController,
  startInventory,
  startScheduler,
  startSnapshotEngine,
  type CatalogueUser,
  type Parts,
} from './services.js';
import { ModelWorker, newWorkerId } from './worker.js';
import { type World } from './world.js';

type User = ReturnType<typeof startScheduler>;

export interface ProcessesParts extends Parts {
  readonly pool: ModelPool;
  readonly oracle: Oracle;
  /** Nobody stays dead for long after it. */
  readonly faultsEnd: number;
}

const day = 24 * 3_600_000;

/** Services and hosts whose clocks are a day apart. Replicas of one service share a clock to a second. */
export const clockSkew = ({ faults }: World): number =>
  faults.kinds.has('skew') ? faults.of('skew').whole(-day, day) : 0;

/** The processes of all services and of the workers: each is started again whenever it has died. */
export class Processes {
  deaths = 0;
  readonly #all = new Set<SimProcess>();
  readonly #schedulers = new Map<SimProcess, User>();
  readonly #engines = new Map<SimProcess, CatalogueUser>();
  #schedulerAheadMs = 0;

  constructor(
    private readonly parts: ProcessesParts,
    private readonly random: Random,
  ) {}

  /** Rows are dated by the service that makes them. */
  get schedulerAheadMs(): number {
    return this.#schedulerAheadMs;
  }

  boot(): void {
    const { parts, random } = this;
    const replicas = random.whole(1, 2);
    this.#service('scheduler', replicas, (process) => {
      this.#schedulerAheadMs = process.aheadMs;
      this.#schedulers.set(process, startScheduler(process, parts));
    });
    this.#service('snapshot-engine', replicas, (process) => {
      this.#engines.set(process, startSnapshotEngine(process, parts));
    });
    this.#service('controller', replicas, (process) => startController(process, parts));
    this.#service('inventory', 1, (process) => startInventory(process, parts));
    for (let i = 0; i < random.whole(1, 3); i += 1) this.#worker(`worker-${i + 1}`);
  }

  /** The pauses of all end. */
  wake(): void {
    for (const process of this.#all) process.wake();
  }

  /** A request of a user to one of the snapshot engines. */
  asKeeper(ask: (user: CatalogueUser) => Promise<unknown>): void {
    const [chosen] = [...this.#engines].filter(([process]) => process.isAlive);
    if (!chosen) return;
    const [process, engine] = chosen;
    process.enter(() => {
      ask(engine).catch((error: unknown) =>
        this.parts.installation.world.trace('USER', `is refused: ${Fault.from(error).message}`),
      );
    });
  }

  /** A request of a user to one of the schedulers; what fails is not tried again. */
  asUser(ask: (user: User) => Promise<void>): void {
    const [chosen] = [...this.#schedulers].filter(([process]) => process.isAlive);
    if (!chosen) return;
    const [process, user] = chosen;
    process.enter(() => {
      ask(user).catch((error: unknown) =>
        this.parts.installation.world.trace('USER', `is refused: ${String(error)}`),
      );
    });
  }

  #service(name: string, replicas: number, start: (process: SimProcess) => void): void {
    const skew = clockSkew(this.parts.installation.world);
    for (let i = 0; i < replicas; i += 1)
      this.#process(`${name}-${i + 1}`, skew + this.random.whole(0, 1_000), start);
  }

  #worker(name: string): void {
    const { bus, installation, pool, oracle } = this.parts;
    const workerId = newWorkerId();
    this.#process(name, clockSkew(installation.world), (process) => {
      const engine = {
        process,
        pool,
        disks: installation.disks,
        onRollbackWrite: (id: string, disk: ModelDisk) => oracle.onRollbackWrite(id, disk),
        onAttempt: (attempt: Attempt) => oracle.onAttempt(attempt),
      };
      const worker = new ModelWorker(process, workerId, bus.clientOf(process), engine);
      bus.consumeNudges({ process, hasRoom: worker.hasRoom, take: worker.take });
    });
  }

  /** Started again whenever it has died. */
  #process(name: string, aheadMs: number, start: (process: SimProcess) => void): void {
    const { world } = this.parts.installation;
    const { time, faults } = world;
    const again = () => {
      this.deaths += 1;
      this.#all.delete(process);
      this.#schedulers.delete(process);
      this.#engines.delete(process);
      const delay = faults.of('crash').pick([500, 5_000, 45_000]);
      const latest = Math.max(0, this.parts.faultsEnd - time.now) + 500;
      time.after(Math.min(delay, latest), () => this.#process(name, aheadMs, start));
    };
    const process = new SimProcess(world, name, aheadMs, again);
    this.#all.add(process);
    start(process);
  }
}
