import {
  type ChainId,
  type Deletion,
  type DeletionId,
  type FaultJson,
  type Hold,
  type Point,
  type PointId,
  type PoolId,
  type ReasonCode,
  type TransferId,
  type VmId,
} from '@casvault/contracts';
import { type TransferWatch } from './transfer-watch.js';

type ShownPoint = Deletion['points'][number];

/** A point of a chain as deleting sees it. */
export interface ChainPoint extends ShownPoint {
  readonly parentPointId: PointId | null;
  readonly state: Point['state'];
  readonly createdAt: string;
  readonly runId: string;
  readonly hold: Hold | null;
  /** The deletion that took it, if any. */
  readonly deletionId: DeletionId | null;
}

/** A run that reads a point of the chain, or makes one that stands on it. */
export interface PointUse {
  readonly pointId: PointId;
  readonly kind: string;
  readonly itemId: string;
  readonly runId: string | null;
}

/** Everything about one chain that decides what may be deleted of it; read in one instant. */
export interface ChainFacts {
  readonly chainId: ChainId;
  readonly vmId: VmId;
  readonly vmName: string;
  readonly poolId: PoolId;
  /** Backup hosts that reach the pool: those of its newest backup or copy. */
  readonly group: string;
  readonly hold: Hold | null;
  /** Oldest first. */
  readonly points: readonly ChainPoint[];
  readonly uses: readonly PointUse[];
  /** The deletion that is being carried out in the chain, if any. */
  readonly deletingId: DeletionId | null;
}

/** What a deletion takes and leaves. */
export interface DeletionList {
  readonly points: Deletion['points'];
  /** Failed points of a chain that goes: nothing can be restored of them, and what they may have left goes too. */
  readonly remnantIds: readonly PointId[];
  readonly successorIds: readonly PointId[];
  readonly newHeadPointId: PointId | null;
  readonly chainGoes: boolean;
  /** The chain's newest point goes: its bitmap on the VM serves nobody any more. */
  readonly newestGoes: boolean;
}

export interface DeletionRequest {
  readonly deletionId: DeletionId;
  readonly mode: Deletion['mode'];
  readonly chainId: ChainId;
  readonly vmId: VmId;
  readonly vmName: string;
  readonly poolId: PoolId;
  readonly group: string;
  readonly requestedBy: string;
  readonly list: DeletionList;
}

export interface DeletionState {
  readonly request: DeletionRequest;
  readonly phase: Deletion['state'];
  readonly freedBytes: number | null;
  readonly transfer: TransferWatch | null;
  /** Ids for the attempts that are left. */
  readonly attemptIds: readonly TransferId[];
  /** Failed attempts since it was confirmed. */
  readonly failures: number;
  /** Between two attempts. */
  readonly nextAttemptAt: string | null;
  readonly confirmedBy: string | null;
  readonly createdAt: string;
  readonly finishedAt: string | null;
  /** Of the present phase. */
  readonly deadlineAt: string;
  readonly reasons: readonly ReasonCode[];
  readonly fault: FaultJson | null;
}

/** The deletion as the API shows it. */
export const deletionOf = (state: DeletionState): Deletion => {
  const { request, phase } = state;
  const { list } = request;
  return {
    id: request.deletionId,
    chainId: request.chainId,
    vmId: request.vmId,
    vmName: request.vmName,
    poolId: request.poolId,
    mode: request.mode,
    state: phase,
    points: list.points,
    successorIds: [...list.successorIds],
    newHeadPointId: list.newHeadPointId,
    chainGoes: list.chainGoes,
    freedBytes: state.freedBytes,
    requestedBy: request.requestedBy,
    confirmedBy: state.confirmedBy,
    createdAt: state.createdAt,
    expiresAt: phase === 'ready' ? state.deadlineAt : null,
    finishedAt: state.finishedAt,
    reasons: [...state.reasons],
    fault: state.fault,
  };
};

/** All whose data go: what is listed, and what failed points may have left. */
export const removedIds = ({ points, remnantIds }: DeletionList): PointId[] => [
  ...points.map(({ id }) => id),
  ...remnantIds,
];
