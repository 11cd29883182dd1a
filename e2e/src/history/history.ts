import { setTimeout as sleep } from 'node:timers/promises';
import { type JobId, type Point, type PointId, type RunDetail, type Vm } from '@casvault/contracts';
import { labBackup } from '@casvault/stack';
import { type World } from '../world.js';
import { deletePoints } from './deletion.js';
import { Idle, LabMachine } from './lab-machine.js';
import { differences, type KeptPoint } from './pool-reader.js';
import { Random } from './random.js';

/** How often each step is taken, of all. */
const weights = {
  write: 66,
  backUp: 11,
  backUpUnderWrites: 3,
  newFull: 1,
  deleteOne: 2,
  deleteCascade: 1,
  rollBack: 2,
  powerCycle: 3,
  kill: 2,
  grow: 2,
  addDisk: 1,
  migrate: 2,
  foreignSnapshot: 4,
} as const;
export type StepName = keyof typeof weights;
export const stepNames = Object.keys(weights) as StepName[];

/** As many transfers at once as histories: none waits for another's. What disks hold is written down beside them, so nothing is observed. */
export const historyWorld = {
  vms: [],
  observed: false,
  env: { 'mover-1': { CASVAULT_DATA_MOVER_TRANSFERS: '3' } },
} as const;

export interface HistoryOptions {
  readonly world: World;
  readonly pool: { readonly id: string; readonly path: string };
  readonly seed: number;
  /** Told every step when it has ended. */
  readonly onStep?: (line: string) => void;
}

/**
 * D2, D6, G1-G3, F8, R7, R14 together. One machine's life: steps drawn by a seed, each carried out on real QEMU disks and through the
 * whole product, and what every point must hold written down beside it. `check` reads all surviving points out of the pool by the
 * separate reader. The same seed draws the same steps: nothing is drawn by what took how long. Memory: 1/512 of the disks a point.
 */
export class History {
  readonly #options: HistoryOptions;
  readonly #random: Random;
  readonly #machine: LabMachine;
  readonly #vm: Vm;
  readonly #jobId: JobId;
  readonly #points = new Map<PointId, KeptPoint & { readonly point: Point }>();
  readonly #done = new Map<StepName, number>();
  /** What was done, for the one who reads a failure. */
  readonly log: string[] = [];

  private constructor(
    options: HistoryOptions,
    parts: { random: Random; machine: LabMachine; vm: Vm; jobId: JobId },
  ) {
    this.#options = options;
    this.#random = parts.random;
    this.#machine = parts.machine;
    this.#vm = parts.vm;
    this.#jobId = parts.jobId;
  }

  static async begin(options: HistoryOptions): Promise<History> {
    const { world, pool, seed } = options;
    const random = new Random(seed);
    const machine = await LabMachine.create(world.trial.lab, `history-${String(seed)}`, random);
    await world.trial.api.syncPlatform(world.platform.id);
    const vm = await world.trial.vm(world.platform, machine.name);
    const job = await world.trial.api.createJob({
      name: machine.name,
      definition: { ...labBackup, vmIds: [vm.id], poolId: pool.id, pointKind: 'incremental' } as never,
      plans: [{ type: 'manual' }],
    });
    return new History(options, { random, machine, vm, jobId: job.id });
  }

  /** How often each step found something to do. */
  get done(): ReadonlyMap<StepName, number> {
    return this.#done;
  }

  /** The points that must be there, and what they must hold. */
  get points(): readonly KeptPoint[] {
    return [...this.#points.values()];
  }

  /** Throws with the history so far when a step does not end as it must. */
  async run(steps: number): Promise<void> {
    for (let i = 1; i <= steps; i += 1) {
      const name = this.#random.weighted(weights);
      const began = performance.now();
      try {
        const told = await this.#steps[name]();
        if (!(told instanceof Idle)) this.#done.set(name, (this.#done.get(name) ?? 0) + 1);
        const said = told instanceof Idle ? `nothing: ${told.why}` : told;
        const line = `${String(i)} ${name} (${String(Math.round(performance.now() - began))} ms)`;
        this.log.push(said === '' ? line : `${line}: ${said}`);
        this.#options.onStep?.(this.log.at(-1) ?? '');
      } catch (error) {
        throw new Error(this.#told(`step ${String(i)}, ${name}: ${(error as Error).message}`), {
          cause: error,
        });
      }
    }
  }

