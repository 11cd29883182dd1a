import { Fault, type BackupHostId, type Logger } from '@casvault/contracts';
import { type Cluster, type MoverPod, type Retirements, type Scale, type ScaledGroup } from './scaler.js';
import { type ScalerMetrics } from './scaler-metrics.js';
import {
  decideScaling,
  lowerObstacle,
  wantedReplicas,
  type GroupView,
  type Surplus,
} from './scaler.rules.js';

export interface GroupScalerOptions {
  readonly cluster: Cluster;
  readonly retirements: Retirements;
  /** Throws unless this process is the leader: asked before every write. */
  readonly demandLead: () => void;
  /** Of the mover that runs in a pod. */
  readonly workerIdOf: (group: string, pod: string) => BackupHostId;
  readonly monotonic: () => number;
  readonly metrics: ScalerMetrics;
  readonly logger: Logger;
}

/**
 * One group's pods. The order of a fall, each step safe to die after: workers without a claim are retired (they get none any
 * more), their pods get a deletion cost below all that was ever written, a last look shows that every other pod is ready,
 * the retirement is committed, the number is lowered by exactly as many. A retirement that was not committed is taken back
 * by the next look; one that was is lowered for until its pod is gone, since nobody can tell whether a lost request arrived.
 *
 * A leader that was overtaken does no harm with what it still sends: the number and each cost are written under the version
 * that was read, and its costs are higher than those of every later attempt.
 */
export class GroupScaler {
  readonly #group: ScaledGroup;
  readonly #options: GroupScalerOptions;
  #surplus: Surplus | null = null;

  constructor(group: ScaledGroup, options: GroupScalerOptions) {
    this.#group = group;
    this.#options = options;
  }

  /** A new leader knows nothing of the time before. */
  forget(): void {
    this.#surplus = null;
  }

  /** One look and at most one decision. Throws LEASE_LOST, CONFLICT (things changed meanwhile) and what the API says. */
  async look(): Promise<void> {
    const { view, scale } = await this.#view();
    const { decision, surplus } = decideScaling(view, this.#surplus, this.#options.monotonic());
    this.#surplus = surplus;
    const { group } = this.#group;
    const ready = view.pods.filter(({ isReady }) => isReady).length;
    this.#options.metrics.saw(group, { wanted: wantedReplicas(view), replicas: scale.replicas, ready });
    switch (decision.type) {
      case 'wait':
        return;
      case 'raise':
        this.#options.logger.info({ group, from: scale.replicas, to: decision.replicas }, 'movers added');
        return this.#write(scale, decision.replicas);
      case 'retire':
        return this.#retire(scale, decision.pods);
      case 'lower': {
        const number = await this.#options.retirements.renumber(group);
        await this.#prefer(decision.pods, number, scale);
        return this.#write(scale, decision.replicas);
      }
    }
  }

  /** Retirements first, the number second, pods last: see `GroupView`. */
  async #view(): Promise<{ view: GroupView; scale: Scale }> {
    const { cluster, retirements, workerIdOf } = this.#options;
    const { group, deployment } = this.#group;
    const work = await retirements.read(group);
    if (work.retirements.some(({ state }) => state === 'retiring')) {
      this.#options.demandLead();
      await retirements.takeBack(group);
    }
    const scale = await cluster.readScale(deployment);
    const pods = await cluster.listPods(scale.selector);
    const present = new Set(pods.map(({ name }) => name));
    const committed = work.retirements.filter(({ state }) => state === 'lowering');
    const gone = committed.filter(({ pod }) => !present.has(pod));
    if (gone.length > 0) await retirements.forget(group, gone);
    const busy = new Set(
      pods.map(({ name }) => name).filter((name) => work.busy.has(workerIdOf(group, name))),
    );
    const view = {
      group: this.#group,
      transfers: work.transfers,
      replicas: scale.replicas,
      pods,
      busy,
      retirements: committed,
    };
    return { view, scale };
  }

  async #retire(scale: Scale, wanted: readonly MoverPod[]): Promise<void> {
    const { retirements, workerIdOf, demandLead, logger } = this.#options;
    const { group } = this.#group;
    demandLead();
    const workers = wanted.map(({ name }) => ({ pod: name, workerId: workerIdOf(group, name) }));
    const attempt = await retirements.retire(group, workers);
    if (!attempt || attempt.pods.length === 0) return;
    const pods = wanted.filter(({ name }) => attempt.pods.includes(name));
    await this.#prefer(pods, attempt.number, scale);
    demandLead();
    if (!(await retirements.commit(group, attempt.number, pods.length))) return;
    const replicas = scale.replicas - pods.length;
    logger.info({ group, from: scale.replicas, to: replicas, pods: attempt.pods }, 'idle movers removed');
    await this.#write(scale, replicas);
    this.#surplus = null;
  }

  /** Gives `pods` the lowest deletion cost of all and looks a last time. Throws CONFLICT if another pod could go instead. */
  async #prefer(pods: readonly MoverPod[], number: number, scale: Scale): Promise<void> {
    const { cluster, demandLead } = this.#options;
    for (const pod of pods) {
      demandLead();
      await cluster.writeDeletionCost(pod, -number);
    }
    const present = await cluster.listPods(scale.selector);
    const obstacle = lowerObstacle(present, new Set(pods.map(({ name }) => name)));
    if (obstacle !== null) throw new Fault('CONFLICT', obstacle);
  }

  async #write(scale: Scale, replicas: number): Promise<void> {
    this.#options.demandLead();
    await this.#options.cluster.writeScale(this.#group.deployment, replicas, scale.resourceVersion);
  }
}
