import { Fault } from '@casvault/contracts';
import { scalerLimits, type Cluster } from './scaler.js';

export interface LeadershipOptions {
  readonly cluster: Pick<Cluster, 'readLease' | 'holdLease'>;
  readonly name: string;
  /** Another one for every process. */
  readonly holder: string;
  /** Milliseconds of a clock that never jumps. */
  readonly monotonic: () => number;
}

/**
 * Which of the controllers scales: the one that holds the Lease. Nobody's clock is compared with another's: a Lease is over
 * when it has not changed for `leaseMs` of one's own time.
 */
export class Leadership {
  readonly #options: LeadershipOptions;
  #seen: { readonly version: string; readonly at: number } | null = null;
  #renewedAt: number | null = null;

  constructor(options: LeadershipOptions) {
    this.#options = options;
  }

  /** Takes or renews it where that may be; true if it is held then. */
  async campaign(): Promise<boolean> {
    const { cluster, name, holder, monotonic } = this.#options;
    const began = monotonic();
    const present = await cluster.readLease(name);
    if (present && present.holder !== holder && !this.#isOver(present.resourceVersion, monotonic())) {
      this.#renewedAt = null;
      return false;
    }
    try {
      await cluster.holdLease(name, holder, present);
    } catch (error) {
      if (Fault.from(error).code !== 'CONFLICT') throw error;
      this.#renewedAt = null;
      return false;
    }
    this.#renewedAt = began;
    return true;
  }

  /** Throws LEASE_LOST unless it may be held still. */
  demand(): void {
    const { monotonic, name } = this.#options;
    if (this.#renewedAt === null || monotonic() - this.#renewedAt >= scalerLimits.holdMs)
      throw new Fault('LEASE_LOST', `the lease ${name} was not renewed in time`);
  }

  #isOver(version: string, now: number): boolean {
    if (this.#seen?.version !== version) this.#seen = { version, at: now };
    return now - this.#seen.at >= scalerLimits.leaseMs;
  }
}
