import { type JobId, type Point, type PointId, type RunDetail, type Vm } from '@casvault/contracts';
import { type World } from '../world.js';
import { deletePoints, rollBack, startRun } from './actions.js';
import { LabMachine } from './lab-machine.js';
import { differences, type Instant } from './pool-reader.js';
import { Random } from './random.js';

/** How often each step is taken, of all. */
const weights = {
  write: 66,
  backUp: 11,
  backUpUnderWrites: 3,
  newFull: 1,
  deleteOne: 2,
  deleteCascade: 1,
  rollBack: 1,
  powerCycle: 3,
  kill: 2,
  grow: 2,
  addDisk: 1,
  migrate: 2,
  foreignSnapshot: 4,
} as const;
type StepName = keyof typeof weights;

export interface HistoryOptions {
  readonly world: World;
  readonly pool: { readonly id: string; readonly path: string };
  readonly scratchDir: string;
  readonly seed: number;
}

interface KeptPoint {
  readonly point: Point;
  readonly instant: Instant;
}

/**
 * D2, D6, G1-G3, F8, R7, R14 together. One machine's life: steps drawn by a seed, each carried out on real QEMU disks and through the whole product, and what
 * every point must hold written down beside it. `check` reads all surviving points out of the pool by the separate reader.
 * Memory: 1/512 of the disks a point.
 */
