import { type Clock, type Fault } from '@casvault/contracts';

const firstDelayMs = 500;
const maxDelayMs = 15_000;

/** Milliseconds that only ever rise, whatever is done to the wall clock. */
export type Monotonic = () => number;

/**
 * A time of trouble: it begins with the first fault after the last progress, and ends a transfer when it lasts longer than
 * `reconnectMinutes`. Delays between tries double from half a second up to 15 s.
 */
export class Outage {
  readonly #boundMs: number;
  readonly #clock: Clock;
  readonly #monotonic: Monotonic;
  #since: number | null = null;
  #tries = 0;

  constructor(reconnectMinutes: number, clock: Clock, monotonic: Monotonic) {
    this.#boundMs = reconnectMinutes * 60_000;
    this.#clock = clock;
    this.#monotonic = monotonic;
  }

  /** Bytes moved: what was wrong is over. */
  over(): void {
    this.#since = null;
    this.#tries = 0;
  }

  /** Waits until the next try is due; throws `fault` when the trouble has lasted too long. */
  async wait(fault: Fault, signal: AbortSignal): Promise<void> {
    this.#since ??= this.#monotonic();
    if (this.#monotonic() - this.#since >= this.#boundMs) throw fault;
    const delayMs = Math.min(maxDelayMs, firstDelayMs * 2 ** this.#tries);
    this.#tries += 1;
    await this.#clock.sleep(delayMs, signal);
  }
}
