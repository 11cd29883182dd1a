import { NbdClient, type NbdEndpoint } from '@casvault/block-source';
import { Fault, type DiskProgress } from '@casvault/contracts';
import {
  BLOCK_BYTES,
  BLOCKS_PER_PAGE,
  idAt,
  NO_PLACE,
  PAGE_SPAN_BYTES,
  PAGES_PER_SEGMENT,
  SEGMENT_SPAN_BYTES,
  type MapPage,
  type MapSegment,
  type PageRef,
  type PointDisk,
} from '@casvault/repository';
import { BoundedQueue } from './bounded-queue.js';
import { hasBit, runInPage, without, type BlockSet } from './block-set.js';
import { type CompareJob } from './compare-blocks.js';
import { type ChosenPage, type DifferingBlocks } from './differing-blocks.js';
import { type MapReader } from './map-reader.js';
import { blocksOf, framesOf, PackJobs, partsWithin } from './pack-jobs.js';
import { writingJobs, type OpenTarget, type PackJob, type ZeroJob } from './restore-thread.js';
import { type RestoreMember } from './restore-team.js';

/** Pages gathered before their packs are fetched: 4 GiB of disk. */
const pagesPerWindow = 32;
/** Map pages read at once. */
const pageReads = 4;
const jobsAhead = 4;
/** Those that are written, and as many that are read ahead. */
const jobsPerThread = 2 * writingJobs;

type Job =
  { readonly kind: 'pack'; readonly job: PackJob } | { readonly kind: 'zero'; readonly job: ZeroJob };

export interface RestoreWork {
  readonly maps: MapReader;
  readonly signal: AbortSignal;
  /** What a thread fetches at once, as stored; a frame at least. */
  readonly jobBytes: number;
  readonly fail: (error: unknown) => void;
  /** A pack that cannot be unpacked: true to go on with the others (verification), false to stop. */
  readonly tolerates: (fault: Fault) => boolean;
  /** Told of the blocks that what was tolerated cost; with it, what fails is looked at again block by block. */
  readonly damaged?: (target: string, offset: number, length: number) => void;
}

/** Where a disk goes; null to check it only. `fresh` targets read as zeros already; those that keep their room get no holes. */
export type RestoreTarget = {
  readonly destination: NbdEndpoint;
  readonly fresh: boolean;
  readonly keepsRoom?: boolean;
  /** Only what differs is written; absent: everything is. */
  readonly differing?: DifferingBlocks;
  /** Blocks that are written already; those that are written now are added. */
  readonly written?: BlockSet | undefined;
} | null;

/**
 * One disk of a point, written to a target or only checked. Memory: one window of `PackJobs` (16 MiB) and 4 jobs waiting (20 KiB each for full
 * packs), 4 map pages.
 */
export class DiskRestore {
  readonly progress: DiskProgress;
  readonly #disk: PointDisk;
  readonly #target: RestoreTarget;
  readonly #work: RestoreWork;
  readonly #queue = new BoundedQueue<Job>(jobsAhead);
  readonly #jobs = new PackJobs();
  #pagesGathered = 0;
  #zero: ZeroJob | null = null;
  /** Those that compare. */
  #members: readonly RestoreMember[] = [];
  #compared = 0;
  #writtenBytes = 0;

  constructor(disk: PointDisk, target: RestoreTarget, work: RestoreWork) {
    this.#disk = disk;
    this.#target = target;
    this.#work = work;
    const used = Math.min(disk.sizeBytes, disk.usedBlocks * BLOCK_BYTES);
    const totalBytes = target?.differing === undefined ? used : null;
    const resumedBytes = Math.min(used, (target?.written?.size ?? 0) * BLOCK_BYTES);
    this.progress = { target: disk.target, totalBytes, doneBytes: 0, storedBytes: 0, resumedBytes };
  }

  /** With zeros. */
  get writtenBytes(): number {
    return this.#writtenBytes;
  }

