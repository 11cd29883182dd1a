import {
  blockOfPlace,
  BLOCKS_PER_PAGE,
  frameOfPlace,
  ID_BYTES,
  idAt,
  NO_PLACE,
  type FrameRef,
  type MapPage,
  type PackRef,
} from '@casvault/repository';
import { hasBit } from './block-set.js';
import { frameFields, type PackJob } from './restore-thread.js';

interface WantedBlock {
  readonly block: number;
  readonly inFrame: number;
  readonly id: Buffer;
}
interface WantedFrame {
  readonly ref: FrameRef;
  readonly blocks: WantedBlock[];
}

/**
 * Turns pages into what to fetch from each pack, so that every frame is read and unpacked once for all of them. Memory: about 250 bytes a
 * block, so the number of pages gathered before `take` is the bound: 32 pages (4 GiB of disk) are 16 MiB.
 */
export class PackJobs {
  readonly #packs = new Map<string, { pack: PackRef; frames: Map<number, WantedFrame> }>();

  /** `number` of the page in its disk; `only` these of its blocks, null for all. */
  add(number: number, page: MapPage, only: Uint8Array | null): void {
    const wanted: (WantedFrame | undefined)[] = [];
    for (let i = 0; i < BLOCKS_PER_PAGE; i += 1) {
      const place = page.places[i]!;
      if (place === NO_PLACE || (only !== null && !hasBit(only, i))) continue;
      const id = idAt(page.ids, i);
      const frame = frameOfPlace(place);
      const inFrame = (wanted[frame] ??= this.#frame(page.frames[frame]!));
      inFrame.blocks.push({
        block: number * BLOCKS_PER_PAGE + i,
        inFrame: blockOfPlace(place),
        id,
      });
    }
  }

  #frame(ref: FrameRef): WantedFrame {
    const key = `${ref.pack.writerId}/${ref.pack.seq}`;
    let pack = this.#packs.get(key);
    if (pack === undefined) this.#packs.set(key, (pack = { pack: ref.pack, frames: new Map() }));
    let frame = pack.frames.get(ref.offset);
    if (frame === undefined) pack.frames.set(ref.offset, (frame = { ref, blocks: [] }));
    return frame;
  }

  /** The jobs gathered so far, by writer and sequence number; begins anew. */
  take(): PackJob[] {
    const packs = [...this.#packs.values()].sort(byPack);
    this.#packs.clear();
    return packs.map(({ pack, frames }) => jobOf(pack, [...frames.values()]));
  }
}

function byPack(a: { pack: PackRef }, b: { pack: PackRef }): number {
  if (a.pack.writerId === b.pack.writerId) return a.pack.seq - b.pack.seq;
  return a.pack.writerId < b.pack.writerId ? -1 : 1;
}

function jobOf(pack: PackRef, frames: WantedFrame[]): PackJob {
  frames.sort((a, b) => a.ref.offset - b.ref.offset);
  const count = frames.reduce((sum, { blocks }) => sum + blocks.length, 0);
  const job = {
    pack,
    frames: new Uint32Array(frames.length * frameFields),
    blocks: new Float64Array(count * 2),
    ids: new Uint8Array(count * ID_BYTES),
  };
  let row = 0;
  frames.forEach(({ ref, blocks }, i) => {
    const codec = ref.codec === 'zstd' ? 1 : 0;
    const fields = [ref.frame, ref.offset, ref.storedLength, ref.plainLength, codec, blocks.length];
    job.frames.set(fields, i * frameFields);
    for (const { block, inFrame, id } of blocks) {
      job.blocks.set([block, inFrame], row * 2);
      job.ids.set(id, row * ID_BYTES);
      row += 1;
    }
  });
  return job;
}

/** The same in jobs that fetch at most so many bytes each, as stored; a frame at least. */
export function* partsWithin(job: PackJob, bytes: number): Generator<PackJob> {
  let [first, row, rows, stored] = [0, 0, 0, 0];
  for (let at = 0; at < job.frames.length; at += frameFields) {
    const [, , storedLength = 0, , , blocks = 0] = job.frames.subarray(at, at + frameFields);
    if (at > first && stored + storedLength > bytes) {
      yield rangeOf(job, [first, at], [row, row + rows]);
      [first, row, rows, stored] = [at, row + rows, 0, 0];
    }
    stored += storedLength;
    rows += blocks;
  }
  yield first === 0 ? job : rangeOf(job, [first, job.frames.length], [row, row + rows]);
}

function rangeOf(
  job: PackJob,
  [first, end]: readonly [number, number],
  [row, rowEnd]: readonly [number, number],
): PackJob {
  return {
    pack: job.pack,
    frames: job.frames.slice(first, end),
    blocks: job.blocks.slice(row * 2, rowEnd * 2),
    ids: job.ids.slice(row * ID_BYTES, rowEnd * ID_BYTES),
  };
}

/** A job for each frame of a job. */
export function* framesOf(job: PackJob): Generator<PackJob> {
  let row = 0;
  for (let at = 0; at < job.frames.length; at += frameFields) {
    const count = job.frames[at + frameFields - 1]!;
    yield partOf(job, at, row, row + count);
    row += count;
  }
}

/** A job for each block of a job with one frame. */
export function* blocksOf(job: PackJob): Generator<PackJob> {
  for (let row = 0; row < job.blocks.length / 2; row += 1) yield partOf(job, 0, row, row + 1);
}

function partOf(job: PackJob, frame: number, first: number, end: number): PackJob {
  const part = rangeOf(job, [frame, frame + frameFields], [first, end]);
  part.frames[frameFields - 1] = end - first;
  return part;
}
