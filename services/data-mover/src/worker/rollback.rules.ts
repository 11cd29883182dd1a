import { type DiskExport, type ReasonCode, type RollbackSpec } from '@casvault/contracts';
import { provenBitmap, type RollbackRequest } from '@casvault/data-path';

export type SinceDisk = NonNullable<Parameters<typeof provenBitmap>[0]>;
type Since = RollbackRequest['disks'][number]['since'];

/** The image, without the run of QEMU that counted in it. */
const imageOf = (generation: string): string => generation.split('/')[0] ?? '';

/**
 * The bitmap to go by, or why none is. The machine is off, so no run of QEMU counts any more: that the bitmap was saved whole by the last one is
 * what the disk service tells by offering it; that it began at the point, in this image, is for the pool's record to prove (D2, R7).
 */
export const judgeSince = (
  since: RollbackSpec['since'],
  volume: DiskExport,
  disk: SinceDisk | null,
): { readonly since: Since; readonly reasons: readonly ReasonCode[] } => {
  if (!since) return { since: null, reasons: [] };
  const { chainId, pointId, checkpoint } = since;
  const counted = disk?.lineage?.generation ?? '';
  const isSameImage = counted !== '' && imageOf(counted) === imageOf(volume.generation);
  const generation = isSameImage ? counted : volume.generation;
  const doubt = provenBitmap(disk, { ...volume, checkpointName: checkpoint, generation });
  if (doubt !== null || volume.bitmapContext === null) return { since: null, reasons: doubt ? [doubt] : [] };
  return { since: { chainId, pointId, dirtyBitmapContext: volume.bitmapContext }, reasons: [] };
};
