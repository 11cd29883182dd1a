import { Fault, type Clock, type FaultJson, type JobId, type Logger, type RunId } from '@casvault/contracts';
import { mapBounded } from './bounded.js';
import { firingOf, type Firing, type PlannedJob } from './firing.rules.js';

/** Jobs that are due are looked for so often, and when the next is due: somebody may save one that is due sooner. */
const lookEveryMs = 1_000;
const batch = 64;
/** Jobs of which the content is asked for at the same time, and runs that are begun. */
const atOnce = 8;

/** What a run is made of; a fault: it can't be, and the run has failed before it began. */
export type Content<T> = { readonly items: readonly T[] } | { readonly fault: FaultJson };

interface Due<J> {
  readonly now: Date;
  readonly jobs: readonly J[];
  readonly nextAt: Date | null;
}

/** A run that was made, and for how long it was due at the look. */
interface Made {
  readonly runId: RunId;
  readonly job: JobId;
  readonly lateMs: number;
}

/** `lookAt`: by the planner's own clock, when something may be due again. */
interface Look {
  readonly fired: number;
  readonly lookAt: number;
}

/** Where jobs and their due times are kept. All replicas share it, and with it the one clock that says what is due. */
export interface PlanStore<J extends PlannedJob, T> {
  /** The jobs that are due by the store's clock, at most `limit`, and when the next after `now` is due. */
  due(limit: number): Promise<Due<J>>;
  /**
   * In one transaction: moves the plans on to their next times, and makes the run or notes why there is none. Nothing at all
   * when the job is no longer as it was looked at: another replica was faster, or somebody edited it. The run that was made.
   */
  settle(job: J, firing: Firing, content: Content<T>): Promise<RunId | null>;
}

export interface PlannerOptions<J extends PlannedJob, T> {
  readonly store: PlanStore<J, T>;
  /** What a run of the job is made of now; throws an `unavailable` Fault when nobody can tell. */
  readonly resolve: (job: J, firing: Firing) => Promise<readonly T[]>;
  /** Sets a run in motion that was made; whoever makes none up for a lost one is told by its row. */
  readonly begin: (runId: RunId) => Promise<void>;
  /** Told of every run that was begun how long after its time that was. */
  readonly onBegun?: (delayMs: number) => void;
  /** D7: a run that was missed for no longer than this is made up for. */
  readonly graceMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * D7: begins the runs that are due. Any number of replicas may; each due time makes one run, whoever is killed when. Its own
 * clock only says when to look again. Memory: `batch` jobs, and the items of `atOnce` runs.
 */
export class Planner<J extends PlannedJob, T> {
  readonly #o: PlannerOptions<J, T>;
  #looking: Promise<void> = Promise.resolve();
  readonly #stopping = new AbortController();

  constructor(options: PlannerOptions<J, T>) {
    this.#o = options;
  }

  start(): void {
    this.#looking = this.#look(this.#stopping.signal);
  }

  async drain(): Promise<void> {
    this.#stopping.abort();
    await this.#looking;
  }

  /** Fires what is due now; how many jobs are due no longer. */
  async fire(): Promise<number> {
    return (await this.#fire()).fired;
  }

  /**
   * Runs are made first and then begun: what a run that has begun asks of everybody would hold up those that are due too.
   * Of the runs that were made all are begun, whatever became of the others.
   */
  async #fire(): Promise<Look> {
    const { store, clock } = this.#o;
    const { now, jobs, nextAt } = await store.due(batch);
    const lookedAt = clock.now().getTime();
    const made: Made[] = [];
    try {
      const fired = await mapBounded(jobs, atOnce, (job) => this.#settle(job, now, made));
      const nextInMs = nextAt === null ? lookEveryMs : nextAt.getTime() - now.getTime();
      return { fired: fired.filter(Boolean).length, lookAt: lookedAt + Math.min(lookEveryMs, nextInMs) };
    } finally {
      await mapBounded(made, atOnce, (run) => this.#begin(run, lookedAt));
    }
  }

  /** Never rejects for a fault of one job: it stays due, until its grace is over. */
  async #settle(job: J, now: Date, made: Made[]): Promise<boolean> {
    const firing = firingOf(job, now, this.#o.graceMs);
    if (firing === null) return false;
    try {
      const runId = await this.#o.store.settle(job, firing, await this.#contentOf(job, firing));
      if (runId !== null && firing.run !== null)
        made.push({ runId, job: job.id, lateMs: now.getTime() - firing.run.dueAt.getTime() });
      return true;
    } catch (error) {
      if (!Fault.is(error)) throw error;
      this.#o.logger.warn({ err: error, jobId: job.id }, 'the run that is due was not made, trying again');
      return false;
    }
  }

  /** A fault leaves the run to whoever makes up for lost ones. */
  async #begin({ runId, job, lateMs }: Made, lookedAt: number): Promise<void> {
    const { begin, onBegun, clock, logger } = this.#o;
    try {
      await begin(runId);
      onBegun?.(lateMs + clock.now().getTime() - lookedAt);
    } catch (error) {
      if (!Fault.is(error)) throw error;
      logger.warn({ err: error, jobId: job, runId }, 'the run that was made was not begun yet');
    }
  }

  async #contentOf(job: J, firing: Firing): Promise<Content<T>> {
    if (firing.run === null || job.isGoing) return { items: [] };
    try {
      return { items: await this.#o.resolve(job, firing) };
    } catch (error) {
      const fault = Fault.from(error);
      if (fault.kind === 'unavailable' || fault.kind === 'bug') throw fault;
      return { fault: fault.toJSON() };
    }
  }

  async #look(stopping: AbortSignal): Promise<void> {
    const { clock, logger } = this.#o;
    while (!stopping.aborted) {
      let look: Look = { fired: 0, lookAt: Infinity };
      try {
        look = await this.#fire();
      } catch (error) {
        logger.warn({ err: error }, 'plans not looked at, trying again');
      }
      if (look.fired < batch) await clock.sleep(this.#untilLook(look), stopping);
    }
  }

  #untilLook({ lookAt }: Look): number {
    return Math.min(lookEveryMs, Math.max(1, lookAt - this.#o.clock.now().getTime()));
  }
}
