import { setMaxListeners } from 'node:events';
import { Fault, reasonCodeSchema, type DiskProgress, type ReasonCode } from '@casvault/contracts';
import { openObjectStore, type StoreLocation } from '@casvault/object-store';
import {
  encodeManifest,
  FORMAT_VERSION,
  packsIn,
  parsePackKey,
  pointKey,
  writerPrefix,
  type Manifest,
  type PointDisk,
  type PointFacts,
  type PointInventory,
  type RepositoryKey,
} from '@casvault/repository';
import { DiskBackup, type BackedUpDisk, type BackupDisk } from './backup-disk.js';
import { type BackupThreadData } from './backup-thread.js';
import { EarlierPacks } from './earlier-packs.js';
import { type SpeedCells } from './governor.js';
import { inLanes } from './lanes.js';
import { limitCells, limitStore, packLimit, type LimitCells } from './limits.js';
import { MapReader } from './map-reader.js';
import { MapWriter } from './map-writer.js';
import { PackSet } from './pack-set.js';
import { PackWriter } from './pack-writer.js';
import { lookUpPoint, readManifest, type StoredManifest } from './points.js';
import { reportProgress } from './progress.js';
import { folderOf, openRepository, type Repository } from './repository.js';
import { type RestingThreads } from './resting-threads.js';
import { TeamMember } from './thread-team.js';

export type Compression =
  | { readonly mode: 'none' }
  | { readonly mode: 'fast' }
  | { readonly mode: 'adjustable'; readonly level: number };

/** Everything that one attempt at one point of one VM needs: plain data. */
export interface BackupRequest {
  readonly location: StoreLocation;
  readonly key: RepositoryKey | null;
  readonly chainId: string;
  readonly pointId: string;
  readonly kind: 'full' | 'incremental';
  /** Minted for this attempt alone. */
  readonly writerId: string;
  /** Attempts at the same capture: their packs are taken over. */
  readonly earlierWriters: readonly string[];
  /** A committed point of the chain: what it has is not stored again. Null for the first of a chain. */
  readonly parentPointId: string | null;
  readonly createdAt: string;
  readonly facts: Pick<PointFacts, 'capturedAt' | 'method' | 'vm' | 'configuration'> & {
    readonly consistency?: PointFacts['consistency'];
    readonly copyOf?: PointFacts['copyOf'];
    readonly excludedDisks?: PointFacts['excludedDisks'];
    readonly tools?: PointFacts['tools'];
  };
  readonly disks: readonly BackupDisk[];
  readonly compression: Compression;
  readonly disksInParallel: number;
  /** Threads and connections for each disk under way. */
  readonly streamsPerDisk: number;
  /** Longest read request, 64 KiB to 1 MiB (more is taken as 1 MiB). */
  readonly readBytes: number;
  /** The most that is on its way to the pool and not acknowledged, over all threads; a frame at least. Absent: what their buffers hold. */
  readonly unacknowledgedBytes?: number;
}

export interface BackupRun {
  readonly signal: AbortSignal;
  /** Where threads rest before and after; absent: they start and end with the call. */
  readonly resting?: RestingThreads;
  /** Of a `Governor`, which the caller runs; absent: as fast as it goes. */
  readonly speed?: SpeedCells;
  /** At most twice a second, and at the end. */
  readonly onProgress?: (progress: DiskProgress[]) => void;
  readonly onReason?: (target: string, reason: ReasonCode) => void;
  /** Awaited when all is durable but the manifest: throws to forbid the commit. */
  readonly beforeCommit?: () => Promise<void>;
}

export interface BackupDiskResult extends DiskProgress {
  readonly sizeBytes: number;
  readonly mapRoot: string;
  /** Why the disk was read as it was. */
  readonly reasons: readonly ReasonCode[];
  /** Only what its bitmap names was read, besides the sample and the slow pass. */
  readonly tracked: boolean;
}

export interface BackupResult {
  readonly manifest: Manifest;
  readonly disks: readonly BackupDiskResult[];
  /** Bytes of all objects that this point alone brought: its manifest and its packs, those of earlier attempts among them. */
  readonly poolBytes: number;
  /** True when another attempt had committed this point already: its manifest is the point. */
  readonly adopted: boolean;
}

/**
 * Makes one point: reads the data of all disks, stores what is new, writes the manifest last and only if there is none.
 * Memory: `disksInParallel x streamsPerDisk` threads (see `backup-session.ts`, about 45 MiB each) and what `DiskBackup` says for each disk.
 * Faults: those of the source (NBD_*), of the pool (POOL_*), of `signal` and of `beforeCommit`; POOL_OBJECT_MISSING when the parent is gone.
 * Whatever happens, no thread, connection or promise is left behind; threads may be left at rest.
 */
export async function backupPoint(request: BackupRequest, run: BackupRun): Promise<BackupResult> {
  const writers = Math.max(1, request.disksInParallel) * Math.max(1, request.streamsPerDisk);
  const limits = limitCells(run.speed, request.unacknowledgedBytes, writers);
  const store = limitStore(openObjectStore(request.location), limits);
  try {
    const repository = await openRepository(store, { key: request.key, signal: run.signal });
    const found = await lookUpPoint(repository, request, run.signal);
    if (found === 'void') throw voided(request);
    if (found !== 'absent') return await adopt(repository, request, found, run.signal);
    return await new PointBackup(request, run, repository, limits).run();
  } finally {
    await store.close();
  }
}

