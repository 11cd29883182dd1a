import { type DiskReader } from '@casvault/block-source';
import { Fault } from '@casvault/contracts';
import { BLOCK_BYTES, BLOCKS_PER_GROUP, GROUP_BYTES, ID_BYTES, type Suite } from '@casvault/repository';
import { hasBit } from './block-set.js';
import { type PackWriter } from './pack-writer.js';
import { BufferPool } from './page-memory.js';
import {
  blockLength,
  blockStates,
  emptySliceResult,
  GROUPS_PER_SLICE,
  BLOCKS_PER_SLICE,
  type SliceJob,
  type SliceResult,
} from './slice.js';

/** Groups being read while one is worked on. */
const groupsInFlight = 4;
const zeroBlock = Buffer.alloc(BLOCK_BYTES);

/** Blocks `[first, end)` of a group, to be read at once. */
interface Run {
  readonly first: number;
  readonly end: number;
}

/**
 * Reads slices of one disk over one connection and turns them into frames: zero? hash, the same as in the parent? compress, pack. Slices are
 * worked on in the order of their calls; the reads of the next groups, also of the next slice, are under way meanwhile.
 * Memory: 4 x 1 MiB for the groups, and 8.5 KiB for each slice that was asked for.
 */
export class SliceReader {
  readonly #source: Pick<DiskReader, 'sizeBytes' | 'read'>;
  readonly #suite: Suite;
  readonly #writer: PackWriter;
  readonly #readBytes: number;
  readonly #buffers = new BufferPool(groupsInFlight, () => Buffer.allocUnsafeSlow(GROUP_BYTES));
  /** Ends of the two lines that groups pass through: reading, then absorbing. Neither ever rejects. */
  #issuing: Promise<void> = Promise.resolve();
  #absorbing: Promise<void> = Promise.resolve();
  #failure: Fault | null = null;

  constructor(options: {
    source: Pick<DiskReader, 'sizeBytes' | 'read'>;
    suite: Suite;
    writer: PackWriter;
    readBytes: number;
  }) {
    this.#source = options.source;
    this.#suite = options.suite;
    this.#writer = options.writer;
    this.#readBytes = Math.min(GROUP_BYTES, Math.max(BLOCK_BYTES, options.readBytes));
  }

  async read(job: SliceJob): Promise<SliceResult> {
    const result = emptySliceResult();
    this.#issuing = this.#issuing.then(() => this.#issue(job, result));
    await this.#issuing;
    await this.#absorbing;
    if (this.#failure !== null) throw this.#failure;
    return result;
  }

  async #issue(job: SliceJob, result: SliceResult): Promise<void> {
    for (let group = 0; group < GROUPS_PER_SLICE && this.#failure === null; group += 1) {
      const runs = runsOf(job.want, group);
      if (runs.length === 0) continue;
      const buffer = await this.#buffers.take();
      const reading = this.#readRuns(job, group, runs, buffer);
      this.#absorbing = this.#absorbing
        .then(() => reading)
        .then(() => (this.#failure === null ? this.#absorb(job, result, group, buffer) : undefined))
        .catch((error: unknown) => {
          this.#failure ??= Fault.from(error);
        })
        .then(() => {
          this.#buffers.give(buffer);
        });
    }
  }

  /** Settles when no read of the group is under way any more; a failure goes to `#failure`. */
  async #readRuns(job: SliceJob, group: number, runs: readonly Run[], buffer: Buffer): Promise<void> {
    const base = (job.slice * GROUPS_PER_SLICE + group) * GROUP_BYTES;
    const reads: Promise<void>[] = [];
    for (const run of runs) {
      const end = Math.min(run.end * BLOCK_BYTES, this.#source.sizeBytes - base);
      for (let at = run.first * BLOCK_BYTES; at < end; at += this.#readBytes) {
        const part = buffer.subarray(at, Math.min(end, at + this.#readBytes));
        reads.push(this.#source.read(base + at, part));
      }
    }
    for (const settled of await Promise.allSettled(reads)) {
      if (settled.status === 'rejected') this.#failure ??= Fault.from(settled.reason);
    }
  }

  async #absorb(job: SliceJob, result: SliceResult, group: number, buffer: Buffer): Promise<void> {
    const first = job.slice * BLOCKS_PER_SLICE + group * BLOCKS_PER_GROUP;
    let mask = 0;
    let kept = 0;
    for (let block = 0; block < BLOCKS_PER_GROUP; block += 1) {
      const index = group * BLOCKS_PER_GROUP + block;
      if (!hasBit(job.want, index)) continue;
      const at = block * BLOCK_BYTES;
      const length = blockLength(first + block, this.#source.sizeBytes);
      result.readBytes += length;
      const state = this.#judge(job, result, index, buffer.subarray(at, at + length));
      result.states[index] = state;
      if (state === blockStates.same) result.sameBytes += length;
      if (state !== blockStates.stored) continue;
      // New blocks move together, so that one frame holds them all.
      if (kept !== at) buffer.copyWithin(kept, at, at + length);
      kept += length;
      mask |= 1 << block;
    }
    if (mask !== 0) await this.#store(job, result, group, mask, buffer.subarray(0, kept));
    // Let the connection and an abort have their turn: all of the work above was synchronous.
    await new Promise(setImmediate);
  }

  #judge(job: SliceJob, result: SliceResult, index: number, bytes: Buffer): number {
    if (isZeroBlock(bytes)) return blockStates.zero;
    const id = this.#suite.identify(bytes);
    const at = index * ID_BYTES;
    result.ids.set(id, at);
    const parent = job.parentIds;
    if (parent !== null && id.compare(parent, at, at + ID_BYTES) === 0) return blockStates.same;
    return blockStates.stored;
  }

  async #store(
    job: SliceJob,
    result: SliceResult,
    group: number,
    mask: number,
    plain: Buffer,
  ): Promise<void> {
    const ids: Uint8Array[] = [];
    for (let block = 0; block < BLOCKS_PER_GROUP; block += 1) {
      const at = (group * BLOCKS_PER_GROUP + block) * ID_BYTES;
      if ((mask >> block) & 1) ids.push(result.ids.subarray(at, at + ID_BYTES));
    }
    const number = job.slice * GROUPS_PER_SLICE + group;
    const ref = await this.#writer.add(
      { kind: 'data', disk: job.disk, number, mask, ids: Buffer.concat(ids) },
      plain,
    );
    result.frames.push({ group, mask, ref });
    result.newBytes += plain.length;
    result.storedBytes += ref.storedLength;
  }
}

/** Runs of wanted blocks of one group of a slice. */
function runsOf(want: Uint8Array, group: number): Run[] {
  const bits = want[group * 2]! | (want[group * 2 + 1]! << 8);
  const runs: Run[] = [];
  for (let first = 0; first < BLOCKS_PER_GROUP;) {
    if (((bits >> first) & 1) === 0) {
      first += 1;
      continue;
    }
    let end = first + 1;
    while (end < BLOCKS_PER_GROUP && ((bits >> end) & 1) === 1) end += 1;
    runs.push({ first, end });
    first = end;
  }
  return runs;
}

/** Most blocks differ from zero in their first or last bytes: those cost nothing. */
export function isZeroBlock(bytes: Buffer): boolean {
  if (bytes[0] !== 0 || bytes[bytes.length - 1] !== 0) return false;
  return bytes.equals(bytes.length === BLOCK_BYTES ? zeroBlock : zeroBlock.subarray(0, bytes.length));
}
