import { type CasDisk, type CasPowerState, type CasSnapshot } from '@casvault/cas-client';
import { Fault, runItemIdSchema, type RunItemId } from '@casvault/contracts';

export type SnapshotKind = 'internal' | 'external';

/** Where a disk's data lie. */
export interface DiskPlace {
  readonly target: string;
  readonly path: string;
}

/** Names the item that a snapshot is of; `createVmSnapshot` promises this form. */
export const snapshotName = (itemId: RunItemId): string => `casvault-${itemId}`;
const markerPrefix = 'casvault-item:';
/** Stands in its description: the second proof besides the name. */
export const snapshotMarker = (itemId: RunItemId): string => `${markerPrefix}${itemId}`;

export const isOurs = (snapshot: CasSnapshot, itemId: RunItemId): boolean =>
  snapshot.name === snapshotName(itemId) && snapshot.description.includes(snapshotMarker(itemId));

/** Made for an item, whichever. */
export const isOfSomeItem = ({ name, description }: CasSnapshot): boolean =>
  name.startsWith('casvault-') && description.includes(markerPrefix);

/** The item that a snapshot was made for; null: none of ours. */
export const itemOf = (snapshot: CasSnapshot): RunItemId | null => {
  const { data } = runItemIdSchema.safeParse(snapshot.name.replace(/^casvault-/, ''));
  return data !== undefined && isOurs(snapshot, data) ? data : null;
};

/** The disks that a snapshot of this kind takes; CAPTURE_REFUSED where the platform can't, VM_STATE_REFUSED by R11. */
export const disksToTake = (
  kind: SnapshotKind,
  power: CasPowerState,
  disks: readonly CasDisk[],
): DiskPlace[] => {
  if (power !== 'running' && power !== 'stopped')
    throw new Fault('VM_STATE_REFUSED', `the VM is ${power}: no snapshot is taken of it (R11)`);
  // R4: an internal snapshot takes every disk, an external one the dependent ones.
  const taken = kind === 'internal' ? disks : disks.filter((disk) => disk.mode === 'dependent');
  if (taken.length === 0) throw refused(kind, 'it has no disk that takes part (R4)');
  for (const disk of taken) {
    if (disk.encrypted) throw refused(kind, `disk ${disk.target} is encrypted (R2)`);
    if (disk.fileType === 'block') throw refused(kind, `disk ${disk.target} is a block device (R3)`);
    if (kind === 'internal' && disk.format !== 'qcow2')
      throw refused(kind, `disk ${disk.target} is ${disk.format}, which has no room for one (R1)`);
  }
  return taken.map(({ target, path }) => ({ target, path }));
};

const refused = (kind: SnapshotKind, why: string): Fault =>
  new Fault('CAPTURE_REFUSED', `no ${kind} snapshot of the VM: ${why}`);

/**
 * What a disk service reads of a snapshot that was made: the image with the snapshot inside, or the layer under the present
 * one. What the platform did is read off the disks: anything but exactly one new layer on each disk taken is a fault, never
 * a guess, and final: asked again, the same would be found.
 */
export const disksToRead = (
  kind: SnapshotKind,
  before: readonly DiskPlace[],
  now: readonly CasDisk[],
): DiskPlace[] =>
  before.map(({ target, path }) => {
    const disk = now.find((one) => one.target === target);
    const unexpected = (why: string): Fault =>
      new Fault('PLATFORM_TASK_FAILED', `the ${kind} snapshot is not as asked: disk ${target} ${why}`);
    if (disk === undefined) throw unexpected('is gone');
    if (kind === 'internal') {
      if (disk.path !== path) throw unexpected(`lies at ${disk.path} instead of ${path}`);
      return { target, path };
    }
    if (disk.path === path) throw unexpected('got no new layer');
    if (disk.backingFile !== null && disk.backingFile !== path)
      throw unexpected(`stands on ${disk.backingFile} instead of ${path}`);
    return { target, path };
  });
