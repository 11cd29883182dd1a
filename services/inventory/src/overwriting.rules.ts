import { type CasDisk, type CasSnapshot, type CasVmRow } from '@casvault/cas-client';
import { Fault, type RunItemId } from '@casvault/contracts';

/** What must be known of a disk to plug it in again. */
export interface KeptDisk {
  readonly path: string;
  readonly format: 'qcow2' | 'raw';
  readonly bus: 'virtio' | 'scsi' | 'ide' | 'usb';
  readonly fileType: 'file' | 'block';
  readonly storageName: string;
}

/** Disks that a VM had, and those that it gets in their place. */
export interface Swap {
  readonly kept: readonly KeptDisk[];
  readonly made: readonly KeptDisk[];
}

/** The VM that bears a restore's name, as the CVM tells it now. */
export interface Overwritten {
  readonly row: CasVmRow;
  readonly disks: readonly CasDisk[];
  readonly snapshots: readonly Pick<CasSnapshot, 'name'>[];
  /** By what: points that it has, or had, here, or a backup job. */
  readonly protectedBy: string | null;
}

/** The name of the VM that carries the disks until they are handed over: at most 64 characters. */
export const carrierName = (vmName: string, restoreId: RunItemId): string =>
  `${vmName.slice(0, 47)}-${restoreId.replaceAll('-', '').slice(-16)}`;

const bySize = (a: CasDisk, b: CasDisk): number =>
  a.target.length - b.target.length || (a.target < b.target ? -1 : 1);

/** In the order of their targets: plugged in again in it, they get them again. Null where the CVM's words for one are not known. */
export const keptDisks = (disks: readonly CasDisk[]): KeptDisk[] | null => {
  const kept = [...disks].sort(bySize).map((disk): KeptDisk | null => {
    const { path, format, bus, fileType } = disk;
    if (format === 'unknown' || bus === 'unknown') return null;
    return { path, format, bus, fileType, storageName: disk.storageName ?? '' };
  });
  return kept.every((disk) => disk !== null) ? kept : null;
};

const refuse = (
  code: 'CONFLICT' | 'VM_STATE_REFUSED' | 'INPUT_INVALID',
  { name }: Pick<CasVmRow, 'name'>,
  rule: string,
): Fault =>
  new Fault(code, `overwrite: VM ${name} ${rule}`, { details: { field: 'overwrite', vmName: name } });

/** S8: why a VM is not overwritten; null: it may be. What would be lost or could not be put back again is not. */
export const refuseOverwriting = (vm: Overwritten, hostExternalId: string): Fault | null => {
  const { row, disks, snapshots, protectedBy } = vm;
  if (protectedBy !== null)
    return refuse('CONFLICT', row, `${protectedBy}: a protected VM is not overwritten (S8)`);
  if (row.hostExternalId !== hostExternalId)
    return refuse('INPUT_INVALID', row, 'is on another host: name its host and a storage pool there');
  if (row.powerState !== 'stopped')
    return refuse('VM_STATE_REFUSED', row, `is ${row.powerState}: it must be off`);
  const [snapshot] = snapshots;
  if (snapshot)
    return refuse('CONFLICT', row, `has snapshots (${snapshot.name}): its disks cannot be detached`);
  const odd = disks.find(({ mode }) => mode !== 'dependent');
  if (odd) return refuse('CONFLICT', row, `has an independent disk (${odd.target}), which is not detached`);
  if (keptDisks(disks) === null)
    return refuse('CONFLICT', row, 'has a disk that could not be attached again');
  return null;
};
