import {
  type createRestoreVm,
  type FaultJson,
  type Point,
  type Pool,
  type ReasonCode,
  type restoreVm,
  type TransferId,
  type VmId,
} from '@casvault/contracts';
import { type z } from 'zod';
import { type Ending, type ItemPhase } from './item.js';
import { type Hardware } from './protection.js';
import { type TransferWatch } from './transfer-watch.js';

export type RestoreVm = z.infer<typeof restoreVm.payload>;
export type CreateRestoreVm = z.infer<typeof createRestoreVm.request>;
export type CreatedVm = z.infer<typeof createRestoreVm.reply>;

/** A point with what is needed to make its VM again. */
export interface RestorablePoint {
  readonly point: Point;
  readonly hardware: Hardware;
  readonly configuration: Record<string, unknown>;
}

export interface RestoreState {
  readonly request: RestoreVm;
  readonly transferId: TransferId;
  readonly phase: ItemPhase;
  readonly source: { readonly point: Point; readonly pool: Pool } | null;
  /** `creating`: there may be one. Whatever is not `none` or `gone` is removed unless the restore succeeds. */
  readonly vm: 'none' | 'creating' | 'created' | 'removing' | 'gone';
  readonly created: CreatedVm | null;
  readonly transfer: TransferWatch | null;
  /** Whether the platform is (still) asked to power it on. */
  readonly powerOn: boolean;
  readonly restoredVmId: VmId | null;
  readonly reasons: readonly ReasonCode[];
  readonly fault: FaultJson | null;
  readonly ending: Ending | null;
  readonly deadlineAt: string;
  readonly publishedAt: string;
}
