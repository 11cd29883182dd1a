import {
  newId,
  planSchema,
  weekdays,
  type JobId,
  type Logger,
  type Plan,
  type RunId,
} from '@casvault/contracts';
import { ManualClock } from '@casvault/testkit';
import { firstDues, outcomeOf, type Firing, type PlannedJob } from './firing.rules.js';
import { Planner, type Content, type PlanStore } from './planner.js';
import { duesOf, watchFrom, type Watched } from './testing/wall-clock.js';

const hourMs = 3_600_000;
const graceMs = hourMs;
const silent: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

interface Told {
  readonly state: 'run' | 'skipped' | 'missed';
  readonly dueAt: string;
  readonly kind: string | null;
}

interface Row {
  job: Omit<PlannedJob, 'dueAts' | 'isGoing'>;
  dueAts: (number | null)[];
  readonly runsForMs: number;
  goesOnUntil: number;
  readonly told: Told[];
}

/** Whoever carries out the step is killed: before it took place, or before it heard so. */
class Killed extends Error {}

/** The tables, and the clock, that all replicas share. */
class Tables {
  readonly rows: Row[] = [];
  readonly runs = new Map<string, Row>();
  now = 0;

  add(plans: readonly Plan[], timeZone: string, runsForMs: number): Row {
    const job = { id: newId<JobId>(), version: 1, timeZone, plans };
    const dueAts = firstDues(plans, timeZone, new Date(this.now)).map((at) => at?.getTime() ?? null);
    const row: Row = { job, dueAts, runsForMs, goesOnUntil: -Infinity, told: [] };
    this.rows.push(row);
    return row;
  }

  nextDue(): number {
    let next = Infinity;
    for (const { dueAts } of this.rows) for (const at of dueAts) if (at !== null && at < next) next = at;
    return next;
  }

  /** As one replica sees them; `dies` is asked at both sides of every commit. */
  seenBy(dies: () => boolean): PlanStore<PlannedJob & { row: Row }, never> {
    return {
      due: async (limit) => {
        const due = this.rows.filter(({ dueAts }) => dueAts.some((at) => at !== null && at <= this.now));
        const jobs = due.slice(0, limit).map((row) => ({
          ...row.job,
          row,
          dueAts: row.dueAts.map((at) => (at === null ? null : new Date(at))),
          isGoing: this.now < row.goesOnUntil,
        }));
        return { now: new Date(this.now), jobs, nextAt: null };
      },
      settle: async (job, firing, content) => {
        if (dies()) throw new Killed();
        await Promise.resolve();
        const runId = this.#settle(job, firing, content);
        if (dies()) throw new Killed();
        return runId;
      },
    };
  }

  #settle({ row, ...seen }: PlannedJob & { row: Row }, firing: Firing, _: Content<never>): RunId | null {
    const isAsSeen = seen.dueAts.every((at, seq) => (at?.getTime() ?? null) === row.dueAts[seq]);
    if (!isAsSeen || row.job.version !== seen.version) return null;
    row.dueAts = firing.next.map((at) => at?.getTime() ?? null);
    const { run, notes } = outcomeOf(firing, seen.isGoing || this.now < row.goesOnUntil);
    const tell = (state: Told['state'], { runId, dueAt, choice }: NonNullable<typeof run>): boolean => {
      if (this.runs.has(runId)) return false;
      this.runs.set(runId, row);
      row.told.push({ state, dueAt: dueAt.toISOString(), kind: choice.pointKind ?? null });
      return true;
    };
    for (const note of notes) tell(note.state, note);
    if (run === null || !tell('run', run)) return null;
    row.goesOnUntil = this.now + row.runsForMs;
    return run.runId;
  }
}

const replicaOf = (tables: Tables, dies: () => boolean = () => false): Planner<never, never> =>
  new Planner({
    store: tables.seenBy(dies),
    resolve: async () => [],
    begin: async () => undefined,
    graceMs,
    clock: { now: () => new Date(NaN), sleep: () => Promise.reject(new Error('nobody waits here')) },
    logger: silent,
  }) as unknown as Planner<never, never>;

const at = (tables: Tables, time: string): number => (tables.now = Date.parse(time));

