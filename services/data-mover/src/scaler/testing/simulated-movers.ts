import { type BackupHostId } from '@casvault/contracts';
import { isReady, ModelCluster, type ModelPod } from './model-cluster.js';
import { type GroupWork, type Retirement, type Retirements, type RetiringWorker } from '../scaler.js';
import { type Chance, type VirtualTime } from './virtual-time.js';

export const workerOf = (_group: string, pod: string): BackupHostId => `worker of ${pod}` as BackupHostId;

/** Faults that are planted to see that the simulation finds them. */
export interface PlantedFaults {
  /** Retires without asking whether the worker has a claim. */
  readonly skipsHandshake?: boolean;
  /** Retired workers still get transfers. */
  readonly claimsAnyway?: boolean;
  /** The deletion cost is never written. */
  readonly skipsCost?: boolean;
  /** The number is written whatever its version. */
  readonly ignoresVersion?: boolean;
}

/** The controller's transfers and retirements with the transactions of the real store, each at one instant. */
export class SimulatedWork implements Retirements {
  queued = 0;
  /** Transfers by worker. */
  readonly claims = new Map<BackupHostId, number>();
  #retirements: (Retirement & { readonly workerId: BackupHostId })[] = [];
  #number = 0;

  constructor(private readonly faults: PlantedFaults) {}

  claim(workerId: BackupHostId): boolean {
    const retires = this.#retirements.some((one) => one.workerId === workerId);
    if (this.queued === 0 || (retires && !this.faults.claimsAnyway)) return false;
    this.queued -= 1;
    this.claims.set(workerId, (this.claims.get(workerId) ?? 0) + 1);
    return true;
  }
  /** Its end, or with `again` back into the queue. */
  release(workerId: BackupHostId, again = false): void {
    const left = (this.claims.get(workerId) ?? 0) - 1;
    if (left > 0) this.claims.set(workerId, left);
    else this.claims.delete(workerId);
    if (again) this.queued += 1;
  }

