import { type BackupSpec, type TransferOptions } from '@casvault/contracts';

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

/** Threads that the engine takes for them. */
export const threadsOf = (options: TransferOptions, disks: number): number => {
  const { disksInParallel, streamsPerDisk } = parallelismOf(options, disks);
  return disksInParallel * streamsPerDisk;
};

/** How disks of a point are written. */
export const wayOf = (
  options: TransferOptions,
  disks: number,
): ReturnType<typeof parallelismOf> & {
  readonly unacknowledgedBytes: number;
  readonly writeBytes: number;
} => ({
  ...parallelismOf(options, disks),
  unacknowledgedBytes: options.reconnect.bufferMiB * 1_048_576,
  writeBytes: options.transport.bufferKiB * 1_024,
});
