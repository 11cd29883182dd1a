import { Fault, type DiskProgress } from '@casvault/contracts';
import {
  BLOCK_BYTES,
  BLOCKS_PER_GROUP,
  BLOCKS_PER_PAGE,
  blocksOfMask,
  ID_BYTES,
  idAt,
  isZeroId,
  pageId,
  PAGES_PER_SEGMENT,
  PAGE_SPAN_BYTES,
  segmentId,
  segmentsOf,
  type FrameRef,
  type MapPage,
  type MapSegment,
  type PointDisk,
  type SegmentRef,
  type Suite,
} from '@casvault/repository';
import { countBits, hasBit, intersect, without, type BlockPages } from './block-set.js';
import { BoundedQueue } from './bounded-queue.js';
import { type DiskSource } from './disk-source.js';
import { type EarlierPacks } from './earlier-packs.js';
import { type MapReader } from './map-reader.js';
import { type MapWriter } from './map-writer.js';
import { PackSet } from './pack-set.js';
import { PageAssembly } from './page-assembly.js';
import { SegmentAssembly } from './segment-assembly.js';
import {
  blockLength,
  BLOCKS_PER_SLICE,
  blockStates,
  SLICES_PER_PAGE,
  type SliceJob,
  type SliceResult,
} from './slice.js';
import { type TeamMember } from './thread-team.js';

/** What the disks of one point share. */
export interface PointWork {
  readonly suite: Suite;
  readonly maps: MapReader;
  readonly mapWriter: MapWriter;
  readonly earlier: EarlierPacks;
  readonly readBytes: number;
  readonly signal: AbortSignal;
  /** Stops the whole point. */
  readonly fail: (error: unknown) => void;
}

/** Who reads slices of a disk. */
export type SliceTaker = Pick<TeamMember, 'slice' | 'closeDisk'>;

/** What to look at, and what is taken from the parent as it is. */
export interface PassPlan {
  readonly sizeBytes: number;
  /** Several connections may read at once. */
  readonly canMultiConn: boolean;
  /** Blocks that may hold anything but zeros. */
  readonly data: BlockPages;
  /** Blocks to compare with the parent's; null: all of them. */
  readonly changed: BlockPages | null;
  /** Those of `changed` that are expected to be as in the parent: whether they are is what the pass tells. */
  readonly expectedSame: BlockPages | null;
}

/** Counted over all passes of a disk. */
export interface PassCounts {
  readBytes: number;
  resumedBytes: number;
  sameBytes: number;
  newBytes: number;
  storedBytes: number;
}

export interface PassResult {
  /** One for each 128 GiB; null where all is zero. */
  readonly segments: (SegmentRef | null)[];
  readonly usedBlocks: number;
  /** Every pack that the map refers to. */
  readonly packs: PackSet;
  /** A block of `expectedSame` was not as in the parent. */
  readonly surprised: boolean;
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
  readonly expectedSame: Uint8Array | null;
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
 * Once over a disk: cuts it into slices for the team's threads and puts its map together from what they find and from the parent's map.
 * Memory: 32 slices of 8.5 KiB waiting, and at most (32 + 2 x threads) / 8 + 1 pages of 300 KiB being put together.
 */
export class DiskPass {
  readonly #source: DiskSource;
  readonly #ordinal: number;
  readonly #parent: Pick<PointDisk, 'segments'> | null;
  readonly #plan: PassPlan;
  readonly #work: PointWork;
  readonly #counts: PassCounts;
  readonly #progress: DiskProgress;
  readonly #queue = new BoundedQueue<SliceTask>(slicesAhead);
  readonly #segments: (SegmentRef | null)[] = [];
  readonly #packs = new PackSet();
  #usedBlocks = 0;
  #surprised = false;

  constructor(options: {
    readonly source: DiskSource;
    readonly ordinal: number;
    readonly parent: Pick<PointDisk, 'segments'> | null;
    readonly plan: PassPlan;
    readonly work: PointWork;
    readonly counts: PassCounts;
    readonly progress: DiskProgress;
  }) {
    this.#source = options.source;
    this.#ordinal = options.ordinal;
    this.#parent = options.parent;
    this.#plan = options.plan;
    this.#work = options.work;
    this.#counts = options.counts;
    this.#progress = options.progress;
  }

