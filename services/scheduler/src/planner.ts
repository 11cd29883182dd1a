import { Fault, type Clock, type FaultJson, type Logger, type RunId } from '@casvault/contracts';
import { mapBounded } from './bounded.js';
import { firingOf, type Firing, type PlannedJob } from './firing.rules.js';

/** Jobs that are due are looked for so often; a time of day is kept to about so much. */
const lookEveryMs = 1_000;
const batch = 32;
/** Jobs of which the content is asked for at the same time. */
const atOnce = 4;

/** What a run is made of; a fault: it can't be, and the run has failed before it began. */
export type Content<T> = { readonly items: readonly T[] } | { readonly fault: FaultJson };

/** Where jobs and their due times are kept. All replicas share it, and with it the one clock that says what is due. */
export interface PlanStore<J extends PlannedJob, T> {
  /** The jobs that are due by the store's clock, at most `limit`. */
  due(limit: number): Promise<{ readonly now: Date; readonly jobs: readonly J[] }>;
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
    const { now, jobs } = await this.#o.store.due(batch);
    const lookedAt = this.#o.clock.now().getTime();
    const fired = await mapBounded(jobs, atOnce, (job) => this.#fireOne(job, now, lookedAt));
    return fired.filter(Boolean).length;
  }

  /** Never rejects for a fault of one job: it stays due, until its grace is over. */
  async #fireOne(job: J, now: Date, lookedAt: number): Promise<boolean> {
    const { store, graceMs, begin, onBegun, clock, logger } = this.#o;
    const firing = firingOf(job, now, graceMs);
    if (firing === null) return false;
    try {
      const runId = await store.settle(job, firing, await this.#contentOf(job, firing));
      if (runId === null) return true;
      await begin(runId);
      const passed = clock.now().getTime() - lookedAt;
      if (firing.run) onBegun?.(now.getTime() + passed - firing.run.dueAt.getTime());
      return true;
    } catch (error) {
      if (!Fault.is(error)) throw error;
      logger.warn({ err: error, jobId: job.id }, 'the run that is due was not begun, trying again');
      return false;
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
      let fired = 0;
      try {
        fired = await this.fire();
      } catch (error) {
        logger.warn({ err: error }, 'plans not looked at, trying again');
      }
      if (fired < batch) await clock.sleep(lookEveryMs, stopping);
    }
  }
}