export class History {
  readonly #options: HistoryOptions;
  readonly #random: Random;
  readonly #machine: LabMachine;
  readonly #vm: Vm;
  readonly #jobId: JobId;
  readonly #points = new Map<PointId, KeptPoint>();
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
      definition: { kind: 'backup', vmIds: [vm.id], poolId: pool.id, pointKind: 'incremental' } as never,
      plans: [{ type: 'manual' }],
    });
    return new History(options, { random, machine, vm, jobId: job.id });
  }

  /** Throws with the history so far when a step does not end as it must. */
  async run(steps: number): Promise<void> {
    for (let i = 1; i <= steps; i += 1) {
      const name = this.#random.weighted(weights);
      const began = performance.now();
      try {
        const said = await this.#steps[name]();
        const ms = Math.round(performance.now() - began);
        this.log.push(`${String(i)} ${name} (${String(ms)} ms)${said === '' ? '' : `: ${said}`}`);
      } catch (error) {
        throw new Error(this.#told(`step ${String(i)}, ${name}: ${(error as Error).message}`), {
          cause: error,
        });
      }
    }
  }

  /** Every surviving point, and no other, is there and holds the exact bytes of its instant. */
  async check(): Promise<number> {
    const { world, pool, scratchDir } = this.#options;
    const listed = await world.trial.api.listPoints({ vmId: this.#vm.id, state: 'available' });
    const found: string[] = [];
    const names = new Set(listed.map(({ id }) => id));
    for (const id of this.#points.keys()) if (!names.has(id)) found.push(`point ${id} is lost`);
    for (const point of listed) {
      const kept = this.#points.get(point.id);
      if (kept === undefined) found.push(`point ${point.id} should not be there`);
      else found.push(...(await differences(pool.path, point, kept.instant, scratchDir)));
    }
    if (found.length > 0) throw new Error(this.#told(found.join('\n')));
    return listed.length;
  }

  #told(what: string): string {
    return `seed ${String(this.#options.seed)}: ${what}\n${this.log.join('\n')}`;
  }

  readonly #steps: Readonly<Record<StepName, () => Promise<string>>> = {
    write: () => this.#machine.write(),
    backUp: () => this.#backUp('incremental'),
    backUpUnderWrites: () => this.#backUp('incremental', true),
    newFull: () => this.#backUp('full'),
    deleteOne: () => this.#delete('single'),
    deleteCascade: () => this.#delete('cascade'),
    rollBack: () => this.#rollBack(),
    powerCycle: async () => {
      if (this.#machine.running) await this.#machine.powerOff();
      else await this.#machine.start();
      return this.#machine.running ? 'on' : 'off';
    },
    kill: async () => {
      if (!this.#machine.running) return 'it is off';
      await this.#machine.kill();
      return '';
    },
    grow: () => this.#machine.grow(),
    addDisk: () => this.#machine.addDisk(),
    migrate: () => this.#machine.migrate(),
    foreignSnapshot: () => this.#machine.foreignSnapshot(),
  };

  async #backUp(pointKind: 'full' | 'incremental', underWrites = false): Promise<string> {
    const { api } = this.#options.world.trial;
    const instant = this.#machine.instant();
    const run = await startRun(api, this.#jobId, pointKind);
    const ended = underWrites ? await this.#writeWhile(run.id) : await api.watchRun(run.id, () => undefined);
    const point = await this.#pointOf(ended);
    this.#points.set(point.id, { point, instant });
    const disks = point.disks.map((disk) => {
      const how = disk.tracked ? 'tracked' : disk.reasons.join('+') || 'in full';
      return `${disk.target} ${String(disk.readBytes)} ${how}`;
    });
    return `${point.kind} ${point.id} ${disks.join(', ')}`;
  }

  /** The guest writes on as soon as the instant is fixed: nothing of it may get into the point. */
  async #writeWhile(runId: RunDetail['id']): Promise<RunDetail> {
    const { api } = this.#options.world.trial;
    for (;;) {
      const run = await api.getRun(runId);
      if (run.finishedAt !== null) return run;
      const phase = run.items[0]?.phase;
      if (this.#machine.running && (phase === 'captured' || phase === 'transferring'))
        await this.#machine.write();
    }
  }

  async #pointOf(run: RunDetail): Promise<Point> {
    const [item] = run.items;
    if (run.state !== 'succeeded' || item?.pointId === null || item?.pointId === undefined)
      throw new Error(`the run ended ${run.state}: ${JSON.stringify(item?.fault ?? null)}`);
    return this.#options.world.trial.api.getPoint(item.pointId);
  }

  async #delete(mode: 'single' | 'cascade'): Promise<string> {
    const chosen = this.#random.pick([...this.#points.keys()]);
    if (chosen === undefined || this.#points.size < 3) return 'too few points';
    const { api } = this.#options.world.trial;
    const gone = await deletePoints(api, [chosen], mode);
    const expected = mode === 'single' ? new Set([chosen]) : await this.#dependants(chosen);
    if ([...gone].sort().join() !== [...expected].sort().join())
      throw new Error(`deleted ${gone.join()}, not ${[...expected].join()}`);
    for (const id of gone) this.#points.delete(id);
    return `${String(gone.length)} points from ${chosen}`;
  }

  /** By the parents that the points had when they were made, over those that went from the middle since. */
  async #dependants(id: PointId): Promise<Set<PointId>> {
    const chainId = this.#points.get(id)?.point.chainId;
    const all = [...this.#points.values()].filter(({ point }) => point.chainId === chainId);
    const from = all.findIndex(({ point }) => point.id === id);
    return new Set(all.slice(from).map(({ point }) => point.id));
  }

  async #rollBack(): Promise<string> {
    const chosen = this.#random.pick([...this.#points.values()]);
    if (chosen === undefined) return 'no point';
    const now = this.#machine.instant();
    const same = [...now].every(
      ([target, { sizeBytes }]) => chosen.instant.get(target)?.sizeBytes === sizeBytes,
    );
    if (!same || !(await this.#machine.isPlain())) return 'its disks are others by now';
    const { api } = this.#options.world.trial;
    const run = await rollBack(api, chosen.point.id, this.#vm.name);
    const ended = await api.watchRun(run.id, () => undefined);
    if (ended.state !== 'succeeded')
      throw new Error(`it ended ${ended.state}: ${JSON.stringify(ended.items)}`);
    this.#machine.isBack(chosen.instant);
    await this.#machine.refresh();
    return `to ${chosen.point.id}`;
  }
}