  async run(team: readonly SliceTaker[]): Promise<PassResult> {
    const { canMultiConn, sizeBytes } = this.#plan;
    const members = team.slice(0, canMultiConn ? team.length : 1);
    const consumers = members.flatMap((member) =>
      Array.from({ length: slicesPerThread }, () => this.#consume(member)),
    );
    await Promise.allSettled([this.#guard(this.#produce()), ...consumers]);
    if (this.#work.signal.aborted) throw Fault.ofAbort(this.#work.signal);
    for (const member of members) await member.closeDisk();
    const segments = Array.from({ length: segmentsOf(sizeBytes) }, (_, i) => this.#segments[i] ?? null);
    return { segments, usedBlocks: this.#usedBlocks, packs: this.#packs, surprised: this.#surprised };
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

  #consume(member: SliceTaker): Promise<void> {
    const open = {
      source: this.#source,
      sizeBytes: this.#plan.sizeBytes,
      readBytes: this.#work.readBytes,
    };
    const loop = async (): Promise<void> => {
      for (let task = await this.#queue.take(); task !== null; task = await this.#queue.take()) {
        const result = await member.slice(open, task.job);
        this.#count(result);
        const slice = task.job.slice % SLICES_PER_PAGE;
        task.page.assembly.absorb(slice, result);
        this.#judge(task.page, slice, result);
        task.page.slicesOpen -= 1;
        if (task.page.slicesOpen === 0) await this.#finishPage(task.page);
      }
    };
    return this.#guard(loop());
  }

  #count(result: SliceResult): void {
    this.#counts.readBytes += result.readBytes;
    this.#counts.sameBytes += result.sameBytes;
    this.#counts.newBytes += result.newBytes;
    this.#counts.storedBytes += result.storedBytes;
    this.#progress.doneBytes += result.readBytes;
    this.#progress.storedBytes += result.storedBytes;
  }

  /** Notes a block that should have been as in the parent, and was read as something else. */
  #judge({ expectedSame, parent }: OpenPage, slice: number, { states }: SliceResult): void {
    if (expectedSame === null || this.#surprised) return;
    for (const [i, state] of states.entries()) {
      const block = slice * BLOCKS_PER_SLICE + i;
      if (state === blockStates.untouched || !hasBit(expectedSame, block)) continue;
      if (state === blockStates.stored || (state === blockStates.zero && isData(parent, block)))
        this.#surprised = true;
    }
  }

  async #produce(): Promise<void> {
    const { sizeBytes, changed } = this.#plan;
    const count = segmentsOf(sizeBytes);
    const pages = Math.ceil(sizeBytes / PAGE_SPAN_BYTES);
    for (let number = 0; number < count; number += 1) {
      const segment = await this.#openSegment(number, changed !== null);
      const first = number * PAGES_PER_SEGMENT;
      for (let page = first; page < Math.min(pages, first + PAGES_PER_SEGMENT); page += 1) {
        await this.#producePage(segment, page);
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

  async #producePage(segment: OpenSegment, number: number): Promise<void> {
    const plan = this.#plan;
    const changed = plan.changed?.page(number) ?? null;
    const want = wantedIn(plan, number);
    // Nothing to do for a page that stays as it is, or of which nothing was ever written.
    if (plan.changed === null ? want === null : changed === null) return;
    const inSegment = number % PAGES_PER_SEGMENT;
    const parent = await this.#parentPage(segment, inSegment);
    const assembly = beginPage(segment, inSegment, parent, changed);
    const expectedSame = plan.expectedSame?.page(number) ?? null;
    const page: OpenPage = { segment, number: inSegment, assembly, parent, expectedSame, slicesOpen: 0 };
    this.#judgeZeros(page, plan.data.page(number));
    segment.open += 1;
    const left = want === null ? null : await this.#takeOver(number, want, page);
    const tasks = left === null ? [] : this.#slices(number, left, page);
    page.slicesOpen = tasks.length;
    for (const task of tasks) await this.#queue.put(task);
    if (tasks.length === 0) await this.#finishPage(page);
  }

  /** What the source calls zero is not read: data in the parent there is a change, too. */
  #judgeZeros({ expectedSame, parent }: OpenPage, data: Uint8Array | null): void {
    const zeros = without(expectedSame, data);
    if (zeros === null || parent === null || this.#surprised) return;
    for (let block = 0; block < BLOCKS_PER_PAGE; block += 1)
      if (hasBit(zeros, block) && isData(parent, block)) this.#surprised = true;
  }

  async #parentPage(segment: OpenSegment, number: number): Promise<ParentPage | null> {
    const ref = segment.parent?.segment.pages[number] ?? null;
    if (segment.parent === null || ref === null) return null;
    const id = idAt(segment.parent.segment.ids, number);
    return { id, ref, page: await this.#work.maps.page(id, ref) };
  }

  /** Places the blocks that earlier attempts stored; returns the wanted blocks that are left to read. */
  async #takeOver(number: number, want: Uint8Array, page: OpenPage): Promise<Uint8Array> {
    const left = Buffer.from(want);
    const groupsPerPage = BLOCKS_PER_PAGE / BLOCKS_PER_GROUP;
    for (const { frame, ordinal, pack } of await this.#work.earlier.framesOf(this.#ordinal, number)) {
      const { offset, storedLength, plainLength, codec, mask, ids } = frame;
      const ref = { pack, frame: ordinal, offset, storedLength, plainLength, codec };
      const group = frame.number % groupsPerPage;
      page.assembly.place(group, mask, ids, ref, (block) => hasBit(left, block));
      for (const block of blocksOfMask(mask).map((i) => group * BLOCKS_PER_GROUP + i)) {
        if (!hasBit(left, block)) continue;
        left[block >> 3]! &= ~(1 << (block & 7));
        // Only what differs from the parent was ever stored.
        if (page.expectedSame !== null && hasBit(page.expectedSame, block)) this.#surprised = true;
        const length = blockLength(number * BLOCKS_PER_PAGE + block, this.#plan.sizeBytes);
        this.#counts.resumedBytes += length;
        this.#progress.resumedBytes += length;
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
    this.#counts.storedBytes += ref.storedLength;
    this.#progress.storedBytes += ref.storedLength;
  }

  /** Whoever leaves a segment last finishes it. */
  async #leaveSegment(open: OpenSegment): Promise<void> {
    open.open -= 1;
    if (open.open > 0) return;
    const segment = open.assembly.finish();
    const id = segmentId(segment.ids, this.#work.suite.identify);
    this.#segments[open.number] = id === null ? null : await this.#segmentRef(open, id, segment);
    for (const { pack } of segment.uses) this.#packs.add(pack);
    for (const ref of segment.pages) {
      if (ref === null) continue;
      this.#packs.add(ref.pack);
      this.#usedBlocks += ref.blocks;
    }
  }

  async #segmentRef(open: OpenSegment, id: Buffer, segment: MapSegment): Promise<SegmentRef> {
    const known = open.parent?.ref;
    if (known?.id === id.toString('hex')) {
      this.#packs.add(known);
      return known;
    }
    const { pack, ...ref } = await this.#work.mapWriter.segment(this.#ordinal, open.number, id, segment);
    this.#countMap({ pack, ...ref });
    this.#packs.add(pack);
    return { id: id.toString('hex'), ...pack, ...ref };
  }
}

/** A page with all that stays as in the parent; the parent's own has no place in the segment any more. */
function beginPage(
  segment: OpenSegment,
  number: number,
  parent: ParentPage | null,
  changed: Uint8Array | null,
): PageAssembly {
  const assembly = new PageAssembly(parent?.page ?? null);
  if (changed === null) return assembly;
  if (parent !== null) segment.assembly.remove(number, parent.page);
  for (let block = 0; block < BLOCKS_PER_PAGE; block += 1)
    if (!hasBit(changed, block)) assembly.inherit(block);
  return assembly;
}

function isData(parent: ParentPage | null, block: number): boolean {
  return parent !== null && !isZeroId(idAt(parent.page.ids, block));
}

function wantedIn({ data, changed }: PassPlan, page: number): Uint8Array | null {
  return changed === null ? data.page(page) : intersect(data.page(page), changed.page(page));
}

/** Bytes of the blocks that have to come from the source or from an earlier attempt. */
export function wantedBytes(plan: PassPlan): number {
  const { sizeBytes } = plan;
  let blocks = 0;
  const pages = Math.ceil(sizeBytes / PAGE_SPAN_BYTES);
  for (let page = 0; page < pages; page += 1) blocks += countBits(wantedIn(plan, page));
  const last = Math.ceil(sizeBytes / BLOCK_BYTES) - 1;
  const lastPage = last < 0 ? null : wantedIn(plan, Math.floor(last / BLOCKS_PER_PAGE));
  const lastWanted = lastPage !== null && hasBit(lastPage, last % BLOCKS_PER_PAGE);
  return blocks * BLOCK_BYTES - (lastWanted ? BLOCK_BYTES - blockLength(last, sizeBytes) : 0);
}
