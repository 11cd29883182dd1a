import { type CasDisk, type CasNic, type CasNetworkProfile } from '@casvault/cas-client';
import { type Disk, type DiskId, type Vm } from '@casvault/contracts';

/** Where a host's storage pools lie, to find the pool of a disk from its path. */
export interface StoragePlace {
  readonly name: string;
  readonly path: string;
}

const storageOf = (path: string, places: readonly StoragePlace[]): string | null => {
  const holding = places.filter(
    (place) => place.path !== '' && path.startsWith(`${place.path.replace(/\/+$/, '')}/`),
  );
  const deepest = holding.sort((a, b) => b.path.length - a.path.length)[0];
  return deepest?.name ?? null;
};

/**
 * Disks with product ids. A disk is known by its target in its VM: its path changes with a storage migration. The first
 * disk is the system disk: the CVM lists them in boot order. R5: only qcow2 files carry a bitmap.
 * `sizeBytes` is as exact as the CVM tells it (whole MiB); a transfer takes the export's size as the truth.
 */
export const disksOf = (
  disks: readonly CasDisk[],
  known: readonly Disk[],
  places: readonly StoragePlace[],
  mint: () => DiskId,
): Disk[] =>
  disks.map((disk, index) => ({
    id: known.find((old) => old.target === disk.target)?.id ?? mint(),
    target: disk.target,
    path: disk.path,
    format: disk.format,
    fileType: disk.fileType,
    bus: disk.bus,
    role: index === 0 ? 'system' : 'data',
    mode: disk.mode,
    sizeBytes: disk.sizeBytes,
    storageName: disk.storageName ?? storageOf(disk.path, places),
    cbtCapable: disk.format === 'qcow2' && disk.fileType === 'file' && !disk.encrypted,
    encrypted: disk.encrypted,
  }));

export const nicsOf = (nics: readonly CasNic[], profiles: readonly CasNetworkProfile[]): Vm['nics'] =>
  nics.map((nic) => ({
    mac: nic.mac,
    switchName: nic.switchName,
    profileName:
      nic.profileName ??
      profiles.find((profile) => profile.externalId === nic.profileExternalId)?.name ??
      null,
    model: nic.model,
  }));
