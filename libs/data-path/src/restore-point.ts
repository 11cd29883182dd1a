import { setMaxListeners } from 'node:events';
import { type NbdEndpoint } from '@casvault/block-source';
import { Fault, type DiskProgress } from '@casvault/contracts';
import { openObjectStore, type StoreLocation } from '@casvault/object-store';
import { type PointDisk, type RepositoryKey } from '@casvault/repository';
import { type BlockSet } from './block-set.js';
import { type SpeedCells } from './governor.js';
import { inLanes } from './lanes.js';
import { limitStore, type LimitCells } from './limits.js';
import { MapReader } from './map-reader.js';
import { readManifest } from './points.js';
import { reportProgress } from './progress.js';
import { folderOf, openRepository, type Repository } from './repository.js';
import { DiskRestore, type RestoreTarget, type RestoreWork } from './restore-disk.js';
import { RestoreMember } from './restore-team.js';
import { writingJobs } from './restore-thread.js';
import { type RestingThreads } from './resting-threads.js';
import { type ThreadStart } from './thread-calls.js';

/** What to restore and where to: plain data. */
export interface RestoreRequest {
  readonly location: StoreLocation;
  readonly key: RepositoryKey | null;
  readonly chainId: string;
  readonly pointId: string;
  readonly disks: readonly {
    /** The disk as the point names it. */
    readonly target: string;
    readonly destination: NbdEndpoint;
    /** True when all of the destination reads as zeros, but for what is written already; otherwise zeros are written too. */
    readonly fresh: boolean;
    /** Zeros are written where they must be, yet no room of the destination is given back. */
    readonly keepsRoom?: boolean;
    /**
     * What an earlier attempt wrote through a server that still runs, and need not be written again; what this one writes is added. Never
     * through another server: one that dies may take along what it acknowledged.
     */
    readonly written?: BlockSet;
  }[];
  readonly disksInParallel: number;
  readonly streamsPerDisk: number;
  /**
   * The most that is sent to the disks and not acknowledged by them, as stored; as much again is read ahead. A frame for each thread.
   * Absent: two packs for each thread.
   */
  readonly unacknowledgedBytes?: number;
  /** Longest write request, a multiple of 64 KiB; absent: 1 MiB. */
  readonly writeBytes?: number;
}

export interface RestoreRun {
  readonly signal: AbortSignal;
  /** Where threads rest before and after; absent: they start and end with the call. */
  readonly resting?: RestingThreads;
  /** Of a `Governor`, which the caller runs; absent: as fast as it goes. */
  readonly speed?: SpeedCells;
  readonly onProgress?: (progress: DiskProgress[]) => void;
}

export interface RestoreResult {
  readonly disks: readonly (DiskProgress & { readonly sizeBytes: number; readonly mapRoot: string })[];
}

/**
 * Writes disks of a point to their destinations and flushes them. Every block is checked by its id before it is written. Done again it writes
 * the same: an interrupted restore is simply repeated.
 * Memory: `disksInParallel x streamsPerDisk` threads (see `restore-session.ts`, about 60 MiB each) and what `DiskRestore` says for each disk.
 * Faults: POOL_OBJECT_MISSING and POOL_OBJECT_DAMAGED name the object; INPUT_INVALID for a disk that the point has not, or a target too small.
 */
export async function restorePoint(request: RestoreRequest, run: RestoreRun): Promise<RestoreResult> {
  const store = limitStore(openObjectStore(request.location), { speed: run.speed });
  try {
    const repository = await openRepository(store, { key: request.key, signal: run.signal });
    const { facts } = await readManifest(repository, request, run.signal);
    const disks = request.disks.map(({ target, destination, fresh, keepsRoom = false, written }) => {
      const disk = facts.disks.find((one) => one.target === target);
      if (disk === undefined) throw new Fault('INPUT_INVALID', `the point has no disk ${target}`);
      return { disk, target: { destination, fresh, keepsRoom, written } };
    });
    const done = await readDisks(repository, request, disks, { ...run, tolerates: () => false });
    return {
      disks: disks.map(({ disk }, i) => ({
        ...done[i]!.progress,
        sizeBytes: disk.sizeBytes,
        mapRoot: disk.root,
      })),
    };
  } finally {
    await store.close();
  }
}

type Reading = Pick<
  RestoreRequest,
  'location' | 'chainId' | 'disksInParallel' | 'streamsPerDisk' | 'unacknowledgedBytes' | 'writeBytes'
>;

/** Reads disks of a point on threads, into their targets or only to check them. Whatever happens, all threads end. */
export async function readDisks(
  repository: Repository,
  request: Reading,
  disks: readonly { readonly disk: PointDisk; readonly target: RestoreTarget }[],
  run: RestoreRun & Pick<RestoreWork, 'tolerates' | 'damaged'>,
): Promise<{ readonly progress: DiskProgress; readonly writtenBytes: number }[]> {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal);
  const abort = (): void => {
    controller.abort(Fault.ofAbort(run.signal));
  };
  run.signal.addEventListener('abort', abort);
  if (run.signal.aborted) abort();
  const { signal } = controller;
  const teams = teamsOf(repository, request, disks.length, {
    signal,
    resting: run.resting,
    speed: run.speed,
  });
  const work: RestoreWork = {
    maps: new MapReader(repository, folderOf(repository, request.chainId), signal),
    signal,
    jobBytes: (request.unacknowledgedBytes ?? Infinity) / (teams.flat().length * writingJobs),
    fail: (error) => {
      controller.abort(Fault.from(error));
    },
    tolerates: run.tolerates,
    ...(run.damaged && { damaged: run.damaged }),
  };
  const restores = disks.map(({ disk, target }) => new DiskRestore(disk, target, work));
  const progress = reportProgress(() => restores.map((restore) => restore.progress), run.onProgress);
  try {
    await inLanes(restores, teams, (restore, _, team) => restore.run(team));
    return restores.map(({ progress: of, writtenBytes }) => ({ progress: of, writtenBytes }));
  } catch (error) {
    work.fail(error);
    throw error;
  } finally {
    progress.stop();
    run.signal.removeEventListener('abort', abort);
    for (const member of teams.flat()) await member.end();
  }
}

function teamsOf(
  repository: Repository,
  request: Reading,
  disks: number,
  run: Pick<ThreadStart, 'signal' | 'resting'> & Pick<LimitCells, 'speed'>,
): RestoreMember[][] {
  const { descriptor, masterKey } = repository;
  const data = {
    location: request.location,
    repositoryId: descriptor.repositoryId,
    hash: descriptor.hash,
    masterKey,
    folder: folderOf(repository, request.chainId),
    limits: { speed: run.speed, requestBytes: request.writeBytes },
  };
  const lanes = Math.max(1, Math.min(request.disksInParallel, disks));
  return Array.from({ length: lanes }, () =>
    Array.from({ length: Math.max(1, request.streamsPerDisk) }, () => new RestoreMember(data, run)),
  );
}
