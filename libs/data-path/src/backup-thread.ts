import { type StoreLocation } from '@casvault/object-store';
import { type HashName } from '@casvault/repository';
import { type DiskSource } from './disk-source.js';
import { type LimitCells } from './limits.js';
import { type SliceJob, type SliceResult } from './slice.js';
import { engineThread, Thread, type ThreadStart } from './thread-calls.js';

/** Plain data that a backup thread is started with. */
export interface BackupThreadData {
  readonly location: StoreLocation;
  readonly repositoryId: string;
  readonly hash: HashName;
  readonly masterKey: Uint8Array | null;
  readonly folder: string;
  readonly chainId: string | null;
  readonly writerId: string;
  readonly level: number | null;
  /** One Int32: the next sequence number of the writer, over all its threads. */
  readonly nextSeq: SharedArrayBuffer;
  readonly limits: LimitCells;
}

export interface OpenDisk {
  readonly source: DiskSource;
  readonly sizeBytes: number;
  readonly readBytes: number;
}

export interface BackupCalls {
  openDisk: [OpenDisk, null];
  slice: [SliceJob, SliceResult];
  closeDisk: [null, null];
  finish: [null, null];
}
export type BackupThread = Thread<BackupCalls>;

export const startBackupThread = (
  data: BackupThreadData,
  run: Pick<ThreadStart, 'signal' | 'resting'>,
): BackupThread => new Thread<BackupCalls>({ ...run, file: engineThread, kind: 'backup', data });
