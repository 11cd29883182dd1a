import { type NbdEndpoint } from '@casvault/block-source';
import { Fault, type DiskProgress, type ReasonCode } from '@casvault/contracts';
import {
  BLOCK_BYTES,
  BLOCKS_PER_GROUP,
  BLOCKS_PER_PAGE,
  blocksOfMask,
  ID_BYTES,
  idAt,
  pageId,
  PAGES_PER_SEGMENT,
  PAGE_SPAN_BYTES,
  rootId,
  segmentId,
  segmentsOf,
  type BitmapLineage,
  type DiskStats,
  type FrameRef,
  type MapPage,
  type MapSegment,
  type PointDisk,
  type SegmentRef,
  type Suite,
} from '@casvault/repository';
import { hasBit, intersect } from './block-set.js';
import { BoundedQueue } from './bounded-queue.js';
import { type EarlierPacks } from './earlier-packs.js';
import { type MapReader } from './map-reader.js';
import { type MapWriter } from './map-writer.js';
import { type PackSet } from './pack-set.js';
import { PageAssembly } from './page-assembly.js';
import { SegmentAssembly } from './segment-assembly.js';
import { blockLength, BLOCKS_PER_SLICE, SLICES_PER_PAGE, type SliceJob, type SliceResult } from './slice.js';
import { readSourceMap, type SourceMap } from './source-map.js';
import { type TeamMember } from './thread-team.js';

export interface BackupDisk {
  readonly target: string;
  readonly diskId: string;
  readonly role: 'system' | 'data';
  readonly bus: string;
  readonly format: 'qcow2' | 'raw';
  /** The export that shows the captured instant; its size is the size of the disk. */
  readonly source: NbdEndpoint;
  /** Metadata context of the bitmap of changes since the parent, e.g. `qemu:dirty-bitmap:…`. */
  readonly dirtyBitmapContext?: string;
  readonly lineage?: BitmapLineage | null;
}

/** What the disks of one point share. */
export interface PointWork {
  readonly suite: Suite;
  readonly maps: MapReader;
  readonly mapWriter: MapWriter;
  readonly earlier: EarlierPacks;
  /** Every pack that the point refers to. */
  readonly packs: PackSet;
  readonly readBytes: number;
  readonly signal: AbortSignal;
  readonly onReason: (target: string, reason: ReasonCode) => void;
  /** Stops the whole point. */
  readonly fail: (error: unknown) => void;
}

interface OpenSegment {
  readonly number: number;
  readonly assembly: SegmentAssembly;
  readonly parent: { readonly ref: SegmentRef; readonly segment: MapSegment } | null;
  /** Pages not yet finished, and one while pages are still being listed. */
  open: number;
}

interface ParentPage {
  readonly id: Uint8Array;
  readonly ref: FrameRef;
  readonly page: MapPage;
}

interface OpenPage {
  readonly segment: OpenSegment;
  /** Number within its segment. */
  readonly number: number;
  readonly assembly: PageAssembly;
  readonly parent: ParentPage | null;
  slicesOpen: number;
}

interface SliceTask {
  readonly job: SliceJob;
  readonly page: OpenPage;
}

/** Slices that wait for a thread: half a GiB of disk, so that reading the parent's maps stays ahead. */
const slicesAhead = 32;
/** Two a thread: one is worked on while the reads of the next begin. */
const slicesPerThread = 2;

/**
 * One disk of a point: cuts it into slices for the team's threads and puts its map together from what they find.
 * Memory: `SourceMap`, 32 slices of 8.5 KiB waiting, and at most (32 + 2 x threads) / 8 + 1 pages of 300 KiB being put together.
 */
