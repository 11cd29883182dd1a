import {
  BLOCK_BYTES,
  BLOCKS_PER_PAGE,
  ID_BYTES,
  idAt,
  isZeroId,
  PAGES_PER_SEGMENT,
  type MapPage,
  type MapSegment,
  type PointDisk,
} from '@casvault/repository';
import { countBits, hasBit, intersect, runInPage, union, without, type BlockPages } from './block-set.js';
import { type CompareDone, type CompareJob } from './compare-blocks.js';
import { type MapReader } from './map-reader.js';

const noIds = Buffer.alloc(BLOCKS_PER_PAGE * ID_BYTES);

/** A page of the wanted point, which may not have to be read. */
export interface WantedPage {
  /** Number in its disk. */
  readonly number: number;
  /** Null when all of it is zero. */
  readonly id: Buffer | null;
  readonly load: () => Promise<MapPage | null>;
  readonly compare: (job: CompareJob) => Promise<CompareDone>;
  /** Told of what was compared and need not be written. */
  readonly same: (bytes: number) => void;
}

/** What of a page has to be written. */
export interface ChosenPage {
  readonly page: MapPage | null;
  /** 2048 bits; null: all of its blocks. */
  readonly only: Uint8Array | null;
}

/** A point of which the destination's bitmap tells what changed since. */
export interface SincePoint {
  readonly disk: PointDisk;
  readonly maps: MapReader;
}

/**
 * Finds the blocks of a disk that are not what a point has there. Without a bitmap that is any block; with one, only what was written since a
 * known point, and what differs between that point's map and the wanted one. Those are read and compared; what the destination calls zero
 * is not read. Memory: for each page under way two map pages of 300 KiB, and one segment of the known point.
 */
export class DifferingBlocks {
  comparedBytes = 0;
  readBytes = 0;
  readonly #blocks: number;
  readonly #sizeBytes: number;
  readonly #data: BlockPages;
  readonly #known: { readonly since: SincePoint; readonly changed: BlockPages } | null;
  #segment: { readonly number: number; readonly loaded: Promise<MapSegment | null> } | null = null;

  constructor(options: {
    readonly sizeBytes: number;
    /** Blocks of the destination that may hold anything but zeros. */
    readonly data: BlockPages;
    /** Blocks written since the known point; null without both. */
    readonly changed: BlockPages | null;
    readonly since: SincePoint | null;
  }) {
    const { sizeBytes, data, changed, since } = options;
    this.#sizeBytes = sizeBytes;
    this.#blocks = Math.ceil(sizeBytes / BLOCK_BYTES);
    this.#data = data;
    this.#known = changed === null || since === null ? null : { since, changed };
  }

  /** Null when nothing of the page has to be written. */
  async choose(wanted: WantedPage): Promise<ChosenPage | null> {
    const data = this.#data.page(wanted.number);
    if (wanted.id === null && data === null) return null;
    const candidates = await this.#candidates(wanted);
    if (candidates === null) return null;
    const page = await wanted.load();
    const comparedBytes = this.#bytesOf(candidates, wanted.number);
    this.comparedBytes += comparedBytes;
    const ids = page?.ids ?? noIds;
    const fresh = without(candidates, data);
    const only = union(
      fresh === null ? null : withIds(fresh, ids),
      await this.#read(wanted, candidates, ids),
    );
    const writeBytes = only === null ? 0 : this.#bytesOf(only, wanted.number);
    wanted.same(comparedBytes - writeBytes);
    return writeBytes === 0 ? null : { page, only };
  }

  async #read(wanted: WantedPage, candidates: Uint8Array, ids: Buffer): Promise<Uint8Array | null> {
    const mask = intersect(candidates, this.#data.page(wanted.number));
    if (mask === null) return null;
    const job = { page: wanted.number, mask: new Uint8Array(mask), ids: new Uint8Array(ids) };
    const { differing, readBytes } = await wanted.compare(job);
    this.readBytes += readBytes;
    return differing;
  }

  async #candidates({ number, id, load }: WantedPage): Promise<Uint8Array | null> {
    const all = runInPage(number, 0, this.#blocks);
    if (this.#known === null) return all;
    const { since, changed } = this.#known;
    const segment = await this.#sinceSegment(since, Math.floor(number / PAGES_PER_SEGMENT));
    const inSegment = number % PAGES_PER_SEGMENT;
    const ref = segment?.pages[inSegment] ?? null;
    const sinceId = segment === null || ref === null ? null : idAt(segment.ids, inSegment);
    const dirty = intersect(all, changed.page(number));
    const same = sinceId === null ? id === null : id?.equals(sinceId) === true;
    if (same) return dirty;
    const before = sinceId === null || ref === null ? null : await since.maps.page(sinceId, ref);
    return union(dirty, differenceOf((await load())?.ids ?? noIds, before?.ids ?? noIds));
  }

  #sinceSegment({ disk, maps }: SincePoint, number: number): Promise<MapSegment | null> {
    if (this.#segment?.number !== number) {
      const ref = disk.segments[number] ?? null;
      const loaded = ref === null ? Promise.resolve(null) : maps.segment(ref);
      this.#segment = { number, loaded };
    }
    return this.#segment.loaded;
  }

  #bytesOf(mask: Uint8Array, page: number): number {
    const last = this.#blocks - 1 - page * BLOCKS_PER_PAGE;
    const short = last >= 0 && last < BLOCKS_PER_PAGE && hasBit(mask, last);
    const missing = short ? this.#blocks * BLOCK_BYTES - this.#sizeBytes : 0;
    return countBits(mask) * BLOCK_BYTES - missing;
  }
}

/** The blocks of a mask that are not zero by their ids. */
function withIds(mask: Uint8Array, ids: Buffer): Uint8Array {
  const found = new Uint8Array(mask.length);
  for (let i = 0; i < BLOCKS_PER_PAGE; i += 1)
    if (hasBit(mask, i) && !isZeroId(idAt(ids, i))) found[i >> 3]! |= 1 << (i & 7);
  return found;
}

function differenceOf(a: Buffer, b: Buffer): Uint8Array | null {
  const found = new Uint8Array(BLOCKS_PER_PAGE / 8);
  let any = false;
  for (let i = 0; i < BLOCKS_PER_PAGE; i += 1) {
    if (idAt(a, i).equals(idAt(b, i))) continue;
    found[i >> 3]! |= 1 << (i & 7);
    any = true;
  }
  return any ? found : null;
}
