import { createHash } from 'node:crypto';
import {
  Fault,
  type BackupSpec,
  type DiskExport,
  type Opening,
  type OpeningId,
  type ReasonCode,
  type TransferId,
} from '@casvault/contracts';
import { provenBitmap, type BackupDisk } from '@casvault/data-path';

type SpecDisk = BackupSpec['disks'][number];
type ParentDisk = Parameters<typeof provenBitmap>[0];

/** What is made of the tracker of one disk of a capture. */
export interface JudgedTracker {
  /** The proven bitmap since the parent; null: the disk is read in full and compared. */
  readonly context: string | null;
  readonly reasons: readonly ReasonCode[];
  /** The bitmap that begins at this capture, if one does. */
  readonly lineage: NonNullable<BackupDisk['lineage']> | null;
}

/** A bitmap is used only where the pool's own record of the parent proves it (D2, R7). */
export const judgeTracker = (
  disk: Pick<SpecDisk, 'incrementalFrom'>,
  found: DiskExport,
  opening: Pick<Opening, 'openingId' | 'checkpoint'>,
  parent: ParentDisk,
): JudgedTracker => {
  const { checkpoint, openingId } = opening;
  const { generation } = found;
  const lineage =
    found.checkpointed && checkpoint !== null ? { checkpointName: checkpoint, generation, openingId } : null;
  const { incrementalFrom } = disk;
  if (incrementalFrom === undefined) return { context: null, reasons: [], lineage };
  const doubt = provenBitmap(parent, { ...found, checkpointName: incrementalFrom });
  return doubt === null
    ? { context: found.bitmapContext, reasons: [], lineage }
    : { context: null, reasons: [doubt], lineage };
};

/** `cbt.fallback`: throws CBT_INVALID when a disk that was to be tracked is not, and the job says to skip the VM then. */
export const requireTrackers = (
  { vm, tracking, disks }: Pick<BackupSpec, 'vm' | 'tracking' | 'disks'>,
  judged: ReadonlyMap<string, JudgedTracker>,
): void => {
  if (tracking.withoutBitmap !== 'skip') return;
  const invalid = disks
    .filter(({ incrementalFrom }) => incrementalFrom !== undefined)
    .flatMap(({ target }) => {
      const tracker = judged.get(target);
      return tracker?.context === null ? [`disk ${target}: ${tracker.reasons.join(', ')}`] : [];
    });
  if (invalid.length > 0)
    throw new Fault('CBT_INVALID', `VM '${vm.name}' has no valid CBT: ${invalid.join('; ')}`);
};

/** Decides which blocks are sampled: the same for all attempts at one capture, and nothing that the tracker's host knows. */
export const sampleSeed = (transferId: TransferId, openingId: OpeningId): Uint8Array =>
  createHash('sha256').update(`${transferId}/${openingId}`).digest();
