import { Fault, type Clock, type TransferOptions } from '@casvault/contracts';

const firstDelayMs = 500;
/** One small request to one peer: what came back is noticed soon, whatever it cost to wait for it. */
const maxDelayMs = 5_000;

/** Milliseconds that only ever rise, whatever is done to the wall clock. */
export type Monotonic = () => number;

/** How long trouble is borne with. */
export interface Patience {
  readonly reconnect: Pick<TransferOptions['reconnect'], 'minutes'>;
  readonly transport: Pick<TransferOptions['transport'], 'connectMinutes'>;
}

/**
 * A time of trouble: it begins with the first fault after the last progress, and ends a transfer when it lasts longer than
 * `reconnect.minutes`, or `transport.connectMinutes` while the disk service was never reached. Delays between tries double
 * from half a second up to 5 s.
 */
export class Outage {
  readonly #patience: Patience;
  readonly #clock: Clock;
  readonly #monotonic: Monotonic;
  #isReached = false;
  #since: number | null = null;
  #tries = 0;

  constructor(patience: Patience, clock: Clock, monotonic: Monotonic) {
    this.#patience = patience;
    this.#clock = clock;
    this.#monotonic = monotonic;
  }

  /** The disk service has answered. */
  reached(): void {
    this.#isReached = true;
  }

  /** Bytes moved: what was wrong is over. */
  over(): void {
    this.#since = null;
    this.#tries = 0;
  }

  /** Waits until the next try is due; throws `fault`, with how long it was borne, when the trouble has lasted too long. */
  async wait(fault: Fault, signal: AbortSignal): Promise<void> {
    this.#since ??= this.#monotonic();
    const { minutes, option } = this.#bound(fault);
    if (this.#monotonic() - this.#since >= minutes * 60_000) throw givenUp(fault, minutes, option);
    const delayMs = Math.min(maxDelayMs, firstDelayMs * 2 ** this.#tries);
    this.#tries += 1;
    await this.#clock.sleep(delayMs, signal);
  }

  #bound({ code }: Fault): { readonly minutes: number; readonly option: string } {
    const { reconnect, transport } = this.#patience;
    if (!this.#isReached && code === 'DISK_SERVICE_UNREACHABLE')
      return { minutes: transport.connectMinutes, option: 'transport.connectMinutes' };
    return { minutes: reconnect.minutes, option: 'reconnect.minutes' };
  }
}

const givenUp = (fault: Fault, minutes: number, option: string): Fault =>
  new Fault(fault.code, `${fault.message}; given up after ${minutes} min (${option})`, {
    details: fault.details,
    cause: fault,
  });
