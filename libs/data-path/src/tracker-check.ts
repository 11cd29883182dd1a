import { type DiskReader } from '@casvault/block-source';
import { Fault } from '@casvault/contracts';
import {
  BLOCK_BYTES,
  BLOCKS_PER_PAGE,
  idAt,
  ID_BYTES,
  isZeroId,
  PAGE_SPAN_BYTES,
  PAGES_PER_SEGMENT,
  segmentsOf,
  type MapPage,
  type MapSegment,
  type PointDisk,
  type Suite,
} from '@casvault/repository';
import { complement, countBits, intersect, nthBit, without, type BlockPages } from './block-set.js';
import { type PointWork } from './disk-pass.js';
import { type MapReader } from './map-reader.js';
import { inLanes } from './lanes.js';
import { drawDistinct, type Draw } from './sample.js';
import { blockLength } from './slice.js';
import { isZeroBlock } from './slice-reader.js';

/** Pages of the sample looked at at once. */
const lanes = 4;

/**
 * Blocks that the tracker calls unchanged, in two kinds: `data` may hold anything now, `zero` is zero now by the source's word while the parent
 * has something in its page. Elsewhere parent and source are both zero. Each kind is sampled by itself, so that neither thins the other out.
 */
interface Kinds {
  readonly data: Uint8Array | null;
  readonly zero: Uint8Array | null;
}
type Kind = keyof Kinds;

interface SampledBlock {
  readonly kind: Kind;
  /** Number of the block within its page. */
  readonly block: number;
}

export interface CheckOptions {
  /** A connection to the source, which the check closes. */
  readonly connect: () => Promise<Pick<DiskReader, 'read' | 'close'>>;
  readonly map: {
    readonly sizeBytes: number;
    readonly data: BlockPages;
    readonly changed: BlockPages;
  };
  readonly parent: Pick<PointDisk, 'segments'>;
  readonly work: Pick<PointWork, 'signal'> & {
    readonly suite: Pick<Suite, 'identify'>;
    readonly maps: Pick<MapReader, 'segment' | 'page'>;
  };
  readonly draw: Draw;
}

export interface CheckResult {
  readonly wrong: boolean;
  readonly readBytes: number;
}

/**
 * Compares a uniform random sample of what the bitmap calls unchanged with the parent's map, before the disk is read. All four cases count:
 * data that was other data, data that was zero, zero that was data; zero that was zero is right without looking. Of `share` wrong blocks on
 * the disk a sample of `sampleSize(share, p)` meets one with probability p or more.
 * Reads at most `sampleBlocks` blocks of the source, and of the parent each segment twice and at most 2 x `sampleBlocks` pages.
 * Memory: 16 bytes a page of the disk (128 KiB a TiB), about 100 bytes a sampled block, 4 pages of 300 KiB and one segment.
 */
export class TrackerCheck {
  readonly #connect: CheckOptions['connect'];
  readonly #map: CheckOptions['map'];
  readonly #unchanged: BlockPages;
  readonly #parent: CheckOptions['parent'];
  readonly #work: CheckOptions['work'];
  readonly #draw: Draw;
  #wrong = false;
  #readBytes = 0;

  constructor(options: CheckOptions) {
    this.#connect = options.connect;
    this.#map = options.map;
    const { changed, sizeBytes } = options.map;
    this.#unchanged = complement(changed, Math.ceil(sizeBytes / BLOCK_BYTES));
    this.#parent = options.parent;
    this.#work = options.work;
    this.#draw = options.draw;
  }

