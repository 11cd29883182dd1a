import { alertRaised, Fault, type Clock, type Logger, type RunId } from '@casvault/contracts';
import { type Messenger } from '@casvault/messaging';
import { type AlertStore } from './alert-store.js';

const lookEveryMs = 1_000;
const batch = 100;
/** Items of which the end was not written so long after their run's are told of as they are. */
const patienceMs = 60_000;

export interface AlertWatchOptions {
  readonly client: Pick<Messenger, 'publish'>;
  readonly alerts: Pick<AlertStore, 'pending' | 'raise' | 'untold' | 'setTold'>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * H3: raises the alerts of runs that are over, and publishes them. Rows say what was done, so that nothing is lost or raised
 * twice, whoever is killed when; any number of replicas may.
 */
export class AlertWatch {
  readonly #o: AlertWatchOptions;
  readonly #stopping = new AbortController();
  #watching: Promise<void> = Promise.resolve();

  constructor(options: AlertWatchOptions) {
    this.#o = options;
  }

  start(): void {
    this.#watching = this.#watch(this.#stopping.signal);
  }

  async drain(): Promise<void> {
    this.#stopping.abort();
    await this.#watching;
  }

  /** One look; runs of the last moments may have to wait for the next. */
  async look(): Promise<void> {
    const { alerts, client, clock } = this.#o;
    const patience = new Date(clock.now().getTime() - patienceMs);
    for (const runId of await alerts.pending(patience, batch)) await this.#raise(runId);
    for (const alert of await alerts.untold(batch)) {
      await client.publish(alertRaised, alert, { messageId: alert.id });
      await alerts.setTold(alert.id);
    }
  }

  /** A run that cannot be told of keeps nothing from the others. */
  async #raise(runId: RunId): Promise<void> {
    const { alerts, logger } = this.#o;
    try {
      await alerts.raise(runId);
    } catch (error) {
      if (Fault.from(error).kind === 'unavailable') throw error;
      logger.error({ err: error, runId }, 'alerts of a run not raised, trying again');
    }
  }

  async #watch(stopping: AbortSignal): Promise<void> {
    const { clock, logger } = this.#o;
    while (!stopping.aborted) {
      try {
        await this.look();
      } catch (error) {
        logger.warn({ err: error }, 'alerts not raised, trying again');
      }
      await clock.sleep(lookEveryMs, stopping);
    }
  }
}
