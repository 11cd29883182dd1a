import { type BackupHostId } from '@casvault/contracts';

/** Every time and bound of the scaler, in one place. */
export const scalerLimits = {
  /** Between two looks at queue and pods. */
  everyMs: 5_000,
  /** A leader that has not renewed its Lease for so long is followed by another. */
  leaseMs: 15_000,
  /** It writes nothing more when its last renewal began longer ago than this: less than `leaseMs`, so that no two write. */
  holdMs: 10_000,
  /** Longest request to the API server. */
  requestMs: 5_000,
} as const;

/** Of a group of movers: its Deployment and its bounds. */
export interface ScaledGroup {
  readonly group: string;
  readonly deployment: string;
  readonly min: number;
  readonly max: number;
  /** Transfers that a mover takes at the same time. */
  readonly transfers: number;
  /** The number falls only when so many pods have been too many for so long. */
  readonly cooldownSeconds: number;
}

/** The number that a Deployment is to have, as it was read. */
export interface Scale {
  readonly replicas: number;
  /** A write under an older one is refused. */
  readonly resourceVersion: string;
  /** Of the pods, as the API takes it. */
  readonly selector: string;
}

/** A pod that counts for its Deployment: not on its way out. */
export interface MoverPod {
  readonly name: string;
  readonly resourceVersion: string;
  /** On a node, running and ready. Kubernetes removes pods that are not before it looks at the deletion cost. */
  readonly isReady: boolean;
  /** Of which template it was made; two of them among the pods: a roll-out is under way. */
  readonly template: string;
  readonly createdAt: string;
}

export interface Lease {
  readonly holder: string;
  readonly resourceVersion: string;
}

/**
 * What the scaler needs of Kubernetes. Every write bears the resourceVersion of what it was decided on and throws CONFLICT
 * if that has changed since: then nothing was written. DEPENDENCY_UNAVAILABLE: whether it was written is unknown.
 */
export interface Cluster {
  readScale(deployment: string): Promise<Scale>;
  writeScale(deployment: string, replicas: number, resourceVersion: string): Promise<void>;
  /** The present ones (no cache between), without those on their way out. Memory: about 10 KiB a pod, `max` of the group. */
  listPods(selector: string): Promise<MoverPod[]>;
  /** The pod with the lowest cost goes first. */
  writeDeletionCost(pod: MoverPod, cost: number): Promise<void>;
  /** Null: there is none. */
  readLease(name: string): Promise<Lease | null>;
  /** Writes `lease` anew, or creates it where `present` is null. */
  holdLease(name: string, holder: string, present: Lease | null): Promise<Lease>;
}

/**
 * A worker that takes no transfer any more. `retiring`: the number has not been lowered for it, it may be taken back.
 * `lowering`: it may have been: the pod goes, whatever happens.
 */
export interface Retirement {
  readonly pod: string;
  readonly state: 'retiring' | 'lowering';
  /** Of the attempt; rises with every attempt of every leader. Its negative is the deletion cost. */
  readonly number: number;
}

export interface GroupWork {
  /** Transfers queued or running. */
  readonly transfers: number;
  /** Workers with a claim that stands or could be renewed. */
  readonly busy: ReadonlySet<BackupHostId>;
  readonly retirements: readonly Retirement[];
}

export interface RetiringWorker {
  readonly pod: string;
  readonly workerId: BackupHostId;
}

/**
 * Who retires, in the controller's schema: the fence between leaders. All retirements of a group belong to one attempt, so a
 * leader that was overtaken can neither begin another one nor commit its own.
 */
export interface Retirements {
  read(group: string): Promise<GroupWork>;
  /**
   * Retires those of `workers` that have no claim, in one transaction per worker with the claims of that worker. Null when
   * another attempt is there already.
   */
  retire(
    group: string,
    workers: readonly RetiringWorker[],
  ): Promise<{ readonly number: number; readonly pods: readonly string[] } | null>;
  /** From now on these pods go. False: the attempt was taken back by another leader. */
  commit(group: string, number: number, pods: number): Promise<boolean>;
  /** A new number for pods that go already. */
  renumber(group: string): Promise<number>;
  /** Workers of attempts that were not committed take transfers again. */
  takeBack(group: string): Promise<void>;
  /** These retirements, whose pods are gone. */
  forget(group: string, gone: readonly Retirement[]): Promise<void>;
}
