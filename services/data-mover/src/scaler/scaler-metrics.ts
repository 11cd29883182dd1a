import { metrics, type Counter } from '@opentelemetry/api';

/** What the last look at a group found and wants. */
interface GroupNumbers {
  readonly wanted: number;
  readonly replicas: number;
  readonly ready: number;
}

/**
 * `casvault_scaler_leader`, of the leader `casvault_scaler_{wanted,present}_replicas{group}`, `casvault_scaler_ready_pods{group}`,
 * and `casvault_scaler_refusals_total{code}`.
 */
export class ScalerMetrics {
  readonly #groups = new Map<string, GroupNumbers>();
  readonly #refusals: Counter;
  #isLeader = false;

  constructor() {
    const meter = metrics.getMeter('casvault.data-mover');
    this.#refusals = meter.createCounter('casvault_scaler_refusals_total', {
      description: 'Looks of the scaler that ended without what they meant to do, by fault code',
    });
    const leader = meter.createObservableGauge('casvault_scaler_leader', {
      description: '1: this controller holds the Lease and scales',
    });
    leader.addCallback((result) => result.observe(this.#isLeader ? 1 : 0));
    const gauges = {
      wanted: meter.createObservableGauge('casvault_scaler_wanted_replicas', {
        description: 'Movers that the work of a group needs now, within its bounds',
      }),
      replicas: meter.createObservableGauge('casvault_scaler_present_replicas', {
        description: 'Number of pods that the Deployment of a group is to have',
      }),
      ready: meter.createObservableGauge('casvault_scaler_ready_pods', {
        description: 'Pods of a group that are ready',
      }),
    };
    meter.addBatchObservableCallback((result) => {
      for (const [group, numbers] of this.#groups)
        for (const key of ['wanted', 'replicas', 'ready'] as const)
          result.observe(gauges[key], numbers[key], { group });
    }, Object.values(gauges));
  }

  /** Who does not lead has no numbers: those of before are not true any more. */
  leads(isLeader: boolean): void {
    this.#isLeader = isLeader;
    if (!isLeader) this.#groups.clear();
  }

  saw(group: string, numbers: GroupNumbers): void {
    this.#groups.set(group, numbers);
  }

  refused(code: string): void {
    this.#refusals.add(1, { code });
  }
}
