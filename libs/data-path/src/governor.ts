import { newCredit, SharedCredit, type CreditCells } from './shared-credit.js';

/** Bytes a second; null: as fast as it goes. */
export interface Speed {
  /** Bytes put into the pool, or got from it. */
  readonly transfer: number | null;
  /** Bytes read from the source's disks, or written to the target's. */
  readonly disk: number | null;
}

/** What holds a transfer's threads back: plain data for them. */
export type SpeedCells = Readonly<Record<keyof Speed, CreditCells>>;

/** So often is credit given. */
const tickMs = 20;
/** What passes at once after a rest, in seconds of the rate. */
const burstSeconds = 0.2;

/**
 * Keeps a transfer to its speed: gives the threads credit as time passes, and follows the speed as that changes. What passes in any time is at
 * most rate x time, 0.2 s of the rate, and one request. It costs a timer of 20 ms and nothing for each byte.
 */
export class Governor {
  readonly cells: SpeedCells = { transfer: newCredit(0), disk: newCredit(0) };
  readonly #speed: () => Speed;
  readonly #time: { readonly monotonic: () => number; readonly sleep: Sleep };
  readonly #kinds: readonly Regulated[];

  /** `speed` is asked at each tick; `monotonic` in ms. */
  constructor(speed: () => Speed, time: { readonly monotonic: () => number; readonly sleep: Sleep }) {
    this.#speed = speed;
    this.#time = time;
    this.#kinds = (['transfer', 'disk'] as const).map((kind) => new Regulated(kind, this.cells[kind]));
    this.#regulate(0);
  }

  /** Until the signal aborts. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    let last = this.#time.monotonic();
    while (!signal.aborted) {
      await this.#time.sleep(tickMs, signal);
      const now = this.#time.monotonic();
      this.#regulate(now - last);
      last = now;
    }
  }

  #regulate(passedMs: number): void {
    const speed = this.#speed();
    for (const kind of this.#kinds) kind.regulate(speed[kind.name], passedMs);
  }
}

type Sleep = (ms: number, signal: AbortSignal) => Promise<void>;

class Regulated {
  readonly name: keyof Speed;
  readonly #credit: SharedCredit;
  /** Undefined before the first time. */
  #rate: number | null | undefined;
  /** KiB that are due and not yet given, less than one. */
  #rest = 0;

  constructor(name: keyof Speed, cells: CreditCells) {
    this.name = name;
    this.#credit = new SharedCredit(cells);
  }

  regulate(rate: number | null, passedMs: number): void {
    if (rate !== this.#rate) {
      this.#rate = rate;
      this.#rest = 0;
      if (rate === null) this.#credit.open();
      else this.#credit.bound(rate * burstSeconds);
    } else if (rate !== null) {
      const due = this.#rest + (rate * passedMs) / 1_000 / 1_024;
      this.#rest = due % 1;
      this.#credit.fill(Math.floor(due));
    }
  }
}
