import { type Clock, type Logger, type SpeedLimit } from '@casvault/contracts';
import { Governor, type Speed, type SpeedCells } from '@casvault/data-path';
import { type Monotonic } from './outage.js';
import { speedAt } from './speed.rules.js';

interface Pace {
  readonly governor: Governor;
  readonly end: AbortController;
  readonly running: Promise<void>;
  users: number;
}

interface PaceParts {
  readonly clock: Clock;
  readonly monotonic: Monotonic;
  /** In which windows are read. */
  readonly timeZone: string;
  readonly logger: Logger;
}

/** The speeds of what goes on at this backup host: transfers under one key share theirs. */
export class Paces {
  readonly #parts: PaceParts;
  readonly #paces = new Map<string, Pace>();

  constructor(parts: PaceParts) {
    this.#parts = parts;
  }

  /** Does the work at the speed that the limits say at each moment. Without limits nothing is measured. A change is told in the log. */
  async keep<T>(
    key: string,
    limits: readonly SpeedLimit[],
    work: (speed: SpeedCells | undefined) => Promise<T>,
  ): Promise<T> {
    if (limits.length === 0) return work(undefined);
    const pace = this.#paces.get(key) ?? this.#begin(key, limits);
    pace.users += 1;
    try {
      return await work(pace.governor.cells);
    } finally {
      pace.users -= 1;
      if (pace.users === 0) await this.#end(key, pace);
    }
  }

  #begin(key: string, limits: readonly SpeedLimit[]): Pace {
    const { clock, monotonic, timeZone, logger } = this.#parts;
    let last: Speed = { transfer: null, disk: null };
    const speed = (): Speed => {
      const now = speedAt(limits, timeZone, clock.now());
      if (now.transfer !== last.transfer || now.disk !== last.disk)
        logger.info({ runId: key, bytesPerSecond: now }, 'speed limit changed');
      return (last = now);
    };
    const governor = new Governor(speed, { monotonic, sleep: (ms, signal) => clock.sleep(ms, signal) });
    const end = new AbortController();
    const pace = { governor, end, running: governor.run(end.signal), users: 0 };
    this.#paces.set(key, pace);
    return pace;
  }

  async #end(key: string, { end, running }: Pace): Promise<void> {
    this.#paces.delete(key);
    end.abort();
    await running;
  }
}
