import { type Disk, type VmFacts } from '@casvault/contracts';

export interface CapabilityFacts {
  /** `E0760` */
  readonly release: string;
  /** What the disk service of the VM's host says; null: it did not answer. */
  readonly offersLiveExport: boolean | null;
  readonly disks: readonly Disk[];
}

/** R8, R9 are said of this release. */
const e0760 = 760;
const numberOf = (release: string): number => Number(/^E(\d{4})/.exec(release)?.[1] ?? Number.NaN);

const isFileQcow2 = (disk: Disk): boolean => disk.format === 'qcow2' && disk.fileType === 'file';

/**
 * What the platform's release and the VM's host can do for it now. Pure.
 *
 * A disk service that does not answer is taken to offer the live export: opening it then fails by itself and harmlessly,
 * while a plan made on the opposite guess might shut the VM down.
 */
export const capabilitiesOf = (facts: CapabilityFacts): VmFacts['capabilities'] => {
  const { release, disks } = facts;
  const isEncrypted = disks.some((disk) => disk.encrypted);
  const dependent = disks.filter((disk) => disk.mode === 'dependent');
  return {
    liveExport: facts.offersLiveExport ?? true,
    // R8
    liveIncremental: numberOf(release) !== e0760,
    // R1, R2: an internal snapshot lies in the image, and only qcow2 has room for it; it takes all disks, whatever their mode (R4).
    internalSnapshot: !isEncrypted && disks.length > 0 && disks.every(isFileQcow2),
    // R2, R3; R4: the independent ones are not taken.
    externalSnapshot:
      !isEncrypted && dependent.length > 0 && dependent.every((disk) => disk.fileType === 'file'),
    // R9
    externalIncremental: numberOf(release) > e0760,
  };
};
