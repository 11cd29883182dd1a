import { type NbdEndpoint } from '@casvault/block-source';
import { Fault, type ReasonCode } from '@casvault/contracts';
import { openObjectStore } from '@casvault/object-store';
import { type PointDisk } from '@casvault/repository';
import { DifferingBlocks, type SincePoint } from './differing-blocks.js';
import { limitStore } from './limits.js';
import { MapReader } from './map-reader.js';
import { readManifest } from './points.js';
import { folderOf, openRepository, type Repository } from './repository.js';
import { type RestoreTarget } from './restore-disk.js';
import { readDisks, type RestoreRequest, type RestoreResult, type RestoreRun } from './restore-point.js';
import { readSourceMap } from './source-map.js';

/** What to bring back and where it is: plain data. */
export interface RollbackRequest extends Omit<RestoreRequest, 'disks'> {
  readonly disks: readonly {
    /** The disk as the point names it. */
    readonly target: string;
    /** The disk itself, writable, and with the bitmap if there is one. */
    readonly destination: NbdEndpoint;
    /** A point of the same disk and the context of a bitmap that is proven to begin there; null: everything is compared. */
    readonly since: {
      readonly chainId: string;
      readonly pointId: string;
      readonly dirtyBitmapContext: string;
    } | null;
  }[];
}

export interface RollbackDiskResult {
  /** Blocks that might have differed. */
  readonly comparedBytes: number;
  /** Read from the destination; what it calls zero is not read. */
  readonly readBytes: number;
  /** Blocks that differed, zeros among them. */
  readonly writtenBytes: number;
  readonly reasons: readonly ReasonCode[];
}

export interface RollbackResult {
  readonly disks: readonly (RestoreResult['disks'][number] & RollbackDiskResult)[];
}

interface Prepared {
  readonly disk: PointDisk;
  readonly target: NonNullable<RestoreTarget>;
  readonly differing: DifferingBlocks;
  readonly reasons: readonly ReasonCode[];
}

/**
 * Makes disks in place what they were at a point, and flushes them (F8). Only blocks that differ are written; each was checked by its id.
 * A block is either as it was before or as in the point at any time, so an interrupted roll-back is simply repeated, with the same bitmap or
 * without. Whoever wrote the disk meanwhile is overwritten or not: the caller sees to it that nobody does.
 * In the progress `doneBytes` are bytes compared and found the same, or written.
 * Memory: as `restorePoint`, two `BlockSet`s and `DifferingBlocks` for each disk, and 4 x 1 MiB for each page being compared (4 at once).
 * Faults: as `restorePoint`.
 */
export async function rollbackPoint(request: RollbackRequest, run: RestoreRun): Promise<RollbackResult> {
  const store = limitStore(openObjectStore(request.location), { speed: run.speed });
  try {
    const repository = await openRepository(store, { key: request.key, signal: run.signal });
    const { facts } = await readManifest(repository, request, run.signal);
    const disks: Prepared[] = [];
    for (const wanted of request.disks) {
      const disk = facts.disks.find((one) => one.target === wanted.target);
      if (disk === undefined) throw new Fault('INPUT_INVALID', `the point has no disk ${wanted.target}`);
      disks.push(await prepare(repository, disk, wanted, run.signal));
    }
    const done = await readDisks(repository, request, disks, { ...run, tolerates: () => false });
    return {
      disks: disks.map(({ disk, differing, reasons }, i) => ({
        ...done[i]!.progress,
        sizeBytes: disk.sizeBytes,
        mapRoot: disk.root,
        comparedBytes: differing.comparedBytes,
        readBytes: differing.readBytes,
        writtenBytes: done[i]!.writtenBytes,
        reasons,
      })),
    };
  } finally {
    await store.close();
  }
}

async function prepare(
  repository: Repository,
  disk: PointDisk,
  { destination, since }: RollbackRequest['disks'][number],
  signal: AbortSignal,
): Promise<Prepared> {
  const known = since === null ? null : await sincePoint(repository, disk, since, signal);
  const context = known === null ? null : (since?.dirtyBitmapContext ?? null);
  const map = await readSourceMap(destination, context, signal);
  const changed = known?.disk.sizeBytes === map.sizeBytes ? map.changed : null;
  const { sizeBytes } = disk;
  const differing = new DifferingBlocks({ sizeBytes, data: map.data, changed, since: known });
  return {
    disk,
    target: { destination, fresh: false, differing },
    differing,
    reasons: changed === null ? ['ROLLED_BACK_BY_COMPARISON'] : [],
  };
}

/** The same disk at a point from which a bitmap counts; null where that point has it not, or is gone. */
async function sincePoint(
  repository: Repository,
  wanted: PointDisk,
  since: { readonly chainId: string; readonly pointId: string },
  signal: AbortSignal,
): Promise<SincePoint | null> {
  try {
    const { facts } = await readManifest(repository, since, signal);
    const disk = facts.disks.find(({ diskId }) => diskId === wanted.diskId);
    const maps = new MapReader(repository, folderOf(repository, since.chainId), signal);
    return disk === undefined ? null : { disk, maps };
  } catch (error) {
    if (Fault.from(error).code === 'POOL_OBJECT_MISSING') return null;
    throw error;
  }
}