  async read(): Promise<GroupWork> {
    const running = [...this.claims.values()].reduce((sum, count) => sum + count, 0);
    const busy = new Set(this.claims.keys());
    return { transfers: this.queued + running, busy, retirements: [...this.#retirements] };
  }
  async retire(_group: string, workers: readonly RetiringWorker[]): ReturnType<Retirements['retire']> {
    if (this.#retirements.length > 0) return null;
    const number = ++this.#number;
    const idle = workers.filter(({ workerId }) => this.faults.skipsHandshake || !this.claims.has(workerId));
    this.#retirements = idle.map((worker) => ({ ...worker, number, state: 'retiring' }));
    return { number, pods: idle.map(({ pod }) => pod) };
  }
  async commit(_group: string, number: number, pods: number): Promise<boolean> {
    const own = this.#retirements.filter((one) => one.number === number && one.state === 'retiring');
    if (own.length === pods) this.#retirements = own.map((one) => ({ ...one, state: 'lowering' }));
    return own.length === pods;
  }
  async renumber(): Promise<number> {
    const number = ++this.#number;
    this.#retirements = this.#retirements.map((one) => ({ ...one, number }));
    return number;
  }
  async takeBack(): Promise<void> {
    this.#retirements = this.#retirements.filter(({ state }) => state !== 'retiring');
  }
  async forget(_group: string, gone: readonly Retirement[]): Promise<void> {
    const names = new Set(gone.map(({ pod }) => pod));
    this.#retirements = this.#retirements.filter(({ pod }) => !names.has(pod));
  }
}

export interface MoversOptions {
  readonly time: VirtualTime;
  readonly chance: Chance;
  readonly faults: PlantedFaults;
  /** Transfers that a mover takes at the same time. */
  readonly slots: number;
  /** How long a transfer takes, at least and at most. */
  readonly transferMs: readonly [number, number];
  /** Whether pods stop being ready for a while, and are lost. */
  readonly isRough: boolean;
}

/** Pods that start, take transfers as soon as they run, stop being ready now and then, get lost, and go when they are told to. */
export class SimulatedMovers {
  readonly cluster: ModelCluster;
  readonly work: SimulatedWork;
  readonly deployment = 'casvault-data-mover-default';
  /** Pods that had a claim when the number's fall took them. */
  readonly busyRemoved: string[] = [];
  removed = 0;
  /** Times at which pods were given up. */
  falls = 0;
  readonly #options: MoversOptions;
  readonly #known = new Set<string>();
  #isReconciling = false;

  constructor(options: MoversOptions) {
    this.#options = options;
    this.work = new SimulatedWork(options.faults);
    this.cluster = new ModelCluster(() => options.time.now(), {
      changed: () => this.#reconcileSoon(),
      removed: (pod) => this.#removed(pod),
    });
    this.cluster.addDeployment(this.deployment);
  }

  get ready(): number {
    return this.cluster.podsOf(this.deployment).filter((pod) => this.#runs(pod) && isReady(pod)).length;
  }

  queue(transfers: number): void {
    this.work.queued += transfers;
    for (const pod of this.cluster.podsOf(this.deployment)) this.#take(pod);
  }

  /** The controllers see a change up to half a second later. */
  #reconcileSoon(): void {
    if (this.#isReconciling) return;
    this.#isReconciling = true;
    this.#options.time.after(this.#options.chance.between(5, 500), () => {
      this.#isReconciling = false;
      const before = this.removed;
      this.cluster.reconcile(this.deployment);
      if (this.removed > before) this.falls += 1;
      for (const pod of this.cluster.podsOf(this.deployment)) this.#begin(pod);
    });
  }

  #begin(pod: ModelPod): void {
    const { time, chance } = this.#options;
    if (this.#known.has(pod.metadata.name)) return;
    this.#known.add(pod.metadata.name);
    const there = () => this.#runs(pod);
    const assignedMs = chance.between(50, 3_000);
    const runningMs = assignedMs + chance.between(2_000, 20_000);
    const readyMs = runningMs + chance.between(1_000, 5_000);
    time.after(assignedMs, () => there() && this.cluster.become(pod, { nodeName: 'node-1' }));
    time.after(runningMs, () => {
      if (!there()) return;
      this.cluster.become(pod, { phase: 'Running' });
      this.#take(pod);
    });
    time.after(readyMs, () => {
      if (!there()) return;
      this.cluster.become(pod, { ready: true });
      if (this.#options.isRough) this.#planTrouble(pod);
    });
  }

  #planTrouble(pod: ModelPod): void {
    const { time, chance } = this.#options;
    time.after(chance.between(20_000, 600_000), () => {
      if (!this.#runs(pod) || this.#isFalling()) return;
      if (chance.happens(0.2)) return this.#lose(pod);
      this.cluster.become(pod, { ready: false });
      time.after(chance.between(3_000, 30_000), () => {
        if (!this.#runs(pod)) return;
        this.cluster.become(pod, { ready: true });
        this.#planTrouble(pod);
      });
    });
  }

  /**
   * Between the fall of the number and the controllers' act nothing protects a busy pod that stops being ready: Kubernetes
   * takes it first. That half second is left out here, and named in docs/kubernetes.md.
   */
  #isFalling(): boolean {
    return this.#isReconciling;
  }

  #lose(pod: ModelPod): void {
    this.#handBack(pod);
    this.cluster.lose(pod);
  }

  #removed(pod: ModelPod): void {
    this.removed += 1;
    const workerId = workerOf('', pod.metadata.name);
    if (this.work.claims.has(workerId)) this.busyRemoved.push(pod.metadata.name);
    this.#handBack(pod);
    this.#options.time.after(this.#options.chance.between(100, 20_000), () =>
      this.cluster.pods.delete(pod.metadata.name),
    );
  }

  #handBack(pod: ModelPod): void {
    const workerId = workerOf('', pod.metadata.name);
    while (this.work.claims.has(workerId)) this.work.release(workerId, true);
  }

  #runs(pod: ModelPod): boolean {
    return this.cluster.pods.get(pod.metadata.name) === pod && pod.metadata.deletionTimestamp === undefined;
  }

  #take(pod: ModelPod): void {
    const { time, chance, slots, transferMs } = this.#options;
    const workerId = workerOf('', pod.metadata.name);
    if (!this.#runs(pod) || pod.status.phase !== 'Running') return;
    while ((this.work.claims.get(workerId) ?? 0) < slots && this.work.claim(workerId))
      time.after(chance.between(...transferMs), () => {
        if (!this.#runs(pod)) return;
        this.work.release(workerId);
        this.#take(pod);
      });
  }
}
