import {
  type ChainId,
  type createVerification,
  type FaultJson,
  type Pool,
  type TransferId,
  type Verification,
  type Verified,
} from '@casvault/contracts';
import { type z } from 'zod';
import { type TransferWatch } from './transfer-watch.js';

export type VerificationRequest = z.output<typeof createVerification.request> & {
  readonly requestedBy: string;
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
