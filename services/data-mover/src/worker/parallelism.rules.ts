import { type BackupSpec } from '@casvault/contracts';

/**
 * Disks at once and connections to each, from `disksPerVm` and `streamsPerDisk` (1 to 5 each): a VM has as many connections
 * in all as the larger of the two says.
 */
export const parallelismOf = (
  { disksPerVm, streamsPerDisk }: Pick<BackupSpec['options'], 'disksPerVm' | 'streamsPerDisk'>,
  disks: number,
): { readonly disksInParallel: number; readonly streamsPerDisk: number } => {
  const disksInParallel = Math.max(1, Math.min(disksPerVm, disks));
  const connections = Math.max(disksPerVm, streamsPerDisk);
  return {
    disksInParallel,
    streamsPerDisk: Math.max(1, Math.min(streamsPerDisk, Math.floor(connections / disksInParallel))),
  };
};
