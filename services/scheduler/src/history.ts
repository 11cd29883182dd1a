import { type Clock, type Logger } from '@casvault/contracts';
import { type HistoryRule, type HistoryStore } from './history-store.js';

const lookEveryMs = 600_000;
const batch = 100;
const dayMs = 86_400_000;

export interface HistoryOptions {
  readonly history: Pick<HistoryStore, 'old' | 'forget' | 'forgetJobs'>;
  readonly days: number;
  readonly runsOfJob: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Forgets old runs, a few at a time, each in a transaction of its own. Any number of replicas may. Memory: `batch` ids. */
export class History {
  readonly #o: HistoryOptions;
  readonly #stopping = new AbortController();
  #tidying: Promise<void> = Promise.resolve();

  constructor(options: HistoryOptions) {
    this.#o = options;
  }

  start(): void {
    this.#tidying = this.#tidy(this.#stopping.signal);
  }

  async drain(): Promise<void> {
    this.#stopping.abort();
    await this.#tidying;
  }

  /** One batch; how many runs were old. */
  async forget(stopping: AbortSignal): Promise<number> {
    const { history, days, runsOfJob, clock } = this.#o;
    const rule: HistoryRule = { before: new Date(clock.now().getTime() - days * dayMs), runsOfJob };
    const old = await history.old(rule, batch);
    for (const id of old) {
      if (stopping.aborted) break;
      await history.forget(id, rule);
    }
    if (old.length === 0) await history.forgetJobs();
    return old.length;
  }

  async #tidy(stopping: AbortSignal): Promise<void> {
    const { clock, logger } = this.#o;
    while (!stopping.aborted) {
      let forgotten = 0;
      try {
        forgotten = await this.forget(stopping);
        if (forgotten > 0) logger.info({ forgotten }, 'old runs forgotten');
      } catch (error) {
        logger.warn({ err: error }, 'history not tidied, trying again');
      }
      if (forgotten < batch) await clock.sleep(lookEveryMs, stopping);
    }
  }
}
