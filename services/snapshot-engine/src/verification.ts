import {
  Fault,
  type ChainId,
  type createVerification,
  type FaultJson,
  type ItemChanged,
  type Pool,
  type RunId,
  type RunItemId,
  type TransferId,
  type Verification,
  type Verified,
} from '@casvault/contracts';
import { type z } from 'zod';
import { type TransferWatch } from './transfer-watch.js';

export type VerificationRequest = z.output<typeof createVerification.request> & {
  readonly requestedBy: string;
  /** Absent: asked for by itself, not as an item of a run. */
  readonly runId?: RunId;
};

export interface VerificationState {
  readonly request: VerificationRequest;
  readonly transferId: TransferId;
  readonly phase: Verification['state'];
  /** Null until the point is protected from deletion. */
  readonly source: { readonly chainId: ChainId; readonly pool: Pool } | null;
  readonly transfer: TransferWatch | null;
  readonly verified: Verified | null;
  readonly createdAt: string;
  readonly finishedAt: string | null;
  readonly deadlineAt: string;
  readonly fault: FaultJson | null;
  /** As an item of a run: the newest instant at which it was told. */
  readonly publishedAt?: string;
}

const checkedSoFar = ({ transfer }: VerificationState): number =>
  (transfer?.progress ?? []).reduce((sum, { doneBytes }) => sum + doneBytes, 0);

/** The verification as the API shows it. */
export const verificationOf = (state: VerificationState): Verification => {
  const { request, phase, verified } = state;
  return {
    id: request.verificationId,
    pointId: request.pointId,
    depth: request.depth,
    state: phase,
    requestedBy: request.requestedBy,
    createdAt: state.createdAt,
    finishedAt: state.finishedAt,
    checkedBytes: verified?.checkedBytes ?? checkedSoFar(state),
    disks: verified?.disks ?? [],
    objects: verified?.objects ?? [],
    fault: state.fault,
  };
};

const itemPhases = {
  sound: 'succeeded',
  damaged: 'failed',
  failed: 'failed',
  stopped: 'stopped',
} as const;

const damageOf = ({ request, verified }: VerificationState): FaultJson => {
  const { pointId, verificationId } = request;
  const { disks = [], objects = [] } = verified ?? {};
  const damagedBytes = disks.reduce((sum, disk) => sum + disk.damagedBytes, 0);
  const what = `${damagedBytes} bytes of its disks, ${objects.length} objects of the pool`;
  const details = { pointId, verificationId, damagedBytes, objects: objects.length };
  return new Fault('POOL_OBJECT_DAMAGED', `point ${pointId} is damaged: ${what}`, { details }).toJSON();
};

/** What it is doing as an item of a run. */
export const itemPhaseOf = ({ phase, source }: VerificationState): ItemChanged['phase'] => {
  if (phase === 'running') return source ? 'transferring' : 'preparing';
  return itemPhases[phase];
};

/** What the run is told of it. */
export const itemOf = (state: VerificationState, runId: RunId, at: string): ItemChanged => {
  const { request, phase, transfer } = state;
  return {
    itemId: request.verificationId as string as RunItemId,
    runId,
    kind: 'verify',
    phase: itemPhaseOf(state),
    pointId: request.pointId,
    restoredVmId: null,
    imageId: null,
    capturedAt: null,
    progress: [...(transfer?.progress ?? [])],
    reasons: [...(transfer?.reasons ?? [])],
    fault: phase === 'damaged' ? damageOf(state) : state.fault,
    at,
  };
};
