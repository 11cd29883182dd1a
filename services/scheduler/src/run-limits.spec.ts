import { Fault, newId, type RunItemId } from '@casvault/contracts';
import { hasItsTurn, isTerminal, type RunningItem, type RunState, type WaitingItem } from './run.js';
import { runMachine, type RunEffect, type RunEvent } from './run.machine.js';

/*
 * The limits of runs against what snapshot-engine really has at work: a model of it, of the scheduler's rows and of its replicas, which
 * see each other's runs late, crash between deciding and saving, and deliver news twice.
 */

const grantsWanted = 1_000_000;
/** R15; up to 36 runs go on. */
const groups = [
  { name: 'four', limit: 4, jobs: 16 },
  { name: 'twelve', limit: 12, jobs: 24 },
  { name: 'free', limit: undefined, jobs: 20 },
] as const;
type Group = (typeof groups)[number];

/** Looked up once: where tests run, a global costs as much as a call. */
const { floor, imul } = Math;

const randomOf = (seed: number) => {
  let state = seed;
  /** 0 up to, not including, `below`. */
  return (below: number): number => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
};

interface Job {
  readonly group: Group;
  grants: number;
  run: Run | null;
}
interface Run {
  readonly job: Job;
  /** By the clock of the replica that made it. */
  readonly createdAt: number;
  readonly items: readonly WaitingItem[];
  readonly parallel: RunState['parallel'];
  readonly retry: { count: number; intervalMinutes: number };
  state: RunState | null;
  wakeAt: number | null;
  /** At work in snapshot-engine, in all and by host. */
  live: number;
  readonly onHost: Map<string, number>;
  readonly known: Set<string>;
}
interface Attempt {
  readonly run: Run;
  readonly itemId: RunItemId;
  readonly attempt: number;
  readonly host: string | null;
  isStopped: boolean;
}

class Model {
  readonly jobs: Job[] = groups.flatMap((group) =>
    Array.from({ length: group.jobs }, () => ({ group, grants: 0, run: null })),
  );
  readonly live: Attempt[] = [];
  /** News, and runs whose turn it seemed to be when somebody looked. */
  readonly late: (() => void)[] = [];
  grants = 0;
  most = 0;
  stops = 0;
  retries = 0;
  crashes = 0;
  /** Broken limits, told. */
  readonly broken: string[] = [];
  #now = Date.parse('2026-01-01T00:00:00Z');

  constructor(private readonly random: (below: number) => number) {}

  tick(): void {
    const { random, jobs, late, live } = this;
    this.#now += random(200);
    const dice = random(100);
    const job = jobs[random(jobs.length)]!;
    if (dice < 20) this.#visit(job);
    else if (dice < 40 && late.length > 0) late.splice(random(late.length), 1)[0]!();
    else if (live.length > 0) this.#endOne(random(live.length));
  }

  /** What a user, a plan, a timer or a look of a replica does to a job. */
  #visit(job: Job): void {
    const { run } = job;
    if (!run) return this.#start(job);
    if (!run.state) return this.#look(run);
    if (run.wakeAt !== null && run.wakeAt <= this.#now) this.#step(run, { type: 'woken' });
    if (this.random(100) > 0 || isTerminal(run.state.state)) return;
    this.stops += 1;
    this.#step(run, { type: 'stop' });
  }

