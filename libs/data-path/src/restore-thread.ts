import { type NbdEndpoint } from '@casvault/block-source';
import { type StoreLocation } from '@casvault/object-store';
import { type HashName, type PackRef } from '@casvault/repository';
import { type CompareDone, type CompareJob } from './compare-blocks.js';
import { type LimitCells } from './limits.js';
import { engineThread, Thread, type ThreadStart } from './thread-calls.js';

/** Plain data that a restore thread is started with. */
export interface RestoreThreadData {
  readonly location: StoreLocation;
  readonly repositoryId: string;
  readonly hash: HashName;
  readonly masterKey: Uint8Array | null;
  readonly folder: string;
  readonly limits: LimitCells;
}

export interface OpenTarget {
  /** Null: everything is read and checked, nothing is written. */
  readonly destination: NbdEndpoint | null;
  readonly sizeBytes: number;
}

/** Jobs of a thread that write at once: what one wrote is acknowledged while the next is unpacked. */
export const writingJobs = 2;

export const frameFields = 6;
/**
 * What to fetch from one pack. `frames` has six numbers for each frame, by ascending offset: ordinal, offset, stored length, plain length,
 * codec (1 = zstd), and how many of `blocks` are its own. `blocks` has two numbers for each block, in frame order: its number in the disk
 * and in the frame. `ids` has 32 bytes for each.
 */
export interface PackJob {
  readonly pack: PackRef;
  readonly frames: Uint32Array;
  readonly blocks: Float64Array;
  readonly ids: Uint8Array;
}

export interface PackDone {
  /** Written, or checked. */
  readonly doneBytes: number;
  /** Frames as stored. */
  readonly storedBytes: number;
}

export interface ZeroJob {
  readonly offset: number;
  readonly length: number;
  /** The room stays taken. */
  readonly noHole: boolean;
}

export interface RestoreCalls {
  openTarget: [OpenTarget, null];
  pack: [PackJob, PackDone];
  zero: [ZeroJob, null];
  /** Reads the target. */
  compare: [CompareJob, CompareDone];
  /** Flushes what this thread's connection wrote, and closes it. */
  closeTarget: [null, null];
}
export type RestoreThread = Thread<RestoreCalls>;

export const startRestoreThread = (
  data: RestoreThreadData,
  run: Pick<ThreadStart, 'signal' | 'resting'>,
): RestoreThread => new Thread<RestoreCalls>({ ...run, file: engineThread, kind: 'restore', data });
