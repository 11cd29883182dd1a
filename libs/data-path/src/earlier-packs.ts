import { Fault } from '@casvault/contracts';
import {
  BLOCKS_PER_GROUP,
  BLOCKS_PER_PAGE,
  decodePackEnd,
  FOOTER_BYTES,
  packEndLength,
  parsePackKey,
  writerPrefix,
  type PackFrame,
  type PackRef,
  type PackTrailer,
} from '@casvault/repository';
import { type LockedRepository } from './repository.js';

const groupsPerPage = BLOCKS_PER_PAGE / BLOCKS_PER_GROUP;
/** Enough for the trailer of nearly every pack, so that one request reads it. */
const tailBytes = 65_536;
const cachedTrailers = 16;

interface EarlierPack {
  readonly key: string;
  readonly sizeBytes: number;
  readonly pack: PackRef;
}

/** Trailer and all of a pack, checked by its hash. */
export async function readPackEnd(
  repository: LockedRepository,
  { key, sizeBytes }: { key: string; sizeBytes: number },
  signal: AbortSignal,
): Promise<PackTrailer> {
  const { store, checksum } = repository;
  const fetchTail = (bytes: number): Promise<Uint8Array> => {
    const length = Math.min(bytes, sizeBytes);
    return store.get(key, { range: { offset: sizeBytes - length, length }, signal });
  };
  // The decoder says what is wrong with an object too short for a footer.
  const tail = sizeBytes === 0 ? new Uint8Array() : await fetchTail(Math.max(FOOTER_BYTES, tailBytes));
  const length = packEndLength(tail, sizeBytes, key);
  return decodePackEnd(length <= tail.length ? tail : await fetchTail(length), sizeBytes, checksum, key);
}

/**
 * The packs that earlier attempts at the same capture left whole. Their trailers say which blocks they hold, so a new attempt takes them over
 * without reading them again. Memory: 16 bytes for each frame (1 MiB of disk), 60 while loading, and 16 trailers.
 */
export class EarlierPacks {
  readonly #repository: LockedRepository;
  readonly #signal: AbortSignal;
  readonly #packs: EarlierPack[] = [];
  /** Four numbers a frame, sorted by the first two: disk, group, pack, frame. */
  #frames: Uint32Array = new Uint32Array();
  readonly #trailers = new Map<number, PackTrailer>();

  private constructor(repository: LockedRepository, signal: AbortSignal) {
    this.#repository = repository;
    this.#signal = signal;
  }

  static async load(
    repository: LockedRepository,
    folder: string,
    writers: readonly string[],
    signal: AbortSignal,
  ): Promise<EarlierPacks> {
    const earlier = new EarlierPacks(repository, signal);
    const rows: number[] = [];
    for (const writerId of writers) {
      for await (const { key, sizeBytes } of repository.store.list(writerPrefix(folder, writerId), {
        signal,
      })) {
        await earlier.#take(key, sizeBytes, rows);
      }
    }
    earlier.#frames = sortedRows(rows);
    return earlier;
  }

  /** A pack that is torn or is not what its name says is none: its blocks are read again. */
  async #take(key: string, sizeBytes: number, rows: number[]): Promise<void> {
    const named = parsePackKey(key)?.pack;
    const trailer = await this.#wholeTrailer(key, sizeBytes);
    if (named === undefined || trailer?.pack.writerId !== named.writerId || trailer.pack.seq !== named.seq) {
      return;
    }
    const number = this.#packs.push({ key, sizeBytes, pack: named }) - 1;
    trailer.frames.forEach((frame, i) => {
      if (frame.kind === 'data') rows.push(frame.disk, frame.number, number, i);
    });
  }

  async #wholeTrailer(key: string, sizeBytes: number): Promise<PackTrailer | null> {
    try {
      return await readPackEnd(this.#repository, { key, sizeBytes }, this.#signal);
    } catch (error) {
      const { code } = Fault.from(error);
      if (code === 'POOL_OBJECT_DAMAGED' || code === 'POOL_FORMAT_UNSUPPORTED') return null;
      throw error;
    }
  }

  /** Frames with blocks of a page of a disk. */
  async framesOf(
    disk: number,
    page: number,
  ): Promise<{ frame: PackFrame; ordinal: number; pack: PackRef }[]> {
    const found: { frame: PackFrame; ordinal: number; pack: PackRef }[] = [];
    const end = (page + 1) * groupsPerPage;
    for (let row = this.#firstRow(disk, page * groupsPerPage); row * 4 < this.#frames.length; row += 1) {
      const [rowDisk, group, number, ordinal] = this.#frames.subarray(
        row * 4,
        row * 4 + 4,
      ) as unknown as number[];
      if (rowDisk !== disk || group! >= end) break;
      const trailer = await this.#trailer(number!);
      found.push({ frame: trailer.frames[ordinal!]!, ordinal: ordinal!, pack: trailer.pack });
    }
    return found;
  }

  /** The first row at or behind a group, by halving. */
  #firstRow(disk: number, group: number): number {
    let low = 0;
    let high = this.#frames.length / 4;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const rowDisk = this.#frames[middle * 4]!;
      const before = rowDisk < disk || (rowDisk === disk && this.#frames[middle * 4 + 1]! < group);
      if (before) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  async #trailer(number: number): Promise<PackTrailer> {
    const cached = this.#trailers.get(number);
    if (cached !== undefined) return cached;
    const trailer = await readPackEnd(this.#repository, this.#packs[number]!, this.#signal);
    if (this.#trailers.size >= cachedTrailers) {
      for (const oldest of this.#trailers.keys()) {
        this.#trailers.delete(oldest);
        break;
      }
    }
    this.#trailers.set(number, trailer);
    return trailer;
  }
}

/** Rows of four numbers, sorted by the first two. */
function sortedRows(rows: readonly number[]): Uint32Array {
  const order = Uint32Array.from({ length: rows.length / 4 }, (_, i) => i * 4);
  order.sort((a, b) => rows[a]! - rows[b]! || rows[a + 1]! - rows[b + 1]!);
  const sorted = new Uint32Array(rows.length);
  order.forEach((from, i) => {
    sorted.set(rows.slice(from, from + 4), i * 4);
  });
  return sorted;
}
