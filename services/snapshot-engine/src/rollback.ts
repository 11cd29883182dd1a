import {
  type FaultJson,
  type Pool,
  type Point,
  type ReasonCode,
  type RollbackSpec,
  type rollbackVm,
  type TransferId,
  type VmFacts,
  type VmId,
} from '@casvault/contracts';
import { type z } from 'zod';
import { type Ending, type ItemPhase } from './item.js';
import { type TransferWatch } from './transfer-watch.js';

export type RollbackVm = z.infer<typeof rollbackVm.payload>;

/** The point, its VM as the platform tells it now, and what may tell where they differ. */
export interface RollbackFacts {
  readonly point: Point;
  /** The platform's configuration of the VM at the point: where its disks lay. */
  readonly configuration: Record<string, unknown>;
  readonly pool: Pool;
  readonly vm: VmFacts;
  readonly since: RollbackSpec['since'];
}

export interface RollbackState {
  readonly request: RollbackVm;
  readonly transferId: TransferId;
  readonly phase: ItemPhase;
  /** Null until the VM is known and was found fit. */
  readonly vmId: VmId | null;
  readonly facts: Pick<RollbackFacts, 'point' | 'configuration' | 'pool'> | null;
  readonly spec: RollbackSpec | null;
  /** `as it was`: nothing was asked of the platform. `stopping`: it may be on or off. `starting`: the last that is done. */
  readonly power: 'as it was' | 'stopping' | 'off' | 'starting';
  readonly wasRunning: boolean;
  readonly transfer: TransferWatch | null;
  /** Since when disks may have been written. */
  readonly writtenSince: string | null;
  readonly reasons: readonly ReasonCode[];
  readonly fault: FaultJson | null;
  readonly ending: Ending | null;
  readonly deadlineAt: string;
  readonly publishedAt: string;
}

/** R14: from when on no bitmap and no chain of the VM may be trusted: the transfer was asked for, or has run. */
export const mayHaveWritten = ({ transfer, writtenSince }: RollbackState): boolean =>
  writtenSince !== null || (transfer !== null && !endedUnwritten(transfer, writtenSince));

/** Later than any backup. */
export const whileWritten = new Date('9999-12-31T00:00:00.000Z');

/** R14: the instant up to which points are of before the roll-back; while it may still be written, all are. */
export const writtenUntil = ({ phase }: RollbackState, now: Date): Date =>
  phase === 'transferring' || phase === 'cleaning' ? whileWritten : now;

const endedUnwritten = ({ state }: TransferWatch, writtenSince: string | null): boolean =>
  (state === 'failed' || state === 'stopped') && writtenSince === null;
