import {
  idFrom,
  restoreVolumeName,
  type CreationTarget,
  type FaultJson,
  type ItemChanged,
  type PointId,
  type restoreTargetSchema,
  type RollbackTarget,
  type RunItem,
  type RunId,
  type RunItemId,
  type VmId,
} from '@casvault/contracts';
import { type z } from 'zod';
import { type ItemEnd } from './run.js';

type RestoreTarget = z.infer<typeof restoreTargetSchema>;

/** What bringing a VM back takes besides the point, by the kind of the item. */
export type ItemTarget = RestoreTarget | RollbackTarget | CreationTarget;

/** An item as it is made with its run: the VM resolved to what inventory or the catalogue say now. */
export interface NewItem {
  readonly kind: RunItem['kind'];
  readonly vmId: VmId | null;
  readonly vmName: string;
  /** For the limit a host: where the VM is, or where it is restored to. */
  readonly host: string | null;
  readonly pointId: PointId | null;
  readonly target: ItemTarget | null;
  /** It has failed before the run began: what it names is gone. */
  readonly fault?: FaultJson;
}

/**
 * The same run gives the same items: of a run that databases which were set back make a second time, hosts know what they have done for it.
 */
export const itemIdOf = (runId: RunId, seq: number, { vmId, pointId }: NewItem): RunItemId =>
  idFrom<RunItemId>(runId, `item ${String(seq)} ${vmId ?? ''} ${pointId ?? ''}`);

/** F9: the name on the platform of the volume that an item makes. */
export const volumeNameOf = (id: RunItemId, target: ItemTarget | null): string | null =>
  target !== null && 'kind' in target && target.kind === 'disk' ? restoreVolumeName(target.name, id) : null;

/** F9: the name on the platform of the image that an item makes. */
export const imageNameOf = (target: ItemTarget | null): string | null =>
  target !== null && 'kind' in target && target.kind === 'image' ? target.name : null;

/** What snapshot-engine knows an attempt by: an item that has ended there never comes to life again, so each has an id of its own. */
export const attemptIdOf = (id: RunItemId, attempt: number): RunItemId =>
  attempt === 1 ? id : idFrom<RunItemId>(id, `attempt ${String(attempt)}`);

export const endOf = (state: RunItem['state'] | ItemChanged['phase'] | null): ItemEnd | null =>
  state === 'succeeded' || state === 'skipped' || state === 'failed' || state === 'stopped' ? state : null;