export class DiskBackup {
  readonly progress: DiskProgress;
  readonly #disk: BackupDisk;
  readonly #ordinal: number;
  readonly #parent: PointDisk | null;
  readonly #work: PointWork;
  readonly #queue = new BoundedQueue<SliceTask>(slicesAhead);
  readonly #segments: (SegmentRef | null)[] = [];
  #usedBlocks = 0;
  readonly #stats = {
    dataBytes: 0,
    readBytes: 0,
    resumedBytes: 0,
    sameBytes: 0,
    newBytes: 0,
    storedBytes: 0,
  };

  constructor(disk: BackupDisk, ordinal: number, parent: PointDisk | null, work: PointWork) {
    this.#disk = disk;
    this.#ordinal = ordinal;
    this.#parent = parent;
    this.#work = work;
    this.progress = { target: disk.target, totalBytes: null, doneBytes: 0, storedBytes: 0, resumedBytes: 0 };
  }

  async run(team: readonly TeamMember[]): Promise<PointDisk> {
    const { source, dirtyBitmapContext = null, target } = this.#disk;
    const context = this.#parent === null ? null : dirtyBitmapContext;
    const map = this.#usable(await readSourceMap(source, context, this.#work.signal));
    for (const reason of map.reasons) this.#work.onReason(target, reason);
    this.progress.totalBytes = this.#stats.dataBytes = wantedBytes(map);
    const members = team.slice(0, map.canMultiConn ? team.length : 1);
    const consumers = members.flatMap((member) =>
      Array.from({ length: slicesPerThread }, () => this.#consume(member, map.sizeBytes)),
    );
    await Promise.allSettled([this.#guard(this.#produce(map)), ...consumers]);
    if (this.#work.signal.aborted) throw Fault.ofAbort(this.#work.signal);
    for (const member of members) await member.closeDisk();
    return this.#finish(map.sizeBytes);
  }

  /** A bitmap counts only against a parent of the same size. */
  #usable(map: SourceMap): SourceMap {
    if (map.changed === null || this.#parent?.sizeBytes === map.sizeBytes) return map;
    return { ...map, changed: null, reasons: [...map.reasons, 'BITMAP_UNAVAILABLE'] };
  }

  /** A failure of one part stops the point; the part's own promise does not reject. */
  async #guard(part: Promise<void>): Promise<void> {
    try {
      await part;
    } catch (error) {
      this.#work.fail(error);
      this.#queue.fail(error);
    }
  }

  #consume(member: TeamMember, sizeBytes: number): Promise<void> {
    const open = { endpoint: this.#disk.source, sizeBytes, readBytes: this.#work.readBytes };
    const loop = async (): Promise<void> => {
      for (let task = await this.#queue.take(); task !== null; task = await this.#queue.take()) {
        const result = await member.slice(open, task.job);
        this.#count(result);
        task.page.assembly.absorb(task.job.slice % SLICES_PER_PAGE, result);
        task.page.slicesOpen -= 1;
        if (task.page.slicesOpen === 0) await this.#finishPage(task.page);
      }
    };
    return this.#guard(loop());
  }

  #count(result: SliceResult): void {
    this.#stats.readBytes += result.readBytes;
    this.#stats.sameBytes += result.sameBytes;
    this.#stats.newBytes += result.newBytes;
    this.#stats.storedBytes += result.storedBytes;
    this.progress.doneBytes += result.readBytes;
    this.progress.storedBytes += result.storedBytes;
  }

  async #produce(map: SourceMap): Promise<void> {
    const count = segmentsOf(map.sizeBytes);
    const pages = Math.ceil(map.sizeBytes / PAGE_SPAN_BYTES);
    for (let number = 0; number < count; number += 1) {
      const segment = await this.#openSegment(number, map.changed !== null);
      const first = number * PAGES_PER_SEGMENT;
      for (let page = first; page < Math.min(pages, first + PAGES_PER_SEGMENT); page += 1) {
        await this.#producePage(map, segment, page);
      }
      await this.#leaveSegment(segment);
    }
    this.#queue.close();
  }

  async #openSegment(number: number, tracked: boolean): Promise<OpenSegment> {
    const ref = this.#parent?.segments[number] ?? null;
    const parent = ref === null ? null : { ref, segment: await this.#work.maps.segment(ref) };
    const assembly = new SegmentAssembly(tracked ? (parent?.segment ?? null) : null);
    return { number, assembly, parent, open: 1 };
  }

  async #producePage(map: SourceMap, segment: OpenSegment, number: number): Promise<void> {
    const changed = map.changed?.page(number) ?? null;
    const want = wantedIn(map, number);
    // Nothing to do for a page that stays as it is, or of which nothing was ever written.
    if (map.changed === null ? want === null : changed === null) return;
    const inSegment = number % PAGES_PER_SEGMENT;
    const parent = await this.#parentPage(segment, inSegment);
    const assembly = new PageAssembly(parent?.page ?? null);
    if (changed !== null) {
      if (parent !== null) segment.assembly.remove(inSegment, parent.page);
      for (let block = 0; block < BLOCKS_PER_PAGE; block += 1)
        if (!hasBit(changed, block)) assembly.inherit(block);
    }
    const page: OpenPage = { segment, number: inSegment, assembly, parent, slicesOpen: 0 };
    segment.open += 1;
    const left = want === null ? null : await this.#takeOver(number, want, assembly, map.sizeBytes);
    const tasks = left === null ? [] : this.#slices(number, left, page);
    page.slicesOpen = tasks.length;
    for (const task of tasks) await this.#queue.put(task);
    if (tasks.length === 0) await this.#finishPage(page);
  }

  async #parentPage(segment: OpenSegment, number: number): Promise<ParentPage | null> {
    const ref = segment.parent?.segment.pages[number] ?? null;
    if (segment.parent === null || ref === null) return null;
    const id = idAt(segment.parent.segment.ids, number);
    return { id, ref, page: await this.#work.maps.page(id, ref) };
  }

  /** Places the blocks that earlier attempts stored; returns the wanted blocks that are left to read. */
  async #takeOver(
    number: number,
    want: Uint8Array,
    assembly: PageAssembly,
    sizeBytes: number,
  ): Promise<Uint8Array> {
    const left = Buffer.from(want);
    const groupsPerPage = BLOCKS_PER_PAGE / BLOCKS_PER_GROUP;
    for (const { frame, ordinal, pack } of await this.#work.earlier.framesOf(this.#ordinal, number)) {
      const { offset, storedLength, plainLength, codec, mask, ids } = frame;
      const ref = { pack, frame: ordinal, offset, storedLength, plainLength, codec };
      const group = frame.number % groupsPerPage;
      assembly.place(group, mask, ids, ref, (block) => hasBit(left, block));
      for (const block of blocksOfMask(mask).map((i) => group * BLOCKS_PER_GROUP + i)) {
        if (!hasBit(left, block)) continue;
        left[block >> 3]! &= ~(1 << (block & 7));
        const length = blockLength(number * BLOCKS_PER_PAGE + block, sizeBytes);
        this.#stats.resumedBytes += length;
        this.progress.resumedBytes += length;
      }
    }
    return left;
  }

  #slices(number: number, want: Uint8Array, page: OpenPage): SliceTask[] {
    const tasks: SliceTask[] = [];
    const maskBytes = BLOCKS_PER_SLICE / 8;
    const idBytes = BLOCKS_PER_SLICE * ID_BYTES;
    for (let i = 0; i < SLICES_PER_PAGE; i += 1) {
      const mask = want.slice(i * maskBytes, (i + 1) * maskBytes);
      if (mask.every((byte) => byte === 0)) continue;
      const parentIds =
        page.parent === null
          ? null
          : new Uint8Array(page.parent.page.ids.subarray(i * idBytes, (i + 1) * idBytes));
      const job = { disk: this.#ordinal, slice: number * SLICES_PER_PAGE + i, want: mask, parentIds };
      tasks.push({ job, page });
    }
    return tasks;
  }

  async #finishPage({ segment, number, assembly, parent }: OpenPage): Promise<void> {
    const page = assembly.finish();
    const id = pageId(page.ids, this.#work.suite.identify);
    if (id !== null && parent !== null && id.equals(parent.id)) {
      segment.assembly.add(number, id, parent.ref, parent.page);
    } else if (id !== null) {
      const inDisk = segment.number * PAGES_PER_SEGMENT + number;
      const ref = await this.#work.mapWriter.page(this.#ordinal, inDisk, id, page);
      this.#countMap(ref);
      segment.assembly.add(number, id, ref, page);
    }
    await this.#leaveSegment(segment);
  }

  #countMap(ref: FrameRef): void {
    this.#stats.storedBytes += ref.storedLength;
    this.progress.storedBytes += ref.storedLength;
  }

  /** Whoever leaves a segment last finishes it. */
  async #leaveSegment(open: OpenSegment): Promise<void> {
    open.open -= 1;
    if (open.open > 0) return;
    const segment = open.assembly.finish();
    const id = segmentId(segment.ids, this.#work.suite.identify);
    this.#segments[open.number] = id === null ? null : await this.#segmentRef(open, id, segment);
    for (const { pack } of segment.uses) this.#work.packs.add(pack);
    for (const ref of segment.pages) {
      if (ref === null) continue;
      this.#work.packs.add(ref.pack);
      this.#usedBlocks += ref.blocks;
    }
  }

  async #segmentRef(open: OpenSegment, id: Buffer, segment: MapSegment): Promise<SegmentRef> {
    const known = open.parent?.ref;
    if (known?.id === id.toString('hex')) {
      this.#work.packs.add(known);
      return known;
    }
    const { pack, ...ref } = await this.#work.mapWriter.segment(this.#ordinal, open.number, id, segment);
    this.#countMap({ pack, ...ref });
    this.#work.packs.add(pack);
    return { id: id.toString('hex'), ...pack, ...ref };
  }

  #finish(sizeBytes: number): PointDisk {
    const { target, diskId, role, bus, format, lineage = null } = this.#disk;
    const segments = Array.from({ length: segmentsOf(sizeBytes) }, (_, i) => this.#segments[i] ?? null);
    const ids = segments.map((ref) => (ref === null ? null : Buffer.from(ref.id, 'hex')));
    const root = rootId(sizeBytes, ids, this.#work.suite.identify).toString('hex');
    const stats: DiskStats = { ...this.#stats };
    const usedBlocks = this.#usedBlocks;
    return { target, diskId, role, bus, format, sizeBytes, root, usedBlocks, segments, stats, lineage };
  }
}

function wantedIn({ data, changed }: SourceMap, page: number): Uint8Array | null {
  return changed === null ? data.page(page) : intersect(data.page(page), changed.page(page));
}

/** Bytes of the blocks that have to come from the source or from an earlier attempt. */
function wantedBytes({ data, changed, sizeBytes }: SourceMap): number {
  let blocks = 0;
  const pages = Math.ceil(sizeBytes / PAGE_SPAN_BYTES);
  if (changed === null) blocks = data.size;
  else
    for (let page = 0; page < pages; page += 1)
      blocks += bitsIn(intersect(data.page(page), changed.page(page)));
  const last = Math.ceil(sizeBytes / BLOCK_BYTES) - 1;
  const lastWanted = last >= 0 && data.has(last) && changed?.has(last) !== false;
  return blocks * BLOCK_BYTES - (lastWanted ? BLOCK_BYTES - blockLength(last, sizeBytes) : 0);
}

function bitsIn(mask: Uint8Array | null): number {
  let count = 0;
  for (const byte of mask ?? []) for (let bits = byte; bits !== 0; bits &= bits - 1) count += 1;
  return count;
}