describe('D7: begins what is due', () => {
  const plan = (fields: object): Plan => planSchema.parse(fields);
  const nightly = plan({ type: 'daily', time: '02:00', pointKind: 'incremental', startDate: '2026-01-01' });
  const weekly = plan({
    type: 'weekly',
    time: '02:00',
    weekdays: ['sunday'],
    pointKind: 'full',
    startDate: '2026-01-01',
  });
  let tables: Tables;
  beforeEach(() => {
    tables = new Tables();
    at(tables, '2026-05-01T12:00:00Z');
  });

  it('runs the full one when both are due', async () => {
    const { told } = tables.add([nightly, weekly], 'UTC', hourMs);
    for (const day of ['02', '03']) {
      at(tables, `2026-05-${day}T02:00:00Z`);
      await replicaOf(tables).fire();
    }
    expect(told.map(({ kind }) => kind)).toEqual(['incremental', 'full']);
  });

  it('skips what is due while the last run goes on', async () => {
    const { told } = tables.add([nightly], 'UTC', 25 * hourMs);
    for (const day of ['02', '03', '04']) {
      at(tables, `2026-05-${day}T02:00:00Z`);
      await replicaOf(tables).fire();
    }
    expect(told.map(({ state }) => state)).toEqual(['run', 'skipped', 'run']);
  });

  it('makes up for what was missed within the grace, once, and notes what is older', async () => {
    const { told } = tables.add([nightly], 'UTC', hourMs);
    at(tables, '2026-05-04T02:59:00Z');
    await replicaOf(tables).fire();
    at(tables, '2026-05-06T03:01:00Z');
    await replicaOf(tables).fire();
    expect(told).toEqual([
      { state: 'run', dueAt: '2026-05-04T02:00:00.000Z', kind: 'incremental' },
      { state: 'missed', dueAt: '2026-05-06T02:00:00.000Z', kind: 'incremental' },
    ]);
  });

  it('notes a full that was missed though an incremental runs', async () => {
    const { told } = tables.add([{ ...nightly, time: '06:00' } as Plan, weekly], 'UTC', hourMs);
    at(tables, '2026-05-02T06:00:00Z');
    await replicaOf(tables).fire();
    at(tables, '2026-05-03T06:10:00Z');
    await replicaOf(tables).fire();
    expect(told.slice(1).map(({ state, kind }) => [state, kind])).toEqual([
      ['missed', 'full'],
      ['run', 'incremental'],
    ]);
  });

  it('never fires twice, however the clock jumps', async () => {
    const { told } = tables.add([nightly], 'UTC', hourMs);
    const times = [
      '02T02:00',
      '01T02:00',
      '04T02:30',
      '03T02:00',
      '02T02:00',
      '04T02:00',
      '05T02:00',
      '05T01:00',
      '05T02:01',
    ];
    for (const time of times) {
      at(tables, `2026-05-${time}:00Z`);
      await replicaOf(tables).fire();
    }
    expect(told.map(({ dueAt }) => dueAt.slice(8, 10))).toEqual(['02', '04', '05']);
  });

  it('leaves what nobody can tell the content of to the next look', async () => {
    const { told } = tables.add([nightly], 'UTC', hourMs);
    at(tables, '2026-05-02T02:00:00Z');
    let asked = 0;
    const store = tables.seenBy(() => ++asked === 1);
    const flaky = new Planner({
      store,
      resolve: async () => [],
      begin: async () => undefined,
      graceMs,
      clock: { now: () => new Date(0), sleep: async () => undefined },
      logger: silent,
    });
    await expect(flaky.fire()).rejects.toThrow(Killed);
    expect(told).toEqual([]);
    await flaky.fire();
    expect(told.map(({ state }) => state)).toEqual(['run']);
  });
});

