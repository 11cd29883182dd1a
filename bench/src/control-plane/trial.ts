import { setTimeout as sleep } from 'node:timers/promises';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { join } from 'node:path';
import { type Logger, type NewJobBody, type Plan, type Run, type RunId } from '@casvault/contracts';
import { ApiClient, startStack, type Stack } from '@casvault/stack';
import { freePort, until } from '@casvault/testkit';
import { endings } from '../endings.js';
import { busyCpuS } from '../machine.js';
import { SeededRandom } from '../random.js';
import { browse } from './browsing.js';
import { Edge } from './edge.js';
import { spreadOf, type Spread } from './figures.js';
import { SimulatedMover } from './mover.js';
import { pause } from './pause.js';
import { minuteAfter, plansDueAt, plansDueLater } from './plans.js';
import { Stopwatch, type Timed } from './stopwatch.js';
import { usageBetween, usageOf, type Usage } from './usage.js';

/** How large an installation is, and how long it is looked at. */
export interface Size {
  readonly vms: number;
  readonly jobs: number;
  readonly movers: number;
  /** Full minutes, at the beginning of each of which jobs are due. */
  readonly minutes: number;
  /** Jobs that are due at the same instant each minute. */
  readonly duePerMinute: number;
}

/** All that was measured at one size. Times are in milliseconds where nothing else is said. */
export interface Figures {
  readonly size: Size;
  /** Seconds from the registration until every VM is known with its disks; and of a synchronisation that finds nothing changed. */
  readonly firstSyncS: number;
  readonly nextSyncS: number;
  /** Of jobs made four at once, before the rest. */
  readonly creation: Timed;
  /** By route, while runs go on. */
  readonly routes: ReadonlyMap<string, Timed>;
  /** Of all calls of all routes. */
  readonly calls: Spread;
  /** Of runs of plans, from when they were due until they began. */
  readonly delays: Spread;
  readonly runs: { readonly expected: number; readonly begun: number; readonly succeeded: number };
  readonly items: { readonly count: number; readonly perS: number };
  readonly scrapes: ReadonlyMap<string, Timed>;
  /** Of the time in which runs go on. */
  readonly usage: ReadonlyMap<string, Usage>;
  readonly watchedS: number;
  readonly othersCpuS: number;
  /** How late this process was to its own timers (p99): what it adds to what it measures. */
  readonly lateMs: number;
}

const vmsPerJob = 10;
const creators = 4;
const scrapeEveryMs = 5_000;
/** To make the jobs that are due: a start, and so much for each. */
const leadMs = { start: 10_000, perJob: 150 } as const;
const drainMs = 240_000;
const loopResolutionMs = 10;
const transferMs = [1_000, 4_000] as const;

type Say = (text: string) => void;

const loggerOf = (say: Say): Logger => {
  const quiet = () => undefined;
  const tell = (fields: object, message: string) => {
    const { err } = fields as { err?: Error };
    say(`  mover: ${message}${err === undefined ? '' : `: ${err.message}`}`);
  };
  return { debug: quiet, info: quiet, warn: tell, error: tell };
};

/** Runs the real services at one size in `dir` and measures them. Everything that it started has ended when it returns. */
export async function tryOut(size: Size, dir: string, say: Say): Promise<Figures> {
  const ends: (() => Promise<void>)[] = [];
  const end = async (): Promise<void> => {
    for (const one of ends.splice(0).reverse()) await one();
  };
  endings.add(end);
  try {
    const edge = await Edge.start(size.vms);
    ends.push(() => edge.stop());
    const stack = await startStack({
      dir: join(dir, 'stack'),
      gatewayPort: await freePort(),
      movers: 0,
      lab: null,
    });
    ends.push(() => stack.stop());
    const api = new ApiClient(stack.gatewayUrl);
    await api.signIn('admin', stack.adminPassword);
    const movers = await startMovers(stack, size.movers, loggerOf(say));
    ends.push(() => movers.stop());
    return await new Trial({ size, dir, say, stack, api, edge }).run();
  } finally {
    await end();
    endings.drop(end);
  }
}

