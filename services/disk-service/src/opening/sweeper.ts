import { rm } from 'node:fs/promises';
import type { Clock, Logger, OpeningId } from '@casvault/contracts';
import type { ImageServers } from '../host/image-server.js';
import type { LiveCaptures } from '../host/live-capture.js';
import type { Openings } from './openings.js';
import type { RecordStore } from './record-store.js';
import { isHeld, type OpeningRecord } from './record.js';

const sweepMs = 1_000;
/** Clean-ups that failed are tried again, and interrupted openings looked at again, every so often. */
const tidyMs = 5_000;

export type SweepAction =
  | {
      readonly do: 'lose';
      readonly openingId: OpeningId;
      readonly why: string;
      /** A renewal that came in meanwhile saves it. */
      readonly unlessRenewed: boolean;
    }
  | { readonly do: 'tidy'; readonly openingId: OpeningId };

/** What is due at `now`, by the records alone. */
export function dueActions(
  records: readonly OpeningRecord[],
  now: Date,
  scratch: { readonly freeBytes: number; readonly reserveBytes: number },
  isTidyTime: boolean,
): SweepAction[] {
  const at = now.toISOString();
  const actions: SweepAction[] = [];
  for (const { openingId, state, method, leaseUntil } of records) {
    if (state === 'open' && leaseUntil <= at) {
      actions.push({ do: 'lose', openingId, why: `its lease ran out at ${leaseUntil}`, unlessRenewed: true });
    } else if (state === 'open' && method === 'live' && scratch.freeBytes < scratch.reserveBytes) {
      // A scratch file that can't grow fails the guest's own writes: the VM goes before its backup.
      const why = 'the scratch folder ran full, which would have stopped the VM';
      actions.push({ do: 'lose', openingId, why, unlessRenewed: false });
    } else if (state !== 'open' && isTidyTime) {
      actions.push({ do: 'tidy', openingId });
    }
  }
  return actions;
}

export interface SweeperParts {
  readonly openings: Openings;
  readonly store: RecordStore;
  readonly live: LiveCaptures;
  readonly servers: ImageServers;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly scratchReserveBytes: number;
}

/** Ends what nobody renews, and cleans up after what was interrupted. */
export class Sweeper {
  readonly #parts: SweeperParts;
  /** At most one piece of work per opening at a time, so at most as many as there are openings. */
  readonly #working = new Map<OpeningId, Promise<void>>();

  constructor(parts: SweeperParts) {
    this.#parts = parts;
  }

  /** Sweeps until `signal` aborts; returns when the work then under way has ended. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#parts;
    let tidiedAt = 0;
    while (!signal.aborted) {
      await clock.sleep(sweepMs, signal);
      if (signal.aborted) break;
      const now = clock.now();
      const isTidyTime = now.getTime() - tidiedAt >= tidyMs;
      if (isTidyTime) tidiedAt = now.getTime();
      await this.#sweep(now, isTidyTime);
    }
    await Promise.allSettled(this.#working.values());
  }

  /**
   * Removes what carries our names but belongs to no opening that is held: from a state folder that was lost, or a step
   * that outlived a killed service.
   */
  async removeStrays(): Promise<void> {
    const { store, live, servers, logger } = this.#parts;
    const held = new Set<string>(
      store
        .all()
        .filter(isHeld)
        .map((record) => record.openingId),
    );
    for (const name of await servers.names()) {
      if (held.has(name.slice(0, 36))) continue;
      await servers.stop([name], true);
      logger.warn({ server: name }, 'removed a server of no opening');
    }
    for (const [openingId, vmUuid] of await live.jobs()) {
      if (held.has(openingId)) continue;
      await live.abort(openingId, vmUuid);
      logger.warn({ openingId, vmUuid }, 'ended a backup job of no opening');
    }
    for (const [openingId, files] of await live.scratchOwners()) {
      if (held.has(openingId)) continue;
      for (const file of files) await rm(file, { force: true });
      logger.warn({ openingId, files: files.length }, 'removed scratch files of no opening');
    }
  }

  async #sweep(now: Date, isTidyTime: boolean): Promise<void> {
    const { store, live, logger, scratchReserveBytes } = this.#parts;
    const records = store.all();
    let freeBytes = Number.POSITIVE_INFINITY;
    if (records.some((record) => record.state === 'open' && record.method === 'live')) {
      freeBytes = await live.scratchFreeBytes().catch((error: unknown) => {
        logger.error({ said: String(error) }, 'free space of the scratch folder is not known');
        return Number.POSITIVE_INFINITY;
      });
    }
    const scratch = { freeBytes, reserveBytes: scratchReserveBytes };
    for (const action of dueActions(records, now, scratch, isTidyTime)) this.#begin(action);
  }

  #begin(action: SweepAction): void {
    const { openingId } = action;
    if (this.#working.has(openingId)) return;
    const work = this.#carryOut(action)
      .catch((error: unknown) => {
        const said = error instanceof Error ? error.message : String(error);
        this.#parts.logger.warn({ openingId, said }, 'clean-up failed; it is tried again');
      })
      .finally(() => {
        this.#working.delete(openingId);
      });
    this.#working.set(openingId, work);
  }

  async #carryOut(action: SweepAction): Promise<void> {
    const { openings, clock } = this.#parts;
    if (action.do === 'tidy') await openings.tidy(action.openingId);
    else {
      const isDue = (record: OpeningRecord): boolean =>
        !action.unlessRenewed || record.leaseUntil <= clock.now().toISOString();
      await openings.lose(action.openingId, action.why, isDue);
    }
  }
}
