import { type DiskProgress, type ReasonCode } from '@casvault/contracts';
import {
  BLOCK_BYTES,
  rootId,
  type BitmapLineage,
  type DiskStats,
  type PointDisk,
} from '@casvault/repository';
import { complement, intersect, runInPage, union, type BlockPages } from './block-set.js';
import {
  DiskPass,
  wantedBytes,
  type PassCounts,
  type PassPlan,
  type PassResult,
  type PointWork,
} from './disk-pass.js';
import { isPointSource, openSource, type DiskSource } from './disk-source.js';
import { limitReads, type LimitCells } from './limits.js';
import { readPointMap } from './point-map.js';
import { seededDraw, sweepRange } from './sample.js';
import { readSourceMap, type SourceMap } from './source-map.js';
import { type TeamMember } from './thread-team.js';
import { TrackerCheck } from './tracker-check.js';

/** How a tracked disk is checked (G1). */
export interface TrackerChecks {
  /** Blocks called unchanged that are compared; `sampleSize` tells how many find what. */
  readonly sampleBlocks: number;
  /** 0 to 29: all unchanged blocks of this 1/30 of the disk are compared, too. */
  readonly sweepPart: number | null;
  /** Decides which blocks: unknown to the tracker, the same for all attempts at one capture. */
  readonly seed: Uint8Array;
}

export interface BackupDisk {
  readonly target: string;
  readonly diskId: string;
  readonly role: 'system' | 'data';
  readonly bus: string;
  readonly format: 'qcow2' | 'raw';
  /** The export that shows the captured instant, or a disk of a point; its size is the size of the disk. */
  readonly source: DiskSource;
  /** Metadata context of the bitmap of changes since the parent, e.g. `qemu:dirty-bitmap:…`; only one that `provenBitmap` lets pass. */
  readonly dirtyBitmapContext?: string;
  readonly tracking?: TrackerChecks;
  /** Why the disk is read as it is, as far as that was decided before: kept with the point. */
  readonly reasons?: readonly ReasonCode[];
  /** The checkpoint begun at the captured instant; absent or null where none was. */
  readonly lineage?: Pick<BitmapLineage, 'checkpointName' | 'generation' | 'openingId'> | null;
}

/** The point that a disk is compared with. */
export interface ParentDisk {
  readonly pointId: string;
  readonly manifestHash: string;
  /** Null when the point does not hold the disk. */
  readonly disk: PointDisk | null;
}

export interface DiskWork extends PointWork {
  readonly limits: LimitCells;
  readonly onReason: (target: string, reason: ReasonCode) => void;
}

/** A finished disk, and how to name every pack that it refers to. */
export interface BackedUpDisk {
  readonly disk: PointDisk;
  readonly packs: PassResult['packs'];
}

/**
 * One disk of a point. A tracked one is checked first by a sample, then read where its bitmap and the slow pass say; when either finds a block
 * that changed and was called unchanged, everything else is compared, too, in the same run (TRACKER_WRONG). Memory: `SourceMap`, `TrackerCheck`,
 * `DiskPass`.
 */
