import { Fault, type Logger } from '@casvault/contracts';
import { ScalerRunner } from '../scaler-runner.js';
import {
  scalerLimits,
  type Cluster,
  type Lease,
  type MoverPod,
  type Retirements,
  type ScaledGroup,
  type Scale,
} from '../scaler.js';
import { isReady, ModelRefusal } from './model-cluster.js';
import { workerOf, type PlantedFaults, type SimulatedMovers } from './simulated-movers.js';
import { type Chance, type VirtualTime } from './virtual-time.js';

const silent: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

export interface ControllersOptions {
  readonly time: VirtualTime;
  readonly chance: Chance;
  readonly movers: SimulatedMovers;
  readonly group: ScaledGroup;
  readonly faults: PlantedFaults;
  /** Whether they die, stand still, and lose requests and answers. */
  readonly isRough: boolean;
}

/** Answers of a world over a network that delays, loses and repeats nothing: a request arrives once, late, or never. */
class Line {
  isCut = false;
  constructor(private readonly options: ControllersOptions) {}

  /** `act` happens at one instant; the caller may be told late, wrongly that it failed, or, when it died, nothing. */
  async ask<T>(act: () => T | Promise<T>): Promise<T> {
    const { time, chance, isRough } = this.options;
    await time.sleep(this.#pause());
    if (this.isCut && !chance.happens(0.5)) return never();
    if (isRough && chance.happens(0.01)) {
      const lateMs = chance.between(0, 3 * scalerLimits.leaseMs);
      time.after(
        lateMs,
        () =>
          void Promise.resolve()
            .then(act)
            .catch(() => undefined),
      );
      await time.sleep(scalerLimits.requestMs);
      throw new Fault('DEPENDENCY_UNAVAILABLE', 'no answer');
    }
    try {
      const answer = await act();
      await time.sleep(chance.between(1, 30));
      return this.isCut ? never() : answer;
    } catch (error) {
      throw error instanceof ModelRefusal && error.code === 409
        ? new Fault('CONFLICT', error.message)
        : error;
    }
  }

  /** Mostly a moment; now and then longer than a Lease. */
  #pause(): number {
    const { chance, isRough } = this.options;
    return isRough && chance.happens(0.01)
      ? chance.between(1_000, 2 * scalerLimits.leaseMs)
      : chance.between(1, 30);
  }
}

const never = <T>(): Promise<T> => new Promise<T>(() => undefined);

const clusterOver = (line: Line, { movers, time, faults }: ControllersOptions): Cluster => {
  const { cluster } = movers;
  const listed = (): MoverPod[] =>
    cluster
      .podsOf(movers.deployment)
      .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
      .map((pod) => ({
        name: pod.metadata.name,
        resourceVersion: pod.metadata.resourceVersion,
        isReady: isReady(pod),
        template: '7c9f',
        createdAt: pod.metadata.creationTimestamp,
      }));
  const leaseOf = (name: string): Lease | null => {
    const lease = cluster.leases.get(name);
    return lease
      ? { holder: String(lease.spec['holder']), resourceVersion: lease.metadata.resourceVersion }
      : null;
  };
  return {
    readScale: (name) =>
      line.ask((): Scale => {
        const { replicas, resourceVersion } = cluster.deployment(name);
        return { replicas, resourceVersion, selector: cluster.selectorOf(name) };
      }),
    writeScale: (name, replicas, version) =>
      line.ask(() => void cluster.scale(name, replicas, faults.ignoresVersion ? undefined : version)),
    listPods: () => line.ask(listed),
    writeDeletionCost: (pod, cost) =>
      line.ask(() => {
        const annotations = { 'controller.kubernetes.io/pod-deletion-cost': String(cost) };
        if (!faults.skipsCost) cluster.annotate(pod.name, annotations, pod.resourceVersion);
      }),
    readLease: (name) => line.ask(() => leaseOf(name)),
    holdLease: (name, holder, present) =>
      line.ask((): Lease => {
        const spec = { holder, renewTime: time.monotonic() };
        if (present) cluster.replaceLease(name, spec, present.resourceVersion);
        else cluster.createLease(name, spec);
        return leaseOf(name)!;
      }),
  };
};

const retirementsOver = (line: Line, { movers: { work } }: ControllersOptions): Retirements => ({
  read: () => line.ask(() => work.read()),
  retire: (group, workers) => line.ask(() => work.retire(group, workers)),
  commit: (group, number, pods) => line.ask(() => work.commit(group, number, pods)),
  renumber: () => line.ask(() => work.renumber()),
  takeBack: () => line.ask(() => work.takeBack()),
  forget: (group, gone) => line.ask(() => work.forget(group, gone)),
});

/** So many controllers as replicas; one that dies is followed by another a while later. */
export class SimulatedControllers {
  crashes = 0;
  #started = 0;

  constructor(
    private readonly options: ControllersOptions,
    replicas: number,
  ) {
    for (let index = 0; index < replicas; index++) this.#start();
  }

  #start(): void {
    const { time, chance, group, isRough } = this.options;
    const line = new Line(this.options);
    const runner = new ScalerRunner({
      groups: [group],
      lease: 'casvault-scaler',
      holder: `controller-${++this.#started}`,
      cluster: clusterOver(line, this.options),
      retirements: retirementsOver(line, this.options),
      workerIdOf: workerOf,
      clock: { now: () => time.now(), sleep: (ms) => (line.isCut ? never() : time.sleep(ms)) },
      monotonic: time.monotonic,
      logger: silent,
    });
    void runner.run(new AbortController().signal);
    if (!isRough) return;
    time.after(chance.between(30_000, 1_200_000), () => {
      line.isCut = true;
      this.crashes += 1;
      time.after(chance.between(1_000, 30_000), () => this.#start());
    });
  }
}
