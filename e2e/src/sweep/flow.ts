import { setTimeout as sleep } from 'node:timers/promises';
import { randomUUID } from 'node:crypto';
import {
  deletionSchema,
  runSchema,
  type Deletion,
  type JobId,
  type Point,
  type PointId,
  type Run,
  type RunDetail,
  type Vm,
} from '@casvault/contracts';
import { ApiProblem, labBackup } from '@casvault/stack';
import { LabMachine } from '../history/lab-machine.js';
import { differences, type Instant } from '../history/pool-reader.js';
import { type Random } from '../history/random.js';
import { type World } from '../world.js';
import { type Killer } from './killer.js';

const MiB = 1024 * 1024;
/** The host without the live export: its running VMs are captured in other ways. */
export const hostWithoutExport = 2;

/** How running machines are captured, by their disks and hosts. */
const ways = {
  live: { host: 1, disks: [{}, {}] },
  'external-snapshot': { host: hostWithoutExport, disks: [{}, {}] },
  // R4: an independent disk is in internal snapshots only.
  'internal-snapshot': { host: hostWithoutExport, disks: [{}, { mode: 'independent-persistent' }] },
  // R6: shut down for its backup.
  offline: { host: hostWithoutExport, disks: [{}, { format: 'raw' }] },
} as const;
export type Way = keyof typeof ways;
export const isWay = (name: string): name is Way => name in ways;
export const allWays = Object.keys(ways) as readonly Way[];

/** So soon after the last kill every job is terminal, and a new one succeeds. */
const terminalWithinMs = 5 * 60_000;
/** A request is repeated for so long after the last kill while the service behind it is away. */
const patienceMs = 90_000;
/** Between a run that failed of kills and the next: what it held on a host is given back by its lease. */
const pauseMs = 2_000;

interface FlowOptions {
  readonly world: World;
  readonly pool: { readonly id: string; readonly path: string };
  readonly random: Random;
  readonly name: string;
  readonly way: Way;
  /** Told of every run, deletion and roll-back. Five minutes are counted from its last kill. */
  readonly killer: Pick<Killer, 'lastKillAt' | 'begins'>;
}

interface Kept {
  readonly point: Point;
  readonly instant: Instant;
}

/**
 * One machine whose every write is known, backed up, thinned out and rolled back, whoever dies meanwhile. Every request is
 * repeated under its key until it is answered. Between the steps every point that was ever committed is there, unless it was deleted.
 */
export class Flow {
  readonly #options: FlowOptions;
  readonly #machine: LabMachine;
  readonly #vm: Vm;
  readonly #jobId: JobId;
  readonly #points = new Map<PointId, Kept>();
  /** The longest that a job took after the last kill. */
  longestMs = 0;

  private constructor(options: FlowOptions, parts: { machine: LabMachine; vm: Vm; jobId: JobId }) {
    this.#options = options;
    this.#machine = parts.machine;
    this.#vm = parts.vm;
    this.#jobId = parts.jobId;
  }

  static async begin(options: FlowOptions): Promise<Flow> {
    const { world, pool, name, way } = options;
    const { host, disks } = ways[way];
    const machine = await LabMachine.create(world.trial.lab, name, options.random, {
      host,
      disks: disks.map((disk) => ({ sizeBytes: 24 * MiB, format: 'qcow2', ...disk })),
    });
    await world.trial.api.syncPlatform(world.platform.id);
    const vm = await world.trial.vm(world.platform, name);
    const job = await world.trial.api.createJob({
      name,
      definition: { ...labBackup, vmIds: [vm.id], poolId: pool.id, powerOff: way === 'offline' },
      plans: [{ type: 'manual' }],
    });
    return new Flow(options, { machine, vm, jobId: job.id });
  }

  /** Everything that has durable steps; at the end one point more than before, which stands on nothing of before the roll-back. */
  async pass(): Promise<void> {
    const first = await this.#backUp('full');
    const second = await this.#backUp('incremental');
    const third = await this.#backUp('incremental');
    await this.#rollBack(second);
    await this.#backUp('incremental');
    await this.#delete(second, 'single', [second]);
    await this.#delete(first, 'cascade', [first, third]);
  }