  #start(job: Job): void {
    const { random } = this;
    const hosts = ['a', 'b', 'c', 'd', null];
    const items = Array.from({ length: 1 + random(30) }, () => ({
      itemId: newId<RunItemId>(),
      host: hosts[random(hosts.length)]!,
    }));
    const parallel = { vms: 1 + random(random(4) === 0 ? 32 : 6), vmsPerHost: 1 + random(3) };
    const retry = { count: random(3), intervalMinutes: random(2) };
    const skewed = this.#now + random(10_000) - 5_000;
    const made = { job, createdAt: skewed, items, parallel, retry, state: null, wakeAt: null, live: 0 };
    job.run = { ...made, onHost: new Map(), known: new Set() };
  }

  #others(run: Run): Run[] {
    return this.jobs.flatMap((job) =>
      job.run && job.run !== run && job.group === run.job.group ? [job.run] : [],
    );
  }

  /** In their order, as the queue says; what is decided here happens some time after. */
  #look(run: Run): void {
    const older = this.#others(run).filter(({ createdAt }) => createdAt < run.createdAt);
    if (hasItsTurn(older.length, run.job.group.limit)) this.late.push(() => this.#begin(run));
  }

  /** What has begun counts, under the group's lock. */
  #begin(run: Run): void {
    const { limit, name } = run.job.group;
    const begun = this.#others(run).filter(({ state }) => state !== null).length;
    if (run.state || run.job.run !== run || !hasItsTurn(begun, limit)) return;
    const { items, parallel, retry } = run;
    this.#step(run, { type: 'begin', items, failed: 0, parallel, retry, isStopped: false });
    const going = run.state === null ? begun : begun + 1;
    if (limit !== undefined && going > limit) this.broken.push(`${going} runs of group ${name}`);
    this.most = Math.max(this.most, this.jobs.filter((job) => job.run?.state).length);
  }

  /** One transaction: the state is now and then read anew, and a crash undoes it all. */
  #step(run: Run, event: RunEvent): void {
    const { random } = this;
    const before =
      run.state && random(20) === 0 ? (JSON.parse(JSON.stringify(run.state)) as RunState) : run.state;
    const { state, effects, wakeAt } = runMachine.step(before, event, new Date(this.#now));
    if (random(50) === 0) {
      this.crashes += 1;
      this.late.push(() => this.#redeliver(run, event));
      return;
    }
    run.state = state;
    run.wakeAt = wakeAt?.getTime() ?? null;
    for (const effect of effects) this.#perform(run, effect);
    if (isTerminal(state.state) && run.job.run === run) run.job.run = null;
  }

  #redeliver(run: Run, event: RunEvent): void {
    if (event.type === 'begin') this.#begin(run);
    else if (run.state && event.type !== 'woken') this.#step(run, event);
  }

  #perform(run: Run, effect: RunEffect): void {
    if (effect.type === 'ask') this.#grant(run, effect.itemId, effect.attempt);
    if (effect.type !== 'stopItem' || this.random(20) === 0) return;
    const { itemId, attempt } = effect;
    const at = this.live.findIndex((one) => one.itemId === itemId && one.attempt === attempt);
    if (at < 0) return;
    this.live[at]!.isStopped = true;
    this.#endOne(at);
  }

  #grant(run: Run, itemId: RunItemId, attempt: number): void {
    const key = `${itemId} ${attempt}`;
    if (run.known.has(key)) return;
    run.known.add(key);
    const host = run.state!.running.find((item: RunningItem) => item.itemId === itemId)?.host ?? null;
    this.live.push({ run, itemId, attempt, host, isStopped: false });
    this.grants += 1;
    run.job.grants += 1;
    if (attempt > 1) this.retries += 1;
    run.live += 1;
    const there = (run.onHost.get(host ?? '') ?? 0) + 1;
    run.onHost.set(host ?? '', there);
    const { vms, vmsPerHost } = run.parallel;
    if (run.live > vms) this.broken.push(`${run.live} VMs, ${vms} allowed`);
    if (host !== null && there > vmsPerHost)
      this.broken.push(`${there} VMs on a host, ${vmsPerHost} allowed`);
  }

  /** An attempt ends in snapshot-engine; the news of it come once or twice, now or later. */
  #endOne(at: number): void {
    const { random, live, late } = this;
    const one = live[at]!;
    live[at] = live.at(-1)!;
    live.pop();
    const { run, itemId, attempt, host, isStopped } = one;
    run.live -= 1;
    run.onHost.set(host ?? '', (run.onHost.get(host ?? '') ?? 1) - 1);
    const end = isStopped ? 'stopped' : random(8) === 0 ? 'failed' : 'succeeded';
    const code = random(2) === 0 ? 'NBD_DISCONNECTED' : 'POOL_FULL';
    const fault = end === 'failed' ? new Fault(code, 'why').toJSON() : null;
    const news = { itemId, attempt, at: new Date(this.#now).toISOString(), end, fault } as const;
    const tell = (): void => this.#step(run, { type: 'heard', ...news });
    if (isStopped || random(10) === 0) late.push(tell);
    else tell();
    if (random(20) === 0) late.push(tell);
  }
}

/** Jain's index: 1 when all have the same, 1/n when one has all. */
const fairness = (shares: readonly number[]): number => {
  const sum = shares.reduce((total, share) => total + share, 0);
  return sum ** 2 / (shares.length * shares.reduce((total, share) => total + share ** 2, 0));
};

describe('limits of runs', () => {
  it('R15: a million grants over 32 runs with crashes never exceed a limit by one, and jobs get equal shares', () => {
    const model = new Model(randomOf(1));
    while (model.grants < grantsWanted && model.broken.length === 0) model.tick();
    expect(model.broken).toEqual([]);
    expect(model.most).toBeGreaterThanOrEqual(32);
    for (const { name } of groups) {
      const shares = model.jobs.filter(({ group }) => group.name === name).map(({ grants }) => grants);
      expect([name, fairness(shares) >= 0.95]).toEqual([name, true]);
    }
    expect([model.stops, model.retries, model.crashes].map((count) => count > 500)).toEqual([
      true,
      true,
      true,
    ]);
  });

  it('tells an unfair share', () => {
    expect(fairness([1, 1, 1, 1])).toBe(1);
    expect(fairness([3, 1, 1, 1])).toBeLessThan(0.95);
  });
});