describe('D7: looks for what is due', () => {
  const runs = Array.from({ length: 10 }, () => newId<RunId>());
  const job = (): PlannedJob => ({
    id: newId<JobId>(),
    version: 1,
    timeZone: 'UTC',
    plans: [planSchema.parse({ type: 'daily', time: '02:00', startDate: '2026-01-01' })],
    dueAts: [new Date('2026-05-02T02:00:00Z')],
    isGoing: false,
  });
  const now = new Date('2026-05-02T02:00:00Z');

  it('begins no run before all that are due are made, and all of them though one cannot be', async () => {
    const did: string[] = [];
    const left = [...runs];
    const planner = new Planner<PlannedJob, never>({
      store: {
        due: async () => ({ now, jobs: [...runs, ...runs].map(job), nextAt: null }),
        settle: async () => {
          await Promise.resolve();
          const made = left.shift();
          if (made === undefined) throw new Killed();
          did.push('made');
          return made;
        },
      },
      resolve: async () => [],
      begin: async () => void did.push('begun'),
      graceMs,
      clock: { now: () => now, sleep: async () => undefined },
      logger: silent,
    });
    await expect(planner.fire()).rejects.toThrow(Killed);
    expect(did).toEqual([...runs.map(() => 'made'), ...runs.map(() => 'begun')]);
  });

  it('when the next is due, and otherwise every second', async () => {
    const nextIn = [5_000, 300, -20];
    const clock = new ManualClock();
    const begun = clock.now().getTime();
    const looks: number[] = [];
    const planner = new Planner<PlannedJob, never>({
      store: {
        due: async () => {
          looks.push(clock.now().getTime() - begun);
          const ms = nextIn.shift();
          return { now, jobs: [], nextAt: ms === undefined ? null : new Date(now.getTime() + ms) };
        },
        settle: () => Promise.reject(new Error('nothing is due')),
      },
      resolve: async () => [],
      begin: async () => undefined,
      graceMs,
      clock,
      logger: silent,
    });
    planner.start();
    await clock.advance(2_400);
    await planner.drain();
    expect(looks).toEqual([0, 1_000, 1_300, 1_301, 2_301]);
  });
});

/** A small generator with a seed (mulberry32). */
const seeded = (seed: number) => {
  let state = seed;
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const below = (n: number): number => Math.floor(next() * n);
  const pick = <T>(values: readonly T[]): T => values[below(values.length)] as T;
  const some = <T>(values: readonly T[], count: number): T[] => {
    const left = [...values];
    return Array.from({ length: count }, () => left.splice(below(left.length), 1)[0] as T);
  };
  return { next, below, pick, some };
};
type Seeded = ReturnType<typeof seeded>;

const zones = [
  'Europe/Berlin',
  'America/New_York',
  'Asia/Shanghai',
  'Australia/Lord_Howe',
  'America/Santiago',
  'UTC',
];
const [begins, ends] = [Date.parse('2027-06-15T00:00:30Z'), Date.parse('2028-06-15T00:00:30Z')];

const timeOf = ({ below }: Seeded): string =>
  `${String(below(24)).padStart(2, '0')}:${String(below(4) * 15).padStart(2, '0')}`;
const anyPlan = (random: Seeded): object => {
  const { below, some, next, pick } = random;
  const time = timeOf(random);
  const startDate = `2027-0${1 + below(9)}-0${1 + below(9)}`;
  const months = some([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], 6 + below(7));
  const dice = next();
  if (dice < 0.5) return { type: 'daily', time, everyDays: 1 + below(4), startDate };
  if (dice < 0.75)
    return {
      type: 'weekly',
      time,
      everyWeeks: 1 + below(3),
      weekdays: some(weekdays, 1 + below(3)),
      startDate,
    };
  if (dice < 0.85) return { type: 'monthly', time, months, days: some([1, 15, 29, 30, 31, 'last'], 2) };
  if (dice < 0.93)
    return {
      type: 'monthly',
      time,
      months,
      weeks: [pick(['first', 'third', 'last'])],
      weekdays: some(weekdays, 2),
    };
  if (dice < 0.95) return { type: 'once', at: `2027-1${below(3)}-1${below(9)}T${time}` };
  const window = { type: 'hourly', windowStart: time, windowEnd: timeOf(random) };
  if (dice < 0.97) return { ...window, every: 90 + below(100), unit: 'minutes' };
  return { ...window, every: 2 + below(6), unit: 'hours' };
};
const anyPlans = (random: Seeded): Plan[] => {
  for (;;) {
    const isPair = random.below(3) === 0;
    const fields = isPair
      ? [
          { ...anyPlan(random), pointKind: 'full' },
          { ...anyPlan(random), pointKind: 'incremental' },
        ]
      : [anyPlan(random)];
    const plans = fields.map((one) => planSchema.safeParse(one));
    if (plans.every(({ success }) => success)) return plans.map(({ data }) => data as Plan);
  }
};

