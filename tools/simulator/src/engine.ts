import {
  Fault,
  type BackupSpec,
  type DiskProgress,
  type Opening,
  type ReasonCode,
} from '@casvault/contracts';
import { type DiskServices, type OpenDisk } from './disk-service.js';
import { blockBytes, type ModelDisk } from './platform.js';
import {
  type Content,
  type ModelDiskMap,
  type ModelManifest,
  type ModelPool,
  type Pack,
  type Place,
} from './pool.js';
import { type SimProcess } from './process.js';

/** Blocks of one pack: what an interruption may cost again. */
export const packBlocks = 4;

/** One attempt at one point. */
export interface EngineRequest {
  readonly spec: BackupSpec;
  readonly opening: Opening;
  readonly writerId: string;
  readonly earlierWriters: readonly string[];
}
export interface EngineRun {
  readonly signal: AbortSignal;
  readonly onProgress: (progress: DiskProgress[]) => void;
  readonly beforeCommit: () => Promise<void>;
}
export interface EngineResult {
  readonly manifest: ModelManifest;
  readonly progress: readonly DiskProgress[];
  readonly reasons: ReadonlyMap<string, readonly ReasonCode[]>;
}
/** At a capture, by a writer, with so many blocks to read if nothing of it were stored. */
export interface Attempt {
  readonly capture: string;
  readonly writerId: string;
  readonly wanted: number;
}
export interface EngineParts {
  readonly process: SimProcess;
  readonly pool: ModelPool;
  readonly disks: DiskServices;
  /** An attempt begins; what it gives back is called for what is read. */
  readonly onAttempt: (attempt: Attempt) => (blocks: number) => void;
  /** A roll-back is about to change a disk. */
  readonly onRollbackWrite: (transferId: string, disk: ModelDisk) => void;
}

const throwIfOver = (signal: AbortSignal): void => {
  if (signal.aborted) throw Fault.ofAbort(signal);
};

/** As the engine of the data path does it: packs first, then the manifest, put only where there is none. */
export const backUp = async (
  parts: EngineParts,
  request: EngineRequest,
  run: EngineRun,
): Promise<EngineResult> => new PointBackup(parts, request, run).run();

class PointBackup {
  readonly #progress: DiskProgress[];
  readonly #reasons = new Map<string, ReasonCode[]>();
  #earlier: readonly Pack[] = [];
  #parent: ModelManifest | null = null;
  #seq = 0;
  #onRead: (blocks: number) => void = () => undefined;

