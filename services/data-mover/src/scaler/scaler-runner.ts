import { Fault, type BackupHostId, type Clock, type Logger } from '@casvault/contracts';
import { GroupScaler } from './group-scaler.js';
import { Leadership } from './leadership.js';
import { ScalerMetrics } from './scaler-metrics.js';
import { scalerLimits, type Cluster, type Retirements, type ScaledGroup } from './scaler.js';

export interface ScalerOptions {
  readonly groups: readonly ScaledGroup[];
  /** Name of the Lease, the same for all controllers. */
  readonly lease: string;
  /** Another one for every process. */
  readonly holder: string;
  readonly cluster: Cluster;
  readonly retirements: Retirements;
  readonly workerIdOf: (group: string, pod: string) => BackupHostId;
  readonly clock: Clock;
  readonly monotonic: () => number;
  readonly logger: Logger;
}

/** What ends a look as it should: the next one sees how things are. */
const passing = new Set(['CONFLICT', 'LEASE_LOST']);

/** Campaigns for the Lease, and scales every group while it holds it. */
export class ScalerRunner {
  readonly #options: ScalerOptions;
  readonly #leadership: Leadership;
  readonly #groups: readonly GroupScaler[];
  readonly #metrics = new ScalerMetrics();
  #isLeader = false;
  /** Logged when it changes, not every five seconds. */
  #complaint = '';

  constructor(options: ScalerOptions) {
    const { cluster, lease: name, holder, monotonic } = options;
    this.#options = options;
    this.#leadership = new Leadership({ cluster, name, holder, monotonic });
    const metrics = this.#metrics;
    const demandLead = () => this.#leadership.demand();
    this.#groups = options.groups.map((group) => new GroupScaler(group, { ...options, demandLead, metrics }));
  }

  /** Until the signal aborts. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#round(signal);
      await this.#options.clock.sleep(scalerLimits.everyMs, signal);
    }
  }

  async #round(signal: AbortSignal): Promise<void> {
    let complaint = '';
    try {
      await this.#campaign();
      if (!this.#isLeader) return;
    } catch (error) {
      const fault = Fault.from(error);
      this.#metrics.refused(fault.code);
      complaint = fault.message;
    }
    for (const group of complaint === '' ? this.#groups : [])
      try {
        await group.look();
      } catch (error) {
        const fault = Fault.from(error);
        this.#metrics.refused(fault.code);
        if (!passing.has(fault.code)) complaint = fault.message;
      }
    if (complaint !== '' && complaint !== this.#complaint && !signal.aborted)
      this.#options.logger.warn({ complaint }, 'movers are not scaled');
    this.#complaint = complaint;
  }

  async #campaign(): Promise<void> {
    const was = this.#isLeader;
    this.#isLeader = false;
    try {
      this.#isLeader = await this.#leadership.campaign();
    } finally {
      this.#metrics.leads(this.#isLeader);
    }
    if (this.#isLeader === was) return;
    for (const group of this.#groups) group.forget();
    this.#options.logger.info({ lease: this.#options.lease, isLeader: this.#isLeader }, 'scaler of movers');
  }
}
