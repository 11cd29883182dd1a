import { setTimeout as sleep } from 'node:timers/promises';
import { type Point, type RunDetail, type Vm } from '@casvault/contracts';
import { labBackup, sameDisk } from '@casvault/stack';
import { type LabVmPlan } from '@casvault/testkit';
import { Random } from '../history/random.js';
import { MiB, untilNothingLeft, type World } from '../world.js';

/*
 * G3: backups and restores are stopped at instants drawn by a seed, over all that a run does. Three at once: two backups, one of a running VM
 * and one of a stopped one, and a restore.
 */

/** G3: a run is terminal so soon after it was told to stop (99 of 100), and the platform is clean so soon after that. */
export const stopLimits = { terminalMs: 10_000, cleanMs: 60_000 } as const;

const disks = (data: number): LabVmPlan['disks'] => [
  { sizeBytes: 64 * MiB, dataBytes: data * MiB },
  { sizeBytes: 64 * MiB, dataBytes: 2 * data * MiB },
];
export const stopVms: readonly LabVmPlan[] = [
  { name: 'busy', host: 1, disks: disks(16), workload: { pairsPerSecond: 20, bulkKiBPerSecond: 64 } },
  { name: 'still', host: 1, running: false, disks: disks(16) },
];
/** So many transfers a mover has at once: none of the three waits for another. */
export const stopEnv = { 'mover-1': { CASVAULT_DATA_MOVER_TRANSFERS: '4' } } as const;

const kinds = ['backup, live', 'backup, offline', 'restore'] as const;
type Kind = (typeof kinds)[number];

interface Stop {
  readonly kind: Kind;
  /** What the run did when it was told to stop; null: it had ended by itself. */
  readonly phase: string | null;
  readonly afterMs: number;
  /** Until the run was terminal. */
  readonly terminalMs: number;
  readonly run: RunDetail;
}

export interface StopsReport {
  /** Runs that were stopped before they had ended. */
  readonly stops: readonly Stop[];
  /** Runs that ended before they could be stopped. */
  readonly late: number;
  /** Of each three stops, until nothing of them was left on any host. */
  readonly cleanMs: readonly number[];
}

/** The smallest value that so large a share of them does not exceed. */
export const nearestRank = (values: readonly number[], share: number): number =>
  values.toSorted((a, b) => a - b)[Math.max(0, Math.ceil(values.length * share) - 1)] ?? NaN;

class Stops {
  readonly #world: World;
  readonly #poolId: string;
  readonly #vms: Readonly<Record<'busy' | 'still', Vm>>;
  #source!: Point;
  #restores = 0;
  /** Runs that nobody stopped. */
  readonly #wholes: RunDetail[] = [];

  private constructor(world: World, poolId: string, vms: Readonly<Record<'busy' | 'still', Vm>>) {
    this.#world = world;
    this.#poolId = poolId;
    this.#vms = vms;
  }

  static async begin(world: World): Promise<Stops> {
    const { trial, platform } = world;
    const pool = await trial.standardPool('stops');
    const [busy, still] = [await trial.vm(platform, 'busy'), await trial.vm(platform, 'still')];
    const stops = new Stops(world, pool.id, { busy, still });
    stops.#source = await stops.#pointOf(await stops.#whole('backup, offline'));
    return stops;
  }

  /** How long each kind of run takes here when nobody stops it, ms: the second of two. */
  async lengths(): Promise<Readonly<Record<Kind, number>>> {
    const lengths = { 'backup, live': 0, 'backup, offline': 0, restore: 0 };
    for (let turn = 0; turn < 2; turn += 1) {
      for (const kind of kinds) {
        const begun = performance.now();
        await this.#whole(kind);
        lengths[kind] = performance.now() - begun;
      }
    }
    return lengths;
  }

  /** Starts a run, stops it so long after, and waits for its end. */
  async stop(kind: Kind, afterMs: number): Promise<Stop> {
    const { api } = this.#world.trial;
    const runId = await this.#start(kind);
    await sleep(afterMs);
    const { finishedAt, items } = await api.getRun(runId);
    const phase = finishedAt === null ? (items[0]?.phase ?? 'waiting') : null;
    await api.stopRun(runId);
    const asked = performance.now();
    const run = await api.watchRun(runId, () => undefined);
    const terminalMs = performance.now() - asked;
    if (run.state !== 'stopped' && run.state !== 'succeeded')
      throw new Error(`${kind}, stopped after ${afterMs.toFixed(0)} ms while ${phase}, ended ${run.state}`);
    return { kind, phase, afterMs, terminalMs, run };
  }

