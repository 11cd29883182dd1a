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
 * Tells of progress, at most once a second for a run. What is lost here is told again by the next; the run's own states
 * are told by its machine. Memory: one entry for every run that changed within the last second.
 */
export class RunBroadcast {
  readonly #o: RunBroadcastOptions;
  readonly #waiting = new Set<RunId>();

  constructor(options: RunBroadcastOptions) {
    this.#o = options;
  }

  changed(runId: RunId): void {
    if (this.#waiting.has(runId) || this.#o.stopping.aborted) return;
    this.#waiting.add(runId);
    void this.#later(runId);
  }

  /** Never rejects. */
  async #later(runId: RunId): Promise<void> {
    const { client, runs, clock, logger, stopping } = this.#o;
    await clock.sleep(everyMs, stopping);
    this.#waiting.delete(runId);
    if (stopping.aborted) return;
    try {
      await client.publish(runChanged, await runs.news(runId), { messageId: newId() });
    } catch (error) {
      logger.warn({ err: error, runId }, 'progress of the run not told');
    }
  }
}
