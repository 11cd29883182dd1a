import { type Clock, type Logger, type PlatformId } from '@casvault/contracts';
import { type PlatformStore } from './platform-store.js';
import { type PlatformSync } from './platform-sync.js';

export interface SyncScheduleOptions {
  readonly platforms: PlatformStore;
  readonly sync: PlatformSync;
  /** Follows every synchronisation that succeeded. */
  readonly after: (id: PlatformId, signal: AbortSignal) => Promise<unknown>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Between two synchronisations of a platform. */
  readonly intervalMs: number;
  /** Between two looks for what is due. */
  readonly pollMs: number;
}

/** Synchronises platforms when they are due, one after another; any number of replicas share the work. */
export class SyncSchedule {
  private readonly stopping = new AbortController();
  private loop: Promise<void> = Promise.resolve();

  constructor(private readonly options: SyncScheduleOptions) {}

  start(): void {
    this.loop = this.run();
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.loop;
  }

  private async run(): Promise<void> {
    const { clock, logger, pollMs } = this.options;
    const { signal } = this.stopping;
    while (!signal.aborted) {
      try {
        if (await this.next()) continue;
      } catch (error) {
        logger.warn({ err: error }, 'no platform could be taken for synchronisation');
      }
      await clock.sleep(pollMs, signal);
    }
  }

  private async next(): Promise<boolean> {
    const { platforms, sync, clock, intervalMs } = this.options;
    const id = await platforms.takeDue(clock.now(), intervalMs);
    if (id === null) return false;
    // A failure is logged and kept by the synchronisation itself; the next try is one interval away.
    const done = await sync.run(id, { everything: false, fresh: false }).then(
      () => true,
      () => false,
    );
    if (done) await this.afterwards(id);
    return true;
  }

  private async afterwards(id: PlatformId): Promise<void> {
    const { after, logger } = this.options;
    try {
      await after(id, this.stopping.signal);
    } catch (error) {
      logger.warn(
        { err: error, platformId: id },
        'platform not reconciled; tried again after the next synchronisation',
      );
    }
  }
}