  /** Every surviving point, and no other, is there and holds the exact bytes of its instant; how many there are. */
  async check(): Promise<number> {
    const { world, pool } = this.#options;
    const listed = await world.trial.api.listPoints({ vmId: this.#vm.id, state: 'available' });
    const names = new Set(listed.map(({ id }) => id));
    const lost = [...this.#points.keys()].filter((id) => !names.has(id)).map((id) => `point ${id} is lost`);
    const stray = listed
      .filter(({ id }) => !this.#points.has(id))
      .map(({ id }) => `point ${id} should not be there`);
    const found = [...lost, ...stray, ...(await differences(pool.path, this.points))];
    if (found.length > 0) throw new Error(this.#told(found.join('\n')));
    return listed.length;
  }

  #told(what: string): string {
    const { seed } = this.#options;
    const replay = `make soak-lab SEEDS=1 SEED=${String(seed)}`;
    return `seed ${String(seed)} (${replay}): ${what}\n${this.log.join('\n')}`;
  }

  readonly #steps: Readonly<Record<StepName, () => Promise<string | Idle>>> = {
    write: () => this.#machine.write(),
    backUp: () => this.#backUp('incremental'),
    backUpUnderWrites: () => this.#backUp('incremental', this.#random.between(2, 6)),
    newFull: () => this.#backUp('full'),
    deleteOne: () => this.#delete('single'),
    deleteCascade: () => this.#delete('cascade'),
    rollBack: () => this.#rollBack(),
    powerCycle: async () => {
      if (this.#machine.running) await this.#machine.powerOff();
      else await this.#machine.start();
      return this.#machine.running ? 'on' : 'off';
    },
    kill: () => this.#machine.kill(),
    grow: () => this.#machine.grow(),
    addDisk: () => this.#machine.addDisk(),
    migrate: () => this.#machine.migrate(),
    foreignSnapshot: () => this.#machine.foreignSnapshot(),
  };

  /** `bursts` of writes follow as soon as the instant is fixed: nothing of them may get into the point. */
  async #backUp(pointKind: 'full' | 'incremental', bursts = 0): Promise<string> {
    const { api } = this.#options.world.trial;
    const instant = this.#machine.instant();
    const drawn = Array.from({ length: this.#machine.running ? bursts : 0 }, () => this.#machine.draw());
    const run = await api.startRun(this.#jobId, { pointKind });
    if (drawn.length > 0) await this.#untilCaptured(run.id);
    for (const burst of drawn) await this.#machine.write(burst);
    const point = await this.#pointOf(await api.watchRun(run.id, () => undefined));
    this.#points.set(point.id, { point, instant });
    const disks = point.disks.map((disk) => {
      const how = disk.tracked ? 'tracked' : disk.reasons.join('+') || 'in full';
      return `${disk.target} ${String(disk.readBytes)} ${how}`;
    });
    return `${point.kind} ${point.id} ${disks.join(', ')}`;
  }

  async #untilCaptured(runId: RunDetail['id']): Promise<void> {
    for (;;) {
      const run = await this.#options.world.trial.api.getRun(runId);
      const phase = run.items[0]?.phase;
      if (run.finishedAt !== null || phase === 'captured' || phase === 'transferring') return;
      await sleep(25);
    }
  }

  async #pointOf(run: RunDetail): Promise<Point> {
    const [item] = run.items;
    if (run.state !== 'succeeded' || item?.pointId === null || item?.pointId === undefined)
      throw new Error(`the run ended ${run.state}: ${JSON.stringify(item?.fault ?? null)}`);
    return this.#options.world.trial.api.getPoint(item.pointId);
  }

  async #delete(mode: 'single' | 'cascade'): Promise<string | Idle> {
    const chosen = this.#random.pick([...this.#points.keys()]);
    if (chosen === undefined || this.#points.size < 3) return new Idle('too few points');
    const gone = await deletePoints(this.#options.world.trial.api, [chosen], mode);
    const expected = mode === 'single' ? new Set([chosen]) : this.#dependants(chosen);
    if ([...gone].sort().join() !== [...expected].sort().join())
      throw new Error(`deleted ${gone.join()}, not ${[...expected].join()}`);
    for (const id of gone) this.#points.delete(id);
    return `${String(gone.length)} points from ${chosen}`;
  }

  /** By the parents that the points had when they were made, over those that went from the middle since. */
  #dependants(id: PointId): Set<PointId> {
    const chainId = this.#points.get(id)?.point.chainId;
    const all = [...this.#points.values()].filter(({ point }) => point.chainId === chainId);
    const from = all.findIndex(({ point }) => point.id === id);
    return new Set(all.slice(from).map(({ point }) => point.id));
  }

  /** To a point of the disks that there are now. */
  async #rollBack(): Promise<string | Idle> {
    const sizesOf = (instant: KeptPoint['instant']): string =>
      JSON.stringify([...instant].map(([target, { sizeBytes }]) => [target, sizeBytes]));
    const now = sizesOf(this.#machine.instant());
    const fitting = [...this.#points.values()].filter(({ instant }) => sizesOf(instant) === now);
    const chosen = this.#random.pick(fitting);
    if (chosen === undefined) return new Idle('no point of these disks');
    if (!(await this.#machine.isPlain())) return new Idle("somebody's snapshot lies on the disks");
    await this.#machine.isUp();
    const { api } = this.#options.world.trial;
    const run = await api.rollBack(chosen.point.id, {
      confirm: this.#vm.name,
      // At the point somebody's snapshot may have lain over the disks, since merged back into them.
      acceptMoved: true,
    });
    const ended = await api.watchRun(run.id, () => undefined);
    if (ended.state !== 'succeeded')
      throw new Error(`it ended ${ended.state}: ${JSON.stringify(ended.items)}`);
    this.#machine.isBack(chosen.instant);
    const ran = this.#machine.running;
    await this.#machine.refresh();
    if (this.#machine.running !== ran)
      throw new Error(
        `the machine ran: ${String(ran)}, now: ${String(!ran)}: ${JSON.stringify(ended.items)}`,
      );
    return `to ${chosen.point.id}`;
  }
}
