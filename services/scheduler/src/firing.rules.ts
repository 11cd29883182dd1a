import {
  idFrom,
  instantOfText,
  kindOfPlan,
  type JobId,
  type Plan,
  type RunChoice,
  type RunId,
} from '@casvault/contracts';
import { lastDue, nextDue } from './plan.rules.js';

/** A job as its plans see it. */
export interface PlannedJob {
  readonly id: JobId;
  /** With the version, what was decided is carried out for the job as it was looked at. */
  readonly version: number;
  readonly timeZone: string;
  readonly plans: readonly Plan[];
  /** For each plan when it is due next; null: never by itself. */
  readonly dueAts: readonly (Date | null)[];
  /** Its last run goes on. */
  readonly isGoing: boolean;
}

/** One time at which a plan was due, and what came of it. */
interface Due {
  readonly runId: RunId;
  readonly dueAt: Date;
  readonly choice: RunChoice;
}
export interface Note extends Due {
  readonly state: 'skipped' | 'missed';
}

export interface Firing {
  /** To be begun, unless the last run goes on by then. */
  readonly run: Due | null;
  readonly missed: readonly Due[];
  /** The plans' next times; none is before what was decided on. */
  readonly next: readonly (Date | null)[];
}

/** The same due time of the same plan gives the same run: one that is decided on twice collides. */
const runIdOf = (job: JobId, seq: number, dueAt: Date): RunId =>
  idFrom<RunId>(job, `${String(seq)} ${dueAt.toISOString()}`);

interface Candidate extends Due {
  readonly kind: ReturnType<typeof kindOfPlan>;
}

/** Of all times up to now only the last counts: one run makes up for those before it. */
const candidateOf = (job: PlannedJob, seq: number, plan: Plan, now: Date): Candidate | null => {
  const first = job.dueAts[seq] ?? null;
  if (first === null || first > now) return null;
  const dueAt = lastDue(plan, job.timeZone, first, now) ?? first;
  const kind = kindOfPlan(plan);
  return { runId: runIdOf(job.id, seq, dueAt), dueAt, choice: kind ? { pointKind: kind } : {}, kind };
};

/** D7: of what is due the full runs. What is due for longer than the grace is missed; an incremental is made up for by any run. */
export const firingOf = (job: PlannedJob, now: Date, graceMs: number): Firing | null => {
  const due = job.plans
    .map((plan, seq) => candidateOf(job, seq, plan, now))
    .filter((candidate) => candidate !== null);
  if (due.length === 0) return null;
  const isFresh = ({ dueAt }: Due): boolean => now.getTime() - dueAt.getTime() <= graceMs;
  const fresh = due.filter(isFresh);
  const chosen = fresh.find(({ kind }) => kind === 'full') ?? fresh[0] ?? null;
  const missed = due.filter(
    (candidate) => !isFresh(candidate) && (chosen === null || candidate.kind === 'full'),
  );
  return { run: chosen, missed, next: nextOf(job, now) };
};

const nextOf = ({ plans, timeZone, dueAts }: PlannedJob, now: Date): (Date | null)[] =>
  plans.map((plan, seq) => {
    const dueAt = dueAts[seq] ?? null;
    return dueAt === null || dueAt > now ? dueAt : nextDue(plan, timeZone, now);
  });

/** What is written of a firing, once it is certain whether the last run goes on. */
export const outcomeOf = (firing: Firing, isGoing: boolean): { run: Due | null; notes: Note[] } => {
  const missed = firing.missed.map((due): Note => ({ ...due, state: 'missed' }));
  if (firing.run === null || !isGoing) return { run: firing.run, notes: missed };
  return { run: null, notes: [...missed, { ...firing.run, state: 'skipped' }] };
};

/** When plans are due that are looked at for the first time. */
export const firstDues = (plans: readonly Plan[], zone: string, now: Date): (Date | null)[] =>
  plans.map((plan) => nextDue(plan, zone, now));

/** The first of them; null: none is due. */
export const soonestOf = (dues: readonly (Date | null)[]): Date | null =>
  dues.reduce((first, due) => (first === null || (due !== null && due < first) ? due : first), null);

/** When the plans of a job are due whose zone has changed: a time of its own that has passed by that is still to be run. */
export const duesInZone = (
  { plans, dueAts }: Pick<PlannedJob, 'plans' | 'dueAts'>,
  zone: string,
  now: Date,
): (Date | null)[] =>
  plans.map((plan, seq) => {
    if ((dueAts[seq] ?? null) === null) return null;
    return plan.type === 'once' ? new Date(instantOfText(zone, plan.at)) : nextDue(plan, zone, now);
  });