  async run(sampleBlocks: number): Promise<CheckResult> {
    const picks = await this.#choose(sampleBlocks);
    if (picks.size > 0) await this.#look(picks);
    return { wrong: this.#wrong, readBytes: this.#readBytes };
  }

  /** Pages -> the blocks of the sample that lie in them. */
  async #choose(sampleBlocks: number): Promise<Map<number, SampledBlock[]>> {
    const pages = Math.ceil(this.#map.sizeBytes / PAGE_SPAN_BYTES);
    const counts = { data: new Float64Array(pages), zero: new Float64Array(pages) };
    for (let number = 0; number < segmentsOf(this.#map.sizeBytes); number += 1) {
      const segment = await this.#segment(number);
      const first = number * PAGES_PER_SEGMENT;
      for (let page = first; page < Math.min(pages, first + PAGES_PER_SEGMENT); page += 1) {
        const kinds = this.#kinds(page, segment);
        counts.data[page] = countBits(kinds.data);
        counts.zero[page] = countBits(kinds.zero);
      }
    }
    const picks = new Map<number, SampledBlock[]>();
    for (const kind of ['data', 'zero'] as const) this.#pick(kind, counts[kind], sampleBlocks, picks);
    return picks;
  }

  #kinds(page: number, segment: MapSegment | null): Kinds {
    const data = this.#map.data.page(page);
    const known = segment?.pages[page % PAGES_PER_SEGMENT] ?? null;
    if (data === null && known === null) return { data: null, zero: null };
    const unchanged = this.#unchanged.page(page);
    return { data: intersect(unchanged, data), zero: known === null ? null : without(unchanged, data) };
  }

  #pick(kind: Kind, counts: Float64Array, sampleBlocks: number, picks: Map<number, SampledBlock[]>): void {
    const total = counts.reduce((sum, count) => sum + count, 0);
    let page = 0;
    let before = 0;
    for (const nth of drawDistinct(this.#draw, sampleBlocks, total)) {
      while (before + counts[page]! <= nth) {
        before += counts[page]!;
        page += 1;
      }
      const mask = this.#maskOf(kind, page);
      const pick = { kind, block: nthBit(mask, nth - before) };
      const known = picks.get(page);
      if (known === undefined) picks.set(page, [pick]);
      else known.push(pick);
    }
  }

  /** As `#kinds` for a page that is known to have blocks of the kind. */
  #maskOf(kind: Kind, page: number): Uint8Array {
    const unchanged = this.#unchanged.page(page);
    const data = this.#map.data.page(page);
    return (kind === 'data' ? intersect(unchanged, data) : without(unchanged, data)) ?? new Uint8Array();
  }

  async #look(picks: Map<number, SampledBlock[]>): Promise<void> {
    const source = await this.#connect();
    try {
      for (let number = 0; number < segmentsOf(this.#map.sizeBytes) && !this.#wrong; number += 1) {
        const first = number * PAGES_PER_SEGMENT;
        const here = [...picks.keys()].filter((page) => page >= first && page < first + PAGES_PER_SEGMENT);
        if (here.length === 0) continue;
        if (this.#work.signal.aborted) throw Fault.ofAbort(this.#work.signal);
        const segment = await this.#segment(number);
        const buffers = Array.from({ length: lanes }, () => Buffer.allocUnsafeSlow(BLOCK_BYTES));
        await inLanes(here, buffers, async (page, _, buffer) => {
          if (!this.#wrong) await this.#lookAtPage(source, segment, page, picks.get(page) ?? [], buffer);
        });
      }
    } finally {
      await source.close();
    }
  }

  async #lookAtPage(
    source: Pick<DiskReader, 'read'>,
    segment: MapSegment | null,
    page: number,
    picks: readonly SampledBlock[],
    buffer: Buffer,
  ): Promise<void> {
    const parent = await this.#parentPage(segment, page % PAGES_PER_SEGMENT);
    for (const { kind, block } of picks) {
      const number = page * BLOCKS_PER_PAGE + block;
      const before = parent === null ? null : idAt(parent.ids, block);
      const wasData = before !== null && !isZeroId(before);
      if (kind === 'zero') this.#wrong ||= wasData;
      else {
        const bytes = buffer.subarray(0, blockLength(number, this.#map.sizeBytes));
        await source.read(number * BLOCK_BYTES, bytes);
        this.#readBytes += bytes.length;
        const now = isZeroBlock(bytes) ? null : this.#work.suite.identify(bytes);
        this.#wrong ||= now === null ? wasData : before === null || !now.equals(before);
      }
    }
  }

  async #segment(number: number): Promise<MapSegment | null> {
    const ref = this.#parent.segments[number] ?? null;
    return ref === null ? null : this.#work.maps.segment(ref);
  }

  async #parentPage(segment: MapSegment | null, number: number): Promise<MapPage | null> {
    const ref = segment?.pages[number] ?? null;
    if (segment === null || ref === null) return null;
    return this.#work.maps.page(segment.ids.subarray(number * ID_BYTES, (number + 1) * ID_BYTES), ref);
  }
}