  constructor(
    private readonly parts: EngineParts,
    private readonly request: EngineRequest,
    private readonly run_: EngineRun,
  ) {
    this.#progress = request.spec.disks.map(({ target }) => ({
      target,
      totalBytes: null,
      doneBytes: 0,
      storedBytes: 0,
      resumedBytes: 0,
    }));
  }

  async run(): Promise<EngineResult> {
    const { pool, process } = this.parts;
    const { spec, writerId, earlierWriters } = this.request;
    const found = await pool.find(process, spec.pointId);
    if (found) return this.#result(found);
    this.#parent = spec.parentPointId === null ? null : await pool.find(process, spec.parentPointId);
    if (spec.parentPointId !== null && !this.#parent)
      throw new Fault('POOL_OBJECT_MISSING', `the parent ${spec.parentPointId} is gone`);
    this.#onRead = this.parts.onAttempt({ capture: this.#capture, writerId, wanted: this.#wantedAtMost() });
    this.#earlier = await pool.packsOf(process, earlierWriters);
    const maps: ModelDiskMap[] = [];
    for (const [ordinal] of spec.disks.entries()) maps.push(await this.#disk(ordinal));
    await this.run_.beforeCommit();
    return this.#result(await pool.putManifest(process, this.#manifest(maps)));
  }

  #result(manifest: ModelManifest): EngineResult {
    return { manifest, progress: this.#progress, reasons: this.#reasons };
  }

  async #disk(ordinal: number): Promise<ModelDiskMap> {
    const { spec, opening } = this.request;
    const { target, diskId } = disksAt(spec, ordinal);
    const found = opening.disks.find((one) => one.target === target);
    const source = this.#connect(target);
    const before = this.#parent?.disks.find((one) => one.diskId === diskId) ?? null;
    const isTracked = before !== null && this.#isProven(ordinal, source, before);
    let tracked = isTracked;
    if (isTracked && this.#tellsLies(source, before)) {
      this.#reasons.set(target, ['TRACKER_WRONG']);
      tracked = false;
    }
    const wanted = source.blocks.flatMap((content, block) =>
      tracked && !source.dirty?.has(block) ? [] : content === 0 ? [] : [block],
    );
    const map: (Place | null)[] = source.blocks.map((_, block) =>
      tracked && !source.dirty?.has(block) ? (before?.map[block] ?? null) : null,
    );
    await this.#fill(ordinal, wanted, map, before);
    const { checkpoint } = opening;
    const lineage =
      checkpoint !== null && found?.checkpointed === true
        ? { checkpoint, openingId: opening.openingId, generation: found.generation }
        : null;
    return {
      target,
      diskId,
      sizeBytes: source.blocks.length * blockBytes,
      map,
      lineage,
      readBytes: this.#progressOf(ordinal).doneBytes,
      tracked,
    };
  }

  /** A bitmap counts only if the parent's own record says where it began. */
  #isProven(ordinal: number, source: OpenDisk, { lineage, sizeBytes }: ModelDiskMap): boolean {
    const { spec, opening } = this.request;
    const { target, incrementalFrom } = disksAt(spec, ordinal);
    const found = opening.disks.find((one) => one.target === target);
    return (
      source.dirty !== null &&
      lineage !== null &&
      lineage.checkpoint === incrementalFrom &&
      lineage.openingId === found?.bitmapMadeBy &&
      lineage.generation === found.generation &&
      sizeBytes === source.blocks.length * blockBytes
    );
  }

  /** G1: the disks here are smaller than the sample, so that every block called unchanged is compared. */
  #tellsLies(source: OpenDisk, before: ModelDiskMap): boolean {
    if (this.request.spec.tracking.sampleBlocks === 0) return false;
    return source.blocks.some(
      (content, block) => !source.dirty?.has(block) && content !== (before.map[block]?.content ?? 0),
    );
  }

  /** Takes over what earlier attempts at this capture stored, then reads, compares and stores the rest pack by pack. */
  async #fill(
    ordinal: number,
    wanted: readonly number[],
    map: (Place | null)[],
    before: ModelDiskMap | null,
  ): Promise<void> {
    const progress = this.#progressOf(ordinal);
    progress.totalBytes = wanted.length * blockBytes;
    const left = wanted.filter((block) => !this.#takeOver(ordinal, block, map));
    progress.resumedBytes = (wanted.length - left.length) * blockBytes;
    for (let at = 0; at < left.length; at += packBlocks) {
      const chunk = left.slice(at, at + packBlocks);
      await this.#chunk(ordinal, chunk, map, before);
      progress.doneBytes += chunk.length * blockBytes;
      this.run_.onProgress(this.#progress.map((one) => ({ ...one })));
    }
  }

  #takeOver(ordinal: number, block: number, map: (Place | null)[]): boolean {
    for (const { key, blocks } of this.#earlier) {
      const held = blocks.find((one) => one.disk === ordinal && one.block === block);
      if (!held) continue;
      map[block] = { pack: key, content: held.content };
      return true;
    }
    return false;
  }

  async #chunk(
    ordinal: number,
    blocks: readonly number[],
    map: (Place | null)[],
    before: ModelDiskMap | null,
  ): Promise<void> {
    const { process, pool } = this.parts;
    const { spec, writerId } = this.request;
    const { target } = disksAt(spec, ordinal);
    await process.clock.sleep(process.world.random.whole(100, 900), this.run_.signal);
    throwIfOver(this.run_.signal);
    const source = this.#connect(target);
    this.#onRead(blocks.length);
    const read = blocks.map((block) => ({ disk: ordinal, block, content: source.blocks[block] ?? 0 }));
    const same = (one: { block: number; content: Content }) =>
      before?.map[one.block]?.content === one.content;
    for (const one of read.filter(same)) map[one.block] = before?.map[one.block] ?? null;
    const fresh = read.filter((one) => !same(one));
    if (fresh.length === 0) return;
    const key = `${spec.chainId}/${writerId}/${this.#seq}`;
    this.#seq += 1;
    await pool.putPack(process, { key, writerId, capture: this.#capture, blocks: fresh });
    throwIfOver(this.run_.signal);
    this.#progressOf(ordinal).storedBytes += fresh.length * blockBytes;
    for (const { block, content } of fresh) map[block] = { pack: key, content };
  }

  get #capture(): string {
    const { openingId, openedAt } = this.request.opening;
    return `${openingId} of ${openedAt}`;
  }

  #wantedAtMost(): number {
    const sizes = this.request.spec.disks.map(
      ({ target }) => this.#connect(target).blocks.filter((content) => content !== 0).length,
    );
    return sizes.reduce((sum, size) => sum + size, 0);
  }

  #connect(target: string): OpenDisk {
    return this.parts.disks.connect(this.request.opening.openingId, target);
  }

  #progressOf(ordinal: number): DiskProgress {
    const found = this.#progress[ordinal];
    if (!found) throw new Fault('BUG', `no disk ${ordinal}`);
    return found;
  }

  #manifest(disks: readonly ModelDiskMap[]): ModelManifest {
    const { spec, opening, writerId } = this.request;
    const { pointId, chainId, parentPointId } = spec;
    if (opening.method === 'write') throw new Fault('BUG', 'a volume is no capture');
    const { openedAt: capturedAt, method, consistency } = opening;
    return { pointId, chainId, parentPointId, writerId, capturedAt, method, consistency, disks };
  }
}

const disksAt = ({ disks }: BackupSpec, ordinal: number): BackupSpec['disks'][number] => {
  const disk = disks[ordinal];
  if (!disk) throw new Fault('BUG', `no disk ${ordinal}`);
  return disk;
};