/** Nobody is there from one to the other; between whole minutes, at which plans are due. */
type Outage = readonly [number, number];
const anyOutages = ({ below }: Seeded): Outage[] => {
  const outages: Outage[] = [];
  for (let from = begins; ;) {
    from += (1 + below(20 * 24 * 60)) * 60_000;
    const to = from + (5 + below(600)) * 60_000;
    if (to >= ends) return outages;
    outages.push([from, to]);
    from = to;
  }
};

/** What must come of a job, from nothing but the times that a watched clock gives, the outages, and how long runs take. */
const expectedOf = ({ job, runsForMs }: Row, watched: Watched, outages: readonly Outage[]): Told[] => {
  const handledAt = (due: number) => outages.find(([from, to]) => due > from && due < to)?.[1] ?? due;
  const dues = job.plans.flatMap((plan) =>
    duesOf(plan, watched)
      .filter((due) => due > begins && due < ends)
      .map((due) => ({
        due,
        kind: ('pointKind' in plan ? plan.pointKind : null) ?? null,
        at: handledAt(due),
      })),
  );
  const told: Told[] = [];
  let goesOnUntil = -Infinity;
  for (const now of [...new Set(dues.map((one) => one.at))].sort((a, b) => a - b)) {
    const here = dues.filter((one) => one.at === now);
    // The last of each plan.
    const last = [...new Map(here.map((one) => [one.kind, one])).values()];
    const isYoung = ({ due }: (typeof here)[number]) => due + graceMs >= now;
    const chosen = last.find((one) => isYoung(one) && one.kind === 'full') ?? last.find(isYoung);
    const say = (state: Told['state'], { due, kind }: (typeof here)[number]) =>
      told.push({ state, dueAt: new Date(due).toISOString(), kind });
    for (const one of last)
      if (!isYoung(one) && (chosen === undefined || one.kind === 'full')) say('missed', one);
    if (chosen === undefined) continue;
    if (now < goesOnUntil) say('skipped', chosen);
    else {
      say('run', chosen);
      goesOnUntil = now + runsForMs;
    }
  }
  return told;
};

describe('D7: a year of 1,000 jobs under three replicas that are killed at random', () => {
  it('fires exactly the runs that a watched clock says', async () => {
    const random = seeded(20_270_615);
    const tables = new Tables();
    tables.now = begins;
    for (let i = 0; i < 1_000; i += 1)
      tables.add(anyPlans(random), random.pick(zones), (1 + random.below(20)) ** 2 * 5 * 60_000 + 1);
    const outages = anyOutages(random);
    const left = [...outages];
    let killed = 0;
    const dies = (): boolean => {
      const isKilled = random.next() < 0.05;
      killed += isKilled ? 1 : 0;
      return isKilled;
    };
    const replicas = Array.from({ length: 3 }, () => replicaOf(tables, dies));
    for (;;) {
      const due = tables.nextDue();
      if (due >= ends) break;
      tables.now = Math.max(due, tables.now);
      while (left[0] && left[0][1] < tables.now) left.shift();
      if (left[0] && left[0][0] < tables.now) tables.now = left[0][1];
      const there = random.some(replicas, 1 + random.below(3));
      const atTheSameTime = there.map((replica) =>
        replica.fire().catch((error: unknown) => {
          if (!(error instanceof Killed)) throw error;
        }),
      );
      await Promise.all(atTheSameTime);
    }
    const watched = new Map(
      zones.map((zone) => [zone, watchFrom(zone, Date.parse('2027-06-12'), ends, 15)] as const),
    );
    const all = { run: 0, skipped: 0, missed: 0 };
    for (const row of tables.rows) {
      const clock = watched.get(row.job.timeZone);
      expect({ plans: row.job.plans, told: row.told }).toEqual({
        plans: row.job.plans,
        told: clock && expectedOf(row, clock, outages),
      });
      for (const { state } of row.told) all[state] += 1;
    }
    expect(killed).toBeGreaterThan(1_000);
    expect(Math.min(all.run / 100, all.skipped, all.missed)).toBeGreaterThan(300);
  });
});