  async run(team: readonly RestoreMember[]): Promise<void> {
    const { destination = null } = this.#target ?? {};
    const members = team.slice(
      0,
      destination === null || (await this.#inspect(destination)) ? team.length : 1,
    );
    const open = this.#openTarget();
    this.#members = members;
    const consumers = members.flatMap((member) =>
      Array.from({ length: jobsPerThread }, () => this.#guard(this.#consume(member, open))),
    );
    await Promise.allSettled([this.#guard(this.#produce()), ...consumers]);
    if (this.#work.signal.aborted) throw Fault.ofAbort(this.#work.signal);
    for (const member of members) await member.closeTarget();
    this.progress.totalBytes = this.progress.doneBytes + this.progress.resumedBytes;
  }

  #openTarget(): OpenTarget {
    return { destination: this.#target?.destination ?? null, sizeBytes: this.#disk.sizeBytes };
  }

  /** Whether several connections may write; refuses a target that is too small. */
  async #inspect(destination: NbdEndpoint): Promise<boolean> {
    const target = await NbdClient.connect(destination, { signal: this.#work.signal });
    try {
      const { sizeBytes, target: name } = this.#disk;
      if (target.readOnly) throw new Fault('INPUT_INVALID', `the target of ${name} is read-only`);
      if (target.sizeBytes < sizeBytes) {
        throw new Fault(
          'INPUT_INVALID',
          `the target of ${name} has ${target.sizeBytes} bytes, the disk ${sizeBytes}`,
        );
      }
      return target.canMultiConn;
    } finally {
      await target.close();
    }
  }

  async #guard(part: Promise<void>): Promise<void> {
    try {
      await part;
    } catch (error) {
      this.#work.fail(error);
      this.#queue.fail(error);
    }
  }

  async #consume(member: RestoreMember, open: OpenTarget): Promise<void> {
    for (let job = await this.#queue.take(); job !== null; job = await this.#queue.take()) {
      // The thread takes the job's memory.
      const again = job.kind === 'pack' && this.#work.damaged !== undefined ? structuredClone(job.job) : null;
      try {
        if (job.kind === 'zero') await this.#writeZeroes(member, open, job.job);
        else await this.#unpack(member, open, job.job);
      } catch (error) {
        const fault = Fault.from(error);
        if (!this.#work.tolerates(fault)) throw error;
        if (again !== null) await this.#nameDamaged(member, open, again, fault);
      }
    }
  }

  async #writeZeroes(member: RestoreMember, open: OpenTarget, job: ZeroJob): Promise<void> {
    await member.zero(open, job);
    this.#writtenBytes += job.length;
    if (this.#target?.differing !== undefined) this.progress.doneBytes += job.length;
  }

  async #unpack(member: RestoreMember, open: OpenTarget, job: PackJob): Promise<void> {
    const written = this.#target?.written;
    // The thread takes the job's memory.
    const blocks = written === undefined ? [] : job.blocks.filter((_, i) => i % 2 === 0);
    const done = await member.pack(open, job);
    for (const block of blocks) written?.addBytes(block * BLOCK_BYTES, BLOCK_BYTES);
    this.progress.doneBytes += done.doneBytes;
    this.progress.storedBytes += done.storedBytes;
    this.#writtenBytes += this.#target === null ? 0 : done.doneBytes;
  }

  async #nameDamaged(member: RestoreMember, open: OpenTarget, job: PackJob, fault: Fault): Promise<void> {
    if (fault.code !== 'POOL_OBJECT_MISSING') await this.#unpackParts(member, open, framesOf(job));
    else
      for (let at = 0; at < job.blocks.length; at += 2)
        this.#lost(job.blocks[at]! * BLOCK_BYTES, BLOCK_BYTES);
  }

  /** Frame by frame, and those that fail block by block: what fails then is damaged. */
  async #unpackParts(member: RestoreMember, open: OpenTarget, parts: Iterable<PackJob>): Promise<void> {
    for (const part of parts) {
      const again = structuredClone(part);
      try {
        await this.#unpack(member, open, part);
      } catch (error) {
        if (Fault.from(error).kind !== 'corrupt') throw error;
        if (again.blocks.length > 2) await this.#unpackParts(member, open, blocksOf(again));
        else this.#lost(again.blocks[0]! * BLOCK_BYTES, BLOCK_BYTES);
      }
    }
  }

  #lost(offset: number, length: number): void {
    this.#work.damaged?.(this.#disk.target, offset, Math.min(length, this.#disk.sizeBytes - offset));
  }

  async #produce(): Promise<void> {
    const { segments, sizeBytes } = this.#disk;
    for (const [number, ref] of segments.entries()) {
      const start = number * SEGMENT_SPAN_BYTES;
      const end = Math.min(sizeBytes, start + SEGMENT_SPAN_BYTES);
      if (ref === null && this.#target?.differing === undefined) await this.#addZero(start, end);
      else {
        try {
          const segment = ref === null ? null : await this.#work.maps.segment(ref);
          await this.#pages(number, segment, end);
        } catch (error) {
          if (!this.#work.tolerates(Fault.from(error))) throw error;
          this.#lost(start, end - start);
        }
      }
    }
    await this.#sendWindow();
    await this.#sendZero();
    this.#queue.close();
  }

  async #pages(number: number, segment: MapSegment | null, end: number): Promise<void> {
    const first = number * PAGES_PER_SEGMENT;
    const count = Math.ceil((end - first * PAGE_SPAN_BYTES) / PAGE_SPAN_BYTES);
    for (let at = 0; at < count; at += pageReads) {
      const numbers = Array.from({ length: Math.min(pageReads, count - at) }, (_, i) => first + at + i);
      const reads: Promise<ChosenPage | null>[] = [];
      for (const page of numbers) reads.push(this.#choose(page, segment));
      const chosen = await Promise.allSettled(reads);
      for (const [i, one] of chosen.entries()) {
        if (one.status === 'rejected') throw one.reason;
        if (one.value !== null) await this.#addPage(numbers[i]!, one.value);
      }
    }
  }

  /** What of a page has to be written; null: nothing. */
  async #choose(number: number, segment: MapSegment | null): Promise<ChosenPage | null> {
    const inSegment = number % PAGES_PER_SEGMENT;
    const ref = segment?.pages[inSegment] ?? null;
    const id = segment === null || ref === null ? null : idAt(segment.ids, inSegment);
    const load = (): Promise<MapPage | null> => this.#page(number, id, ref);
    const differing = this.#target?.differing;
    if (differing === undefined) return this.#unwritten(number, await load());
    return differing.choose({
      number,
      id,
      load,
      compare: (job) => this.#compare(job),
      same: (bytes) => {
        this.progress.doneBytes += bytes;
      },
    });
  }

  #unwritten(number: number, page: MapPage | null): ChosenPage | null {
    const written = this.#target?.written?.page(number) ?? null;
    if (written === null) return { page, only: null };
    const only = without(runInPage(number, 0, Math.ceil(this.#disk.sizeBytes / BLOCK_BYTES)), written);
    return only === null ? null : { page, only };
  }

  #compare(job: CompareJob): ReturnType<RestoreMember['compare']> {
    const member = this.#members[this.#compared % this.#members.length]!;
    this.#compared += 1;
    return member.compare(this.#openTarget(), job);
  }

  async #page(number: number, id: Buffer | null, ref: PageRef | null): Promise<MapPage | null> {
    if (id === null || ref === null) return null;
    try {
      return await this.#work.maps.page(id, ref);
    } catch (error) {
      if (!this.#work.tolerates(Fault.from(error))) throw error;
      this.#lost(number * PAGE_SPAN_BYTES, PAGE_SPAN_BYTES);
      return null;
    }
  }

  async #addPage(number: number, { page, only }: ChosenPage): Promise<void> {
    const start = number * PAGE_SPAN_BYTES;
    const end = Math.min(this.#disk.sizeBytes, start + PAGE_SPAN_BYTES);
    if (page === null && only === null) {
      await this.#addZero(start, end);
      return;
    }
    if (page !== null) this.#jobs.add(number, page, only);
    for (let i = 0; i < BLOCKS_PER_PAGE; i += 1) {
      const at = start + i * BLOCK_BYTES;
      const zero = page === null || page.places[i] === NO_PLACE;
      if (zero && at < end && (only === null || hasBit(only, i)))
        await this.#addZero(at, Math.min(end, at + BLOCK_BYTES));
    }
    this.#pagesGathered += 1;
    if (this.#pagesGathered === pagesPerWindow) await this.#sendWindow();
  }

  async #sendWindow(): Promise<void> {
    this.#pagesGathered = 0;
    for (const job of this.#jobs.take())
      for (const part of partsWithin(job, this.#work.jobBytes))
        await this.#queue.put({ kind: 'pack', job: part });
  }

  /** Zero ranges that touch become one; they matter only where the target may hold something else. */
  async #addZero(start: number, end: number): Promise<void> {
    if (this.#target?.fresh !== false) return;
    const open = this.#zero;
    const noHole = this.#target.keepsRoom === true;
    if (open !== null && open.offset + open.length === start) {
      this.#zero = { offset: open.offset, length: open.length + end - start, noHole };
      return;
    }
    await this.#sendZero();
    this.#zero = { offset: start, length: end - start, noHole };
  }

  async #sendZero(): Promise<void> {
    const job = this.#zero;
    this.#zero = null;
    if (job !== null) await this.#queue.put({ kind: 'zero', job });
  }
}
