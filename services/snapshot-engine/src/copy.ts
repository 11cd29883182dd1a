import {
  type copyPoint,
  type CopySpec,
  type FaultJson,
  type ItemChanged,
  type PointId,
  type TransferId,
  type TransferResult,
} from '@casvault/contracts';
import { type z } from 'zod';
import { type Ending, type ItemPhase } from './item.js';
import { type TransferWatch } from './transfer-watch.js';

export type CopyRequest = z.output<typeof copyPoint.payload>;

/** Minted with the request. */
export interface CopyIds {
  readonly copyId: PointId;
  readonly transferId: TransferId;
}

/** What is waited for. `removing`: what an attempt that did not succeed may have left in the pool. */
export type CopyStage = 'facts' | 'moving' | 'stopping' | 'removing' | 'over';

export interface CopyState {
  readonly request: CopyRequest;
  readonly ids: CopyIds;
  readonly phase: ItemPhase;
  readonly stage: CopyStage;
  /** Null until the copy has its place in the catalogue. */
  readonly spec: CopySpec | null;
  /** The pool has the point already. */
  readonly foundId: PointId | null;
  readonly transfer: TransferWatch | null;
  readonly result: TransferResult | null;
  readonly createdAt: string;
  readonly availableAt: string | null;
  readonly ending: Ending | null;
  readonly fault: FaultJson | null;
  readonly deadlineAt: string;
  readonly publishedAt: string;
}

/** What the run is told of it. */
export const copyItemOf = (state: CopyState): ItemChanged => {
  const { request, ids, spec, foundId, transfer, result } = state;
  return {
    itemId: request.itemId,
    runId: request.runId,
    kind: 'copy',
    phase: state.phase,
    pointId: foundId ?? (spec === null ? null : ids.copyId),
    restoredVmId: null,
    imageId: null,
    capturedAt: result?.capturedAt ?? null,
    progress: [...(transfer?.progress ?? [])],
    reasons: [...(transfer?.reasons ?? [])],
    fault: state.fault,
    at: state.publishedAt,
  };
};

/** A removal of what a copy may have in the pool is a transfer with the copy's own id: however often it is asked for, it is one. */
export const removalIdOf = ({ copyId }: CopyIds): TransferId => copyId as string as TransferId;

/** The state of the copy in the catalogue. */
export const copyPointState = ({ stage, spec, availableAt }: CopyState) => {
  if (availableAt !== null) return 'available';
  if (stage === 'removing' || stage === 'over') return 'failed';
  return spec === null ? 'pending' : 'transferring';
};