  /** The machine runs without a snapshot; every point that was committed is there with its bytes, and no other. */
  async check(): Promise<number> {
    await this.#runsAgain();
    if (!(await this.#machine.isPlain())) throw new Error(`${this.#vm.name} has a snapshot`);
    const listed = await this.#available();
    const names = new Set(listed.map(({ id }) => id));
    for (const id of this.#points.keys())
      if (!names.has(id)) throw new Error(`${this.#vm.name}: point ${id} is lost`);
    for (const point of listed) await this.#verify(point);
    return listed.length;
  }

  // ---- steps

  async #backUp(pointKind: 'full' | 'incremental'): Promise<PointId> {
    await this.#machine.write();
    const instant = this.#machine.instant();
    for (const began = performance.now(); ; await sleep(pauseMs)) {
      const { items } = await this.#run(`/jobs/${this.#jobId}/runs`, { pointKind });
      await this.#runsAgain();
      const made = (await this.#available()).filter(({ id }) => !this.#points.has(id));
      for (const point of made) this.#points.set(point.id, { point, instant });
      const newest = made.at(-1);
      if (newest !== undefined) {
        if (newest.method !== this.#options.way) throw new Error(`captured ${String(newest.method)}`);
        await this.#verify(newest);
        return newest.id;
      }
      this.#took(began, `no backup succeeds: ${JSON.stringify(items[0]?.fault)}`);
    }
  }

  async #rollBack(pointId: PointId): Promise<void> {
    const kept = this.#points.get(pointId);
    if (kept === undefined) throw new Error(`no point ${pointId}`);
    await this.#machine.write();
    // What an interrupted one left off, the next finds off: whether it is to be started is for its user to say.
    const confirmed = { confirm: this.#vm.name, startAfter: false };
    for (const began = performance.now(); ; await sleep(pauseMs)) {
      const run = await this.#run(`/points/${pointId}/rollback`, confirmed);
      if (run.state === 'succeeded') {
        this.#machine.isBack(kept.instant);
        return this.#runsAgain();
      }
      confirmed.startAfter = true;
      this.#took(began, `no roll-back succeeds: ${JSON.stringify(run.items[0]?.fault)}`);
    }
  }

  /** A machine that ran runs again, whatever failed: at the latest when the reconciler has found it. */
  async #runsAgain(): Promise<void> {
    for (const began = performance.now(); ; await sleep(pauseMs)) {
      await this.#machine.refresh();
      if (this.#machine.running) return;
      this.#took(began, 'the machine stays off');
    }
  }

  async #delete(pointId: PointId, mode: 'single' | 'cascade', expected: readonly PointId[]): Promise<void> {
    const body = { pointIds: [pointId], mode };
    const began = performance.now();
    const made = await this.#make('/deletions', body, deletionSchema);
    const path = `/deletions/${made.id}`;
    await this.#deletion(path, ['measuring'], began);
    // Twice is once: an answer may have been lost.
    await this.#patiently(() => this.#api.ask(deletionSchema, `${path}/confirmation`, { method: 'POST' }));
    const ended = await this.#deletion(path, ['ready', 'deleting'], began);
    const gone = ended.points.map(({ id }) => id).sort();
    if (ended.state !== 'deleted' || gone.join() !== [...expected].sort().join())
      throw new Error(`${this.#vm.name}: deletion of ${expected.join()}: ${JSON.stringify(ended)}`);
    for (const id of gone) this.#points.delete(id);
    const left = (await this.#available()).find(({ id }) => gone.includes(id));
    if (left !== undefined) throw new Error(`point ${left.id} is deleted and listed`);
  }

  async #deletion(path: string, going: readonly Deletion['state'][], began: number): Promise<Deletion> {
    for (;;) {
      const now = await this.#patiently(() => this.#api.ask(deletionSchema, path));
      this.#took(began, path);
      if (!going.includes(now.state)) return now;
      await sleep(200);
    }
  }

  // ---- asking

  get #api(): World['trial']['api'] {
    return this.#options.world.trial.api;
  }

  async #run(path: string, body: object): Promise<RunDetail> {
    const began = performance.now();
    const { id } = await this.#make<Run>(path, body, runSchema);
    for (;;) {
      const run = await this.#patiently(() => this.#api.getRun(id));
      this.#took(began, `${path}, ${id}`);
      if (run.finishedAt !== null) return run;
      await sleep(200);
    }
  }

  #make<T>(path: string, body: object, schema: { parse(value: unknown): T }): Promise<T> {
    const idempotencyKey = randomUUID();
    this.#options.killer.begins();
    return this.#patiently(() => this.#api.ask(schema, path, { method: 'POST', body, idempotencyKey }));
  }

  async #patiently<T>(ask: () => Promise<T>): Promise<T> {
    for (const began = performance.now(); ; await sleep(100)) {
      try {
        return await ask();
      } catch (error) {
        const isPassing = error instanceof ApiProblem && (error.status === 503 || error.status === 504);
        const waitedMs = performance.now() - Math.max(began, this.#options.killer.lastKillAt);
        if (!isPassing || waitedMs > patienceMs) throw error;
      }
    }
  }

  #took(began: number, what: string): void {
    const ms = performance.now() - Math.max(began, this.#options.killer.lastKillAt);
    this.longestMs = Math.max(this.longestMs, ms);
    if (ms > terminalWithinMs) throw new Error(`${this.#vm.name}: not terminal after five minutes: ${what}`);
  }

  #available(): Promise<Point[]> {
    return this.#patiently(() => this.#api.listPoints({ vmId: this.#vm.id, state: 'available' }));
  }

  async #verify(point: Point): Promise<void> {
    const kept = this.#points.get(point.id);
    if (kept === undefined) throw new Error(`${this.#vm.name}: point ${point.id} should not be there`);
    const found = await differences(this.#options.pool.path, [{ point, instant: kept.instant }]);
    if (found.length > 0) throw new Error(found.join('\n'));
  }
}
