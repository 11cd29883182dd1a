import { reasonCodeSchema, type ReasonCode } from '@casvault/contracts';
import { openObjectStore, type StoreLocation } from '@casvault/object-store';
import { type PointDisk, type PointFacts, type RepositoryKey } from '@casvault/repository';
import { type BackupDisk } from './backup-disk.js';
import { backupPoint, type BackupRequest, type BackupResult, type BackupRun } from './backup-point.js';
import { type PointSource } from './disk-source.js';
import { readManifest, type StoredManifest } from './points.js';
import { openRepository } from './repository.js';

/** One attempt at a copy of a point in another repository: plain data. Of the copy itself everything is said as of a backup. */
export interface CopyRequest
  extends Omit<BackupRequest, 'kind' | 'facts' | 'disks'>, Pick<BackupRequest['facts'], 'tools'> {
  readonly source: {
    readonly location: StoreLocation;
    readonly key: RepositoryKey | null;
    readonly chainId: string;
    readonly pointId: string;
    /** A point of the same chain of which `parentPointId` is a copy: only what differs from it is read. Null: all is read. */
    readonly sincePointId: string | null;
  };
}

/**
 * E7: makes of a point one in another repository that restores to the same bytes: same disks, configuration and instant, an id and packs of its
 * own. Each block is read once, proven by its id there, and stored under the ids and keys of the target, if its parent there has it not. The
 * source never changes, so every earlier attempt is at the same capture: all of their packs are taken over. Bitmaps stay with the source: a
 * copy has no lineage, so no backup goes by it.
 * Memory: as `backupPoint`, with a `PointReader` in each thread, and `readPointMap`.
 * Faults: as `backupPoint`; POOL_OBJECT_MISSING and POOL_OBJECT_DAMAGED name the object in whichever pool it should be.
 */
export async function copyPoint(request: CopyRequest, run: BackupRun): Promise<BackupResult> {
  const { source: _source, tools, ...target } = request;
  const { facts, disks } = await readSource(request, run.signal);
  const kind = target.parentPointId === null ? 'full' : 'incremental';
  return backupPoint({ ...target, kind, facts: { ...facts, ...(tools && { tools }) }, disks }, run);
}

interface SourcePoint {
  readonly facts: BackupRequest['facts'];
  readonly disks: readonly BackupDisk[];
}

async function readSource({ source }: CopyRequest, signal: AbortSignal): Promise<SourcePoint> {
  const { location, key, chainId, sincePointId } = source;
  const store = openObjectStore(location);
  try {
    const repository = await openRepository(store, { key, signal });
    const point = await readManifest(repository, source, signal);
    const since =
      sincePointId === null
        ? []
        : (await readManifest(repository, { chainId, pointId: sincePointId }, signal)).facts.disks;
    const { masterKey } = repository;
    const disks = point.facts.disks.map((disk) =>
      diskOf({ location, masterKey, chainId, disk, since: sameDisk(since, disk) }),
    );
    return { facts: factsOf(point), disks };
  } finally {
    await store.close();
  }
}

/** Of the same size: what lies behind the end of the other is nothing that it tells about. */
const sameDisk = (since: readonly PointDisk[], { diskId, sizeBytes }: PointDisk): PointDisk | null =>
  since.find((one) => one.diskId === diskId && one.sizeBytes === sizeBytes) ?? null;

function diskOf(source: PointSource): BackupDisk {
  const { target, diskId, role, bus, format, reasons } = source.disk;
  // What a newer version wrote may have reasons that this one does not know.
  const known = reasons.filter((code): code is ReasonCode => reasonCodeSchema.safeParse(code).success);
  return { target, diskId, role, bus, format, source, reasons: known };
}

/** The copy of a copy is one of the first. */
function factsOf({ inventory, facts }: StoredManifest): SourcePoint['facts'] {
  const { capturedAt, method, consistency, vm, configuration, excludedDisks } = facts;
  const { repositoryId, chainId, pointId } = inventory;
  const copyOf: PointFacts['copyOf'] = facts.copyOf ?? { repositoryId, chainId, pointId };
  return { capturedAt, method, consistency, vm, configuration, excludedDisks, copyOf };
}
