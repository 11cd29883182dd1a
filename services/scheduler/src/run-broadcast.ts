import { newId, runChanged, type Clock, type Logger, type RunId } from '@casvault/contracts';
import { type MessagingClient } from '@casvault/messaging';
import { type RunStore } from './run-store.js';

const everyMs = 1_000;

export interface RunBroadcastOptions {
  readonly client: MessagingClient;
  readonly runs: RunStore;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly stopping: AbortSignal;
}

/**
 * Tells of progress: at once, and then at most once a second for a run. What is lost here is told again by the next; the
 * run's own states are told by its machine. Memory: one entry for every run that changed within the last second.
 */
export class RunBroadcast {
  readonly #o: RunBroadcastOptions;
  /** Runs told of within the last second; true: changed since. */
  readonly #told = new Map<RunId, boolean>();

  constructor(options: RunBroadcastOptions) {
    this.#o = options;
  }

  changed(runId: RunId): void {
    const isTold = this.#told.has(runId);
    this.#told.set(runId, isTold);
    if (!isTold) void this.#tellWhileChanging(runId);
  }

  /** Never rejects. */
  async #tellWhileChanging(runId: RunId): Promise<void> {
    const { clock, stopping } = this.#o;
    do {
      this.#told.set(runId, false);
      await this.#tell(runId);
      await clock.sleep(everyMs, stopping);
    } while (this.#told.get(runId) === true && !stopping.aborted);
    this.#told.delete(runId);
  }

  async #tell(runId: RunId): Promise<void> {
    const { client, runs, logger } = this.#o;
    try {
      await client.publish(runChanged, await runs.news(runId), { messageId: newId() });
    } catch (error) {
      logger.warn({ err: error, runId }, 'progress of the run not told');
    }
  }
}