async function startMovers(stack: Stack, count: number, logger: Logger): Promise<{ stop(): Promise<void> }> {
  const movers: SimulatedMover[] = [];
  const stop = async (): Promise<void> => {
    const stopOne = async (): Promise<void> => movers.pop()?.stop();
    await Promise.all(Array.from({ length: movers.length }, stopOne));
  };
  for (let number = 1; number <= count; number += 1)
    movers.push(await SimulatedMover.start({ natsUrl: stack.nats.url, number, transferMs, logger }));
  return { stop };
}

interface Parts {
  readonly size: Size;
  readonly dir: string;
  readonly say: Say;
  readonly stack: Stack;
  readonly api: ApiClient;
  readonly edge: Edge;
}

class Trial {
  readonly #o: Parts;
  readonly #random = new SeededRandom(1);
  readonly #creation = new Stopwatch();
  #vmIds: readonly string[] = [];
  #poolId = '';

  constructor(parts: Parts) {
    this.#o = parts;
  }

  async run(): Promise<Figures> {
    const { size, api, say, dir } = this.#o;
    const synced = await this.#register();
    const vms = await api.listVms();
    if (vms.length !== size.vms) throw new Error(`${vms.length} VMs are known, not ${size.vms}`);
    this.#vmIds = vms.map(({ id }) => id);
    const pool = await api.createPool({ name: 'pool', type: 'standard', path: join(dir, 'pool') });
    this.#poolId = pool.id;
    const dueJobs = size.minutes * size.duePerMinute;
    const now = new Date();
    const begun = performance.now();
    await this.#makeJobs(0, size.jobs - dueJobs, (index) => plansDueLater(index, now));
    const first = minuteAfter(new Date(), leadMs.start + dueJobs * leadMs.perJob);
    await this.#makeJobs(size.jobs - dueJobs, dueJobs, (index) =>
      plansDueAt(index, new Date(first.getTime() + (index % size.minutes) * 60_000)),
    );
    const madeS = (performance.now() - begun) / 1_000;
    say(`  ${size.jobs} jobs made in ${madeS.toFixed(1)} s; the first are due at ${first.toISOString()}`);
    if (new Date() >= first)
      throw new Error('the jobs were made after they were due: the machine is too slow');
    const creation = this.#creation.all().get('create job');
    if (creation === undefined || creation.failed > 0)
      throw new Error(`jobs were refused: ${creation?.firstFault ?? 'none was made'}`);
    return { size, ...synced, creation, ...(await this.#watch(first, dueJobs)) };
  }

  async #register(): Promise<Pick<Figures, 'firstSyncS' | 'nextSyncS'>> {
    const { api, edge, say, size } = this.#o;
    const begun = performance.now();
    const { id } = await api.registerPlatform({
      name: 'platform',
      address: edge.address,
      port: edge.cvmPort,
      userName: 'admin',
      password: 'any',
      diskService: { port: edge.diskServicePort, token: 'any' },
    });
    const synced = async () => (await api.listPlatforms()).find((one) => one.id === id)?.lastSyncAt ?? null;
    await until(synced, 300_000, 100);
    const firstSyncS = (performance.now() - begun) / 1_000;
    const again = performance.now();
    await api.syncPlatform(id);
    const nextSyncS = (performance.now() - again) / 1_000;
    say(`  ${size.vms} VMs read in ${firstSyncS.toFixed(1)} s, again in ${nextSyncS.toFixed(1)} s`);
    return { firstSyncS, nextSyncS };
  }

