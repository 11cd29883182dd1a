import { type CasDisk, type CasSnapshot, type CasVmRow } from '@casvault/cas-client';
import { Fault, type RunItemId } from '@casvault/contracts';
import { type VmHardware } from './original-path.rules.js';

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
  /** F3: what else it had. */
  readonly hardware?: VmHardware;
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

const refusing =
  (field: 'overwrite' | 'path', { name }: Pick<CasVmRow, 'name'>) =>
  (code: 'CONFLICT' | 'VM_STATE_REFUSED' | 'INPUT_INVALID', rule: string): Fault =>
    new Fault(code, `${field}: VM ${name} ${rule}`, { details: { field, vmName: name } });
type Refuse = ReturnType<typeof refusing>;

/** The VM must hold still where its new disks are. */
const refusePlace = (row: CasVmRow, hostExternalId: string, refuse: Refuse): Fault | null => {
  if (row.hostExternalId !== hostExternalId)
    return refuse('INPUT_INVALID', 'is on another host: name its host and a storage pool there');
  return row.powerState === 'stopped'
    ? null
    : refuse('VM_STATE_REFUSED', `is ${row.powerState}: it must be off`);
};

/** What could not be put back again. */
const refuseDisks = (disks: readonly CasDisk[], refuse: Refuse): Fault | null => {
  const odd = disks.find(({ mode }) => mode !== 'dependent');
  if (odd) return refuse('CONFLICT', `has an independent disk (${odd.target}), which is not detached`);
  return keptDisks(disks) === null ? refuse('CONFLICT', 'has a disk that could not be attached again') : null;
};

/** S8: why a VM is not overwritten; null: it may be. What would be lost or could not be put back again is not. */
export const refuseOverwriting = (vm: Overwritten, hostExternalId: string): Fault | null => {
  const { row, disks, snapshots, protectedBy } = vm;
  const refuse = refusing('overwrite', row);
  if (protectedBy !== null)
    return refuse('CONFLICT', `${protectedBy}: a protected VM is not overwritten (S8)`);
  const [snapshot] = snapshots;
  return (
    refusePlace(row, hostExternalId, refuse) ??
    (snapshot
      ? refuse('CONFLICT', `has snapshots (${snapshot.name}): its disks cannot be detached`)
      : refuseDisks(disks, refuse))
  );
};

/** F3: as above of the VM of the point, which may be protected and have snapshots: those go, and the preview says so. */
export const refuseOriginal = (
  { row, disks }: Pick<Overwritten, 'row' | 'disks'>,
  { hostExternalId, leftOut }: { hostExternalId: string; leftOut: readonly string[] },
): Fault | null => {
  const refuse = refusing('path', row);
  const missing = disks.find(({ target }) => leftOut.includes(target));
  if (missing)
    return refuse(
      'CONFLICT',
      `has disk ${missing.target}, which the point does not hold: it would lose it; restore to a new path or roll it back`,
    );
  return refusePlace(row, hostExternalId, refuse) ?? refuseDisks(disks, refuse);
};