  /** Throws unless all points and restored VMs are there that runs made to their end, and no others, and a new backup is restored byte for byte. */
  async judge(made: readonly RunDetail[]): Promise<void> {
    const { trial, platform } = this.#world;
    const last = await this.#pointOf(await this.#whole('backup, offline'));
    const items = [...made, ...this.#wholes].flatMap((run) => run.items);
    const points = await trial.api.listPoints({ state: 'available' });
    requireSame(
      'points',
      points,
      items.map(({ pointId, restoredVmId }) => (restoredVmId === null ? pointId : null)),
    );
    requireSame(
      'restored VMs',
      await this.#restored(),
      items.map(({ restoredVmId }) => restoredVmId),
    );
    const run = await trial.restore(last, platform, '2', 'judged');
    await trial.api.syncPlatform(platform.id);
    const judged = await trial.api.getVm(run.items[0]?.restoredVmId ?? ('' as never));
    for (const disk of this.#vms.still.disks) {
      const copy = judged.disks.find(({ target }) => target === disk.target);
      if (copy === undefined || !(await sameDisk(disk, copy)))
        throw new Error(`disk ${disk.target} was not restored as it is`);
    }
  }

  async #restored(): Promise<Vm[]> {
    const { trial, platform } = this.#world;
    await trial.api.syncPlatform(platform.id);
    const vms = await trial.api.listVms({ platformId: platform.id, search: 'restored-' });
    return vms.filter(({ name }) => name.startsWith('restored-'));
  }

  async #whole(kind: Kind): Promise<RunDetail> {
    const run = await this.#world.trial.api.watchRun(await this.#start(kind), () => undefined);
    if (run.state !== 'succeeded')
      throw new Error(`${kind} ended ${run.state}: ${run.items[0]?.fault?.message ?? 'no reason'}`);
    this.#wholes.push(run);
    return run;
  }

  async #start(kind: Kind): Promise<RunDetail['id']> {
    return this.#world.trial.startJob(await this.#definition(kind), kind);
  }

  async #definition(kind: Kind): Promise<object> {
    if (kind !== 'restore') {
      const vm = kind === 'backup, live' ? this.#vms.busy : this.#vms.still;
      return { ...labBackup, vmIds: [vm.id], poolId: this.#poolId, pointKind: 'full' };
    }
    this.#restores += 1;
    const place = await this.#world.trial.placeOn(this.#world.platform, '2');
    const target = { ...place, vmName: `restored-${this.#restores}` };
    return { kind: 'restore', items: [{ pointId: this.#source.id, target }] };
  }

  async #pointOf({ items }: RunDetail): Promise<Point> {
    const pointId = items[0]?.pointId;
    if (typeof pointId !== 'string') throw new Error('the run made no point');
    return this.#world.trial.api.getPoint(pointId);
  }
}

/** Of what is there each is one that a run made, and the other way about. */
const requireSame = (
  what: string,
  there: readonly { id: string }[],
  made: readonly (string | null)[],
): void => {
  const found = there.map(({ id }) => id).sort();
  const expected = made.filter((id) => id !== null).sort();
  if (found.join() !== expected.join())
    throw new Error(`${what}: there are ${found.join(' ')}, runs made ${expected.join(' ')}`);
};

/**
 * Stops `count` runs, at least, that had not ended. Throws when one ends otherwise than stopped or succeeded, when something is left on a host
 * for longer than `stopLimits.cleanMs`, or when what is there afterwards is not what the runs that succeeded made.
 */
export const measureStops = async (
  world: World,
  { count, seed, say }: { count: number; seed: number; say: (line: string) => void },
): Promise<StopsReport> => {
  const random = new Random(seed);
  const runs = await Stops.begin(world);
  const lengths = await runs.lengths();
  say(`runs take ${kinds.map((kind) => `${kind}: ${(lengths[kind] / 1000).toFixed(1)} s`).join(', ')}`);
  const all: Stop[] = [];
  const cleanMs: number[] = [];
  const inTime = (): Stop[] => all.filter(({ phase }) => phase !== null);
  for (let round = 1; inTime().length < count; round += 1) {
    // Runs that end before they are stopped are the fewer; that all do for so long means that nothing is stopped at all.
    if (round > 2 * count + 10) throw new Error(`only ${inTime().length} runs could be stopped`);
    const three = kinds.map((kind) => runs.stop(kind, random.next() * lengths[kind]));
    for (const stop of await Promise.all(three)) all.push(stop);
    const ended = performance.now();
    await untilNothingLeft(world, stopLimits.cleanMs);
    cleanMs.push(performance.now() - ended);
    if (round % 10 === 0) say(`${inTime().length} of ${count} runs stopped`);
  }
  await runs.judge(all.map(({ run }) => run).filter(({ state }) => state === 'succeeded'));
  return { stops: inTime(), late: all.length - inTime().length, cleanMs };
};

/** A line for each phase in which runs were stopped, one for all, and one for the platform. */
export const describeStops = ({ stops, late, cleanMs }: StopsReport): string[] => {
  const seconds = (values: readonly number[], share: number): string =>
    `${(nearestRank(values, share) / 1000).toFixed(2)} s`;
  const line = (name: string, values: readonly number[]): string =>
    `${name}: ${String(values.length)}, p50 ${seconds(values, 0.5)}, p99 ${seconds(values, 0.99)}, most ${seconds(values, 1)}`;
  const phases = [...new Set(stops.map(({ phase }) => phase ?? ''))].sort();
  return [
    ...phases.map((name) =>
      line(
        `stopped while ${name}`,
        stops.filter(({ phase }) => phase === name).map(({ terminalMs }) => terminalMs),
      ),
    ),
    line(
      'all stops',
      stops.map(({ terminalMs }) => terminalMs),
    ),
    line('platform clean, three stops each', cleanMs),
    `${String(late)} had ended before`,
  ];
};