class PointBackup {
  readonly #request: BackupRequest;
  readonly #run: BackupRun;
  readonly #repository: Repository;
  readonly #controller = new AbortController();
  readonly #packs = new PackSet();
  readonly #threadData: BackupThreadData;
  readonly #mapWriter: MapWriter;

  constructor(request: BackupRequest, run: BackupRun, repository: Repository, limits: LimitCells) {
    this.#request = request;
    this.#run = run;
    this.#repository = repository;
    const { descriptor, masterKey, suite, store } = repository;
    setMaxListeners(0, this.#controller.signal);
    const nextSeq = new SharedArrayBuffer(4);
    this.#threadData = {
      location: request.location,
      repositoryId: descriptor.repositoryId,
      hash: descriptor.hash,
      masterKey,
      folder: folderOf(repository, request.chainId),
      chainId: descriptor.dedupScope === 'chain' ? request.chainId.toLowerCase() : null,
      writerId: request.writerId.toLowerCase(),
      level: levelOf(request.compression),
      nextSeq,
      limits,
    };
    const numbers = new Int32Array(nextSeq);
    const { signal } = this.#controller;
    const nextNumber = (): number => Atomics.add(numbers, 0, 1);
    const packBytes = packLimit(limits);
    const target = { ...this.#threadData, store, suite, nextSeq: nextNumber, signal, packBytes };
    this.#mapWriter = new MapWriter(suite, new PackWriter(target));
  }

  async run(): Promise<BackupResult> {
    const { signal } = this.#run;
    const abort = (): void => {
      this.#controller.abort(Fault.ofAbort(signal));
    };
    signal.addEventListener('abort', abort);
    if (signal.aborted) abort();
    const teams = this.#teams();
    try {
      return await this.#backUp(teams);
    } catch (error) {
      this.#controller.abort(Fault.from(error));
      throw error;
    } finally {
      signal.removeEventListener('abort', abort);
      await this.#mapWriter.abandon();
      for (const member of teams.flat()) await member.end();
    }
  }

  #teams(): TeamMember[][] {
    const { disks, disksInParallel, streamsPerDisk } = this.#request;
    const run = { signal: this.#controller.signal, resting: this.#run.resting };
    return Array.from({ length: Math.max(1, Math.min(disksInParallel, disks.length)) }, () =>
      Array.from({ length: Math.max(1, streamsPerDisk) }, () => new TeamMember(this.#threadData, run)),
    );
  }

  async #backUp(teams: readonly TeamMember[][]): Promise<BackupResult> {
    const { disks } = this.#request;
    const backups = await this.#prepare();
    const done: BackedUpDisk[] = [];
    const progress = reportProgress(() => backups.map((disk) => disk.progress), this.#run.onProgress);
    try {
      await inLanes(disks, teams, async (_, index, team) => {
        done[index] = await backups[index]!.run(team);
      });
      for (const member of teams.flat()) await member.finish();
      await this.#mapWriter.finish();
    } finally {
      progress.stop();
    }
    for (const { packs } of done) this.#packs.addAll(packs);
    return this.#commit(
      done.map(({ disk }) => disk),
      backups.map((disk) => disk.progress),
    );
  }

  async #prepare(): Promise<DiskBackup[]> {
    const { chainId, parentPointId, earlierWriters, disks, readBytes } = this.#request;
    const { signal } = this.#controller;
    const { folder } = this.#threadData;
    const repository = this.#repository;
    const parent =
      parentPointId === null
        ? null
        : await readManifest(repository, { chainId, pointId: parentPointId }, signal);
    const work = {
      suite: repository.suite,
      maps: new MapReader(repository, folder, signal),
      mapWriter: this.#mapWriter,
      earlier: await EarlierPacks.load(repository, folder, earlierWriters, signal),
      readBytes,
      limits: this.#threadData.limits,
      signal,
      onReason: (target: string, reason: ReasonCode) => this.#run.onReason?.(target, reason),
      fail: (error: unknown) => {
        this.#controller.abort(Fault.from(error));
      },
    };
    return disks.map((disk, ordinal) => {
      const before = parent?.facts.disks.find(({ diskId }) => diskId === disk.diskId) ?? null;
      const known =
        parent === null
          ? null
          : { pointId: parent.inventory.pointId, manifestHash: parent.hash, disk: before };
      return new DiskBackup(disk, ordinal, known, work);
    });
  }

  async #commit(disks: PointDisk[], progress: readonly DiskProgress[]): Promise<BackupResult> {
    const { store, suite } = this.#repository;
    const { signal } = this.#controller;
    const packBytes = await this.#packBytes();
    const manifest = this.#manifest(disks, packBytes);
    const bytes = encodeManifest(manifest, suite);
    await this.#requireParent();
    await this.#run.beforeCommit?.();
    const key = pointKey(this.#request.chainId, this.#request.pointId);
    try {
      await store.put(key, bytes, { ifAbsent: true, signal });
    } catch (error) {
      if (Fault.from(error).code !== 'POOL_OBJECT_EXISTS') throw error;
      const found = await lookUpPoint(this.#repository, this.#request, signal);
      if (typeof found === 'string') throw voided(this.#request);
      return adopt(this.#repository, this.#request, found, signal);
    }
    // A disk that was gone over twice may have left maps that nothing refers to.
    if (disks.some(({ reasons }) => reasons.includes('TRACKER_WRONG')))
      await removeUnreferred(this.#repository, this.#request, manifest, signal);
    const poolBytes = packBytes + bytes.length;
    return { manifest, disks: resultOf(disks, progress), poolBytes, adopted: false };
  }

  /** Of the packs that this attempt and its predecessors wrote, those that the point refers to: no other point has them. */
  async #packBytes(): Promise<number> {
    const { writerId, earlierWriters } = this.#request;
    const { store } = this.#repository;
    let total = 0;
    for (const writer of new Set([writerId, ...earlierWriters])) {
      if (!this.#packs.hasWriter(writer.toLowerCase())) continue;
      const listed = store.list(writerPrefix(this.#threadData.folder, writer), {
        signal: this.#controller.signal,
      });
      for await (const { key, sizeBytes } of listed) {
        const pack = parsePackKey(key)?.pack;
        if (pack !== undefined && this.#packs.has(pack)) total += sizeBytes;
      }
    }
    return total;
  }

  /** A parent that was removed meanwhile took packs along that this point would refer to. */
  async #requireParent(): Promise<void> {
    const { chainId, parentPointId } = this.#request;
    if (parentPointId === null) return;
    const { signal } = this.#controller;
    if ((await this.#repository.store.stat(pointKey(chainId, parentPointId), { signal })) !== null) return;
    throw new Fault('CONFLICT', `the parent ${parentPointId} was removed while this point was being made`);
  }

  #manifest(disks: PointDisk[], packBytes: number): Manifest {
    const { chainId, pointId, parentPointId, kind, createdAt, facts } = this.#request;
    const inventory: PointInventory = {
      repositoryId: this.#repository.descriptor.repositoryId,
      chainId: chainId.toLowerCase(),
      pointId: pointId.toLowerCase(),
      parentPointId: parentPointId?.toLowerCase() ?? null,
      kind,
      createdAt,
      packs: this.#packs.ranges(),
    };
    const { excludedDisks = [], tools = {}, consistency = 'crash' } = facts;
    const format = { 'repository format': String(FORMAT_VERSION), node: process.versions.node, ...tools };
    const whole = { ...facts, consistency, excludedDisks, tools: format, disks, packBytes };
    return { inventory, facts: whole };
  }
}

const voided = ({ pointId }: BackupRequest): Fault =>
  new Fault('LEASE_LOST', `the point ${pointId} was made void: no attempt may commit it any more`);

const levelOf = (compression: Compression): number | null => {
  if (compression.mode === 'none') return null;
  return compression.mode === 'fast' ? 1 : compression.level;
};

function resultOf(disks: readonly PointDisk[], progress: readonly DiskProgress[]): BackupDiskResult[] {
  return disks.map(({ sizeBytes, root, reasons, tracked }, i) => {
    // What a newer version wrote may have reasons that this one does not know.
    const known = reasons.filter((code): code is ReasonCode => reasonCodeSchema.safeParse(code).success);
    return { ...progress[i]!, sizeBytes, mapRoot: root, reasons: known, tracked };
  });
}

/** The point is committed: what this attempt wrote and the point does not refer to goes. */
async function adopt(
  repository: Repository,
  request: BackupRequest,
  manifest: StoredManifest,
  signal: AbortSignal,
): Promise<BackupResult> {
  await removeUnreferred(repository, request, manifest, signal);
  return resultOfManifest(manifest);
}

/** What the attempt that committed a point reported, from the point itself: all of it was read by then. */
export function resultOfManifest(manifest: StoredManifest): BackupResult {
  const { disks, packBytes } = manifest.facts;
  const progress = disks.map(({ target, stats }) => ({
    target,
    totalBytes: stats.dataBytes,
    doneBytes: stats.readBytes,
    storedBytes: stats.storedBytes,
    resumedBytes: stats.resumedBytes,
  }));
  const poolBytes = packBytes + manifest.sizeBytes;
  return { manifest, disks: resultOf(disks, progress), poolBytes, adopted: true };
}

/** Removes the packs of this attempt's writer that the point does not name. */
async function removeUnreferred(
  repository: Repository,
  request: BackupRequest,
  { inventory }: Manifest,
  signal: AbortSignal,
): Promise<void> {
  const folder = folderOf(repository, request.chainId);
  const referred = new PackSet();
  for (const pack of packsIn(inventory.packs)) referred.add(pack);
  for await (const { key } of repository.store.list(writerPrefix(folder, request.writerId), { signal })) {
    const pack = parsePackKey(key)?.pack;
    if (pack !== undefined && !referred.has(pack)) await repository.store.delete(key, { signal });
  }
}