export class DiskBackup {
  readonly progress: DiskProgress;
  readonly #disk: BackupDisk;
  readonly #ordinal: number;
  readonly #parent: ParentDisk | null;
  readonly #work: DiskWork;
  readonly #reasons: Set<ReasonCode>;
  #dataBytes = 0;
  readonly #counts: PassCounts = {
    readBytes: 0,
    resumedBytes: 0,
    sameBytes: 0,
    newBytes: 0,
    storedBytes: 0,
  };

  constructor(disk: BackupDisk, ordinal: number, parent: ParentDisk | null, work: DiskWork) {
    this.#disk = disk;
    this.#ordinal = ordinal;
    this.#parent = parent;
    this.#work = work;
    this.#reasons = new Set(disk.reasons);
    this.progress = { target: disk.target, totalBytes: null, doneBytes: 0, storedBytes: 0, resumedBytes: 0 };
  }

  async run(team: readonly TeamMember[]): Promise<BackedUpDisk> {
    const source = await this.#sourceMap();
    // They take a sixth of a second to start: the tracker is checked and the parent's maps are read meanwhile.
    if ((source.changed ?? source.data).size > 0)
      for (const member of team.slice(0, source.canMultiConn ? team.length : 1)) member.start();
    const map = await this.#trusted(source);
    const plan = this.#plan(map);
    const parent = this.#parent?.disk ?? null;
    const first = await this.#pass(team, plan, parent);
    if (!first.surprised) return this.#finish(map, first);
    this.#note('TRACKER_WRONG');
    const rest = await this.#compareRest(team, plan, first);
    return this.#finish({ ...map, changed: null }, rest);
  }

  /** What the first pass left out. It is compared with the map that the first pass made: that is written already, and right where it looked. */
  async #compareRest(team: readonly TeamMember[], plan: PassPlan, first: PassResult): Promise<PassResult> {
    await this.#work.mapWriter.flush();
    const blocks = Math.ceil(plan.sizeBytes / BLOCK_BYTES);
    const changed = plan.changed === null ? null : complement(plan.changed, blocks);
    return this.#pass(team, { ...plan, changed, expectedSame: null }, first);
  }

  #note(reason: ReasonCode): void {
    if (this.#reasons.has(reason)) return;
    this.#reasons.add(reason);
    this.#work.onReason(this.#disk.target, reason);
  }

  /** A bitmap, or what differs from another point, counts only against a parent of the same size. */
  async #sourceMap(): Promise<SourceMap> {
    const { source, dirtyBitmapContext = null } = this.#disk;
    const parent = this.#parent?.disk ?? null;
    const { signal } = this.#work;
    const map = isPointSource(source)
      ? await readPointMap(parent === null ? { ...source, since: null } : source, signal)
      : await readSourceMap(source, parent === null ? null : dirtyBitmapContext, signal);
    for (const reason of map.reasons) this.#note(reason);
    if (this.#parent !== null && parent === null) this.#note('DISK_ADDED');
    if (map.changed === null || parent?.sizeBytes === map.sizeBytes) return map;
    this.#note('DISK_RESIZED');
    return { ...map, changed: null };
  }

  /** Without its bitmap when the sample finds that it lies. */
  async #trusted(map: SourceMap): Promise<SourceMap> {
    const { tracking, source } = this.#disk;
    const { changed } = map;
    const parent = this.#parent?.disk ?? null;
    if (tracking === undefined || changed === null || parent === null) return map;
    const draw = seededDraw(tracking.seed, this.#disk.diskId);
    const { signal } = this.#work;
    const connect = async () => {
      const opened = await openSource(source, signal);
      const { read } = limitReads(opened, this.#work.limits, signal);
      return { read, close: () => opened.close() };
    };
    const check = new TrackerCheck({ connect, map: { ...map, changed }, parent, work: this.#work, draw });
    const { wrong, readBytes } = await check.run(tracking.sampleBlocks);
    this.#counts.readBytes += readBytes;
    this.#dataBytes += readBytes;
    this.progress.doneBytes += readBytes;
    if (!wrong) return map;
    this.#note('TRACKER_WRONG');
    return { ...map, changed: null };
  }

  #plan(map: SourceMap): PassPlan {
    const { sizeBytes, canMultiConn, data, changed } = map;
    const part = this.#disk.tracking?.sweepPart ?? null;
    if (changed === null || part === null)
      return { sizeBytes, canMultiConn, data, changed, expectedSame: null };
    const blocks = Math.ceil(sizeBytes / BLOCK_BYTES);
    const { first, end } = sweepRange(part, blocks);
    const swept: BlockPages = { page: (page) => runInPage(page, first, end) };
    const unchanged = complement(changed, blocks);
    return {
      sizeBytes,
      canMultiConn,
      data,
      changed: { page: (page) => union(changed.page(page), swept.page(page)) },
      expectedSame: { page: (page) => intersect(unchanged.page(page), swept.page(page)) },
    };
  }

  #pass(
    team: readonly TeamMember[],
    plan: PassPlan,
    parent: Pick<PointDisk, 'segments'> | null,
  ): Promise<PassResult> {
    this.#dataBytes += wantedBytes(plan);
    this.progress.totalBytes = this.#dataBytes;
    const pass = new DiskPass({
      source: this.#disk.source,
      ordinal: this.#ordinal,
      parent,
      plan,
      work: this.#work,
      counts: this.#counts,
      progress: this.progress,
    });
    return pass.run(team);
  }

  #finish({ sizeBytes, changed }: SourceMap, { segments, usedBlocks, packs }: PassResult): BackedUpDisk {
    const { target, diskId, role, bus, format, source } = this.#disk;
    const ids = segments.map((ref) => (ref === null ? null : Buffer.from(ref.id, 'hex')));
    const root = rootId(sizeBytes, ids, this.#work.suite.identify).toString('hex');
    const stats: DiskStats = { dataBytes: this.#dataBytes, ...this.#counts };
    const disk: PointDisk = {
      target,
      diskId,
      role,
      bus,
      format,
      sizeBytes,
      root,
      usedBlocks,
      segments,
      stats,
      lineage: this.#lineage(),
      reasons: [...this.#reasons],
      tracked: isPointSource(source) ? source.disk.tracked : changed !== null,
    };
    return { disk, packs };
  }

  #lineage(): BitmapLineage | null {
    const { lineage = null, diskId } = this.#disk;
    if (lineage === null) return null;
    const { pointId = null, manifestHash = null } = this.#parent ?? {};
    return { ...lineage, diskId, parentPointId: pointId, parentManifestHash: manifestHash };
  }
}
