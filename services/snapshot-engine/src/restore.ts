import {
  type createFromPoint,
  type createRestoreVm,
  type createRestoreVolume,
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
export type CreateFromPoint = z.infer<typeof createFromPoint.payload>;
/** What is made of a point. */
export type Restore = RestoreVm | CreateFromPoint;
type CreationOf<K extends CreateFromPoint['target']['kind']> = Pick<CreateFromPoint, 'itemId'> & {
  readonly target: Extract<CreateFromPoint['target'], { kind: K }>;
};
export type CreateVolume = CreationOf<'disk'>;
export type CreateImage = CreationOf<'image'>;
export type CreateRestoreVm = z.infer<typeof createRestoreVm.request>;
export type CreateRestoreVolume = z.infer<typeof createRestoreVolume.request>;
/** Where to write. */
export type Created = z.infer<typeof createRestoreVolume.reply>;

/** What it makes on the platform. An image is a VM until the last step. */
export const madeBy = ({ target }: Pick<Restore, 'target'>): 'VM' | 'image' | 'volume' => {
  if (!('kind' in target)) return 'VM';
  return target.kind === 'disk' ? 'volume' : 'image';
};

/** A point with what is needed to make its VM again. */
export interface RestorablePoint {
  readonly point: Point;
  readonly hardware: Hardware;
  readonly configuration: Record<string, unknown>;
}

export interface RestoreState {
  readonly request: Restore;
  readonly transferId: TransferId;
  readonly phase: ItemPhase;
  readonly source: { readonly point: Point; readonly pool: Pool } | null;
  /** Or the volume or image. `creating`: there may be one. Whatever is not `none` or `gone` is removed unless the restore succeeds. */
  readonly vm: 'none' | 'creating' | 'created' | 'removing' | 'gone';
  readonly created: Created | null;
  readonly transfer: TransferWatch | null;
  /** Whether the platform is (still) asked to power it on. */
  readonly powerOn: boolean;
  readonly restoredVmId: VmId | null;
  /** Absent in states that were stored before there were images. */
  readonly imageId?: string | null;
  readonly reasons: readonly ReasonCode[];
  readonly fault: FaultJson | null;
  readonly ending: Ending | null;
  readonly deadlineAt: string;
  readonly publishedAt: string;
}