  /** Jobs `first` and following, each with ten VMs of its own; four at once. */
  async #makeJobs(first: number, count: number, plans: (index: number) => Plan[]): Promise<void> {
    const queue = Array.from({ length: count }, (_, index) => first + index).values();
    const make = async (): Promise<void> => {
      for (const index of queue) {
        const body = this.#jobBody(`job ${index}`, index, plans(index));
        await this.#creation.time('create job', () => this.#o.api.createJob(body));
      }
    };
    await Promise.all(Array.from({ length: creators }, make));
  }

  #jobBody(name: string, index: number, plans: Plan[]): NewJobBody {
    const at = (index * vmsPerJob) % this.#vmIds.length;
    const vmIds = this.#vmIds.slice(at, at + vmsPerJob);
    return { name, definition: { kind: 'backup', vmIds, poolId: this.#poolId } as never, plans };
  }

  async #watch(
    first: Date,
    dueJobs: number,
  ): Promise<Omit<Figures, 'size' | 'firstSyncS' | 'nextSyncS' | 'creation'>> {
    const { api, stack, size, say } = this.#o;
    const watch = new Stopwatch();
    const scrapes = new Stopwatch();
    const late = monitorEventLoopDelay({ resolution: loopResolutionMs });
    const runs: RunId[] = [];
    const world = {
      api,
      watch,
      random: this.#random,
      runs,
      vmIds: this.#vmIds,
      jobBody: (name: string) =>
        this.#jobBody(name, this.#random.between(0, size.jobs - 1), [{ type: 'manual' }]),
    };
    await sleep(Math.max(0, first.getTime() - Date.now()));
    const before = usageOf(stack);
    const [busy, begun] = [busyCpuS(), performance.now()];
    late.enable();
    const over = AbortSignal.timeout(size.minutes * 60_000);
    await Promise.all([browse(world, over), this.#scrape(scrapes, over), this.#learnRuns(runs, over)]);
    late.disable();
    const watchedS = (performance.now() - begun) / 1_000;
    const usage = usageBetween(before, usageOf(stack));
    const ours = [...usage.values()].reduce((sum, { cpuS }) => sum + cpuS, 0);
    const othersCpuS = Math.max(0, busyCpuS() - busy - ours);
    say(`  looked at for ${watchedS.toFixed(0)} s; waiting for the last runs`);
    const all = await this.#endedRuns();
    return {
      routes: watch.all(),
      calls: watch.together(),
      scrapes: scrapes.all(),
      ...summaryOf(all, first, dueJobs),
      usage,
      watchedS,
      othersCpuS,
      lateMs: Math.max(0, late.percentile(99) / 1e6 - loopResolutionMs),
    };
  }

  async #scrape(scrapes: Stopwatch, over: AbortSignal): Promise<void> {
    const { stack } = this.#o;
    do
      for (const name of ['scheduler', 'snapshot-engine'])
        await scrapes.time(name, () => stack.process(name).scrape());
    while (await pause(scrapeEveryMs, over));
  }

  /** For those who look at runs: which there are by now. */
  async #learnRuns(runs: RunId[], over: AbortSignal): Promise<void> {
    do runs.splice(0, runs.length, ...(await this.#o.api.listRuns()).map(({ id }) => id));
    while (await pause(scrapeEveryMs, over));
  }

  /** All runs, when none goes on any more or the patience is over. */
  async #endedRuns(): Promise<Run[]> {
    const { api, say } = this.#o;
    const end = performance.now() + drainMs;
    for (;;) {
      const runs = await api.listRuns();
      const going = runs.filter(({ finishedAt }) => finishedAt === null).length;
      if (going === 0 || performance.now() > end) {
        if (going > 0) say(`  ${going} runs have not ended`);
        return runs;
      }
      await sleep(1_000);
    }
  }
}

/** What came of the runs of plans. */
export function summaryOf(
  runs: readonly Run[],
  first: Date,
  expected: number,
): Pick<Figures, 'delays' | 'runs' | 'items'> {
  const due = runs.filter(({ dueAt }) => dueAt !== null);
  const delays = due.flatMap(({ dueAt, startedAt }) =>
    dueAt === null || startedAt === null ? [] : [Date.parse(startedAt) - Date.parse(dueAt)],
  );
  const succeeded = due.filter(({ state }) => state === 'succeeded');
  const count = succeeded.reduce((sum, { itemCount }) => sum + itemCount, 0);
  const last = Math.max(
    first.getTime(),
    ...succeeded.map(({ finishedAt }) => Date.parse(finishedAt ?? '') || 0),
  );
  const seconds = (last - first.getTime()) / 1_000;
  return {
    delays: spreadOf(delays),
    runs: { expected, begun: delays.length, succeeded: succeeded.length },
    items: { count, perS: seconds > 0 ? count / seconds : 0 },
  };
}
