import { newId, runChanged, type Clock, type Logger } from '@casvault/contracts';
import { type MessagingClient } from '@casvault/messaging';
import { zoneOfGroup, type BackupZones } from './backup-zones.js';
import { type PostgresPlanStore } from './plan-store.js';
import { type RunStore } from './run-store.js';

const tellEveryMs = 1_000;
const tellBatch = 100;
/** A change of a backup host's zone is followed within so much. */
const zonesEveryMs = 60_000;

export interface PlanUpkeepOptions {
  readonly client: MessagingClient;
  readonly plans: PostgresPlanStore;
  readonly runs: RunStore;
  readonly zones: Pick<BackupZones, 'hosts'>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** What plans need besides being fired: the zones of their jobs are kept current, and runs that were not begun are told of. */
export class PlanUpkeep {
  readonly #o: PlanUpkeepOptions;
  readonly #stopping = new AbortController();
  #loops: Promise<unknown> = Promise.resolve();

  constructor(options: PlanUpkeepOptions) {
    this.#o = options;
  }

  start(): void {
    this.#loops = Promise.all([
      this.#every(tellEveryMs, () => this.#tell()),
      this.#every(zonesEveryMs, () => this.#followZones()),
    ]);
  }

  async drain(): Promise<void> {
    this.#stopping.abort();
    await this.#loops;
  }

  async #every(ms: number, work: () => Promise<void>): Promise<void> {
    const { clock, logger } = this.#o;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      try {
        await work();
      } catch (error) {
        logger.warn({ err: error }, 'upkeep of plans failed, trying again');
      }
      await clock.sleep(ms, signal);
    }
  }

  /** At least once: the row says whether it was. */
  async #tell(): Promise<void> {
    const { client, runs } = this.#o;
    for (const id of await runs.untold(tellBatch)) {
      await client.publish(runChanged, await runs.news(id), { messageId: newId() });
      await runs.setTold(id);
    }
  }

  /** A group that has lost all its hosts keeps its zone. */
  async #followZones(): Promise<void> {
    const { plans, zones, logger } = this.#o;
    const groups = await plans.groups();
    if (groups.length === 0) return;
    const hosts = await zones.hosts();
    for (const group of groups) {
      const zone = zoneOfGroup(hosts, group);
      const moved = zone === null ? 0 : await plans.moveToZone(group, zone);
      if (moved > 0) logger.info({ group, zone, moved }, 'jobs follow the clock of their backup hosts');
    }
  }
}
