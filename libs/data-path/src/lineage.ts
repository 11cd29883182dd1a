import { type ReasonCode } from '@casvault/contracts';
import { type PointDisk } from '@casvault/repository';

/** What the disk service found when it was asked for the changes of a disk since the parent's checkpoint. */
export interface FoundBitmap {
  /** The checkpoint that was asked for. */
  readonly checkpointName: string;
  /** Null when the bitmap could not be had. */
  readonly bitmapContext: string | null;
  readonly bitmapReason: ReasonCode | null;
  /** The opening that made the checkpoint, as the host keeps it. */
  readonly bitmapMadeBy: string | null;
  /** Identity of the image and of the run of QEMU that counts now. */
  readonly generation: string;
  readonly sizeBytes: number;
}

/**
 * Null when the pool's own record proves that the bitmap began at the parent and has counted ever since: the same disk, size, checkpoint,
 * opening that made it, image and run of QEMU. Otherwise why not; the disk is then read in full and compared (D2, R7). `parent` is the disk as
 * the parent holds it, null when it does not.
 */
export function provenBitmap(parent: PointDisk | null, found: FoundBitmap): ReasonCode | null {
  if (parent === null) return 'DISK_ADDED';
  if (parent.sizeBytes !== found.sizeBytes) return 'DISK_RESIZED';
  if (found.bitmapContext === null) return found.bitmapReason ?? 'BITMAP_MISSING';
  const { lineage } = parent;
  if (lineage === null) return 'BITMAP_LINEAGE_UNPROVEN';
  const madeBy = lineage.openingId?.toLowerCase() ?? null;
  const proven =
    lineage.checkpointName === found.checkpointName &&
    madeBy !== null &&
    madeBy === found.bitmapMadeBy?.toLowerCase() &&
    lineage.generation !== '' &&
    lineage.generation === found.generation;
  return proven ? null : 'BITMAP_LINEAGE_UNPROVEN';
}
