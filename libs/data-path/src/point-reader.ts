import { Fault } from '@casvault/contracts';
import { type ObjectStore } from '@casvault/object-store';
import {
  BLOCK_BYTES,
  blockOfPlace,
  BLOCKS_PER_PAGE,
  damaged,
  frameOfPlace,
  idAt,
  NO_PLACE,
  openFrame,
  packFrameKey,
  packKey,
  PAGE_SPAN_BYTES,
  PAGES_PER_SEGMENT,
  type FrameRef,
  type MapPage,
  type MapSegment,
  type PointDisk,
  type RepositoryKey,
} from '@casvault/repository';
import { inLanes } from './lanes.js';
import { MapReader } from './map-reader.js';
import { readManifest } from './points.js';
import { folderOf, openRepository, type Repository } from './repository.js';
import { blockLength } from './slice.js';

const cachedSegments = 2;
const cachedPages = 8;
const cachedFrames = 16;
/** Frames of one read fetched at once. */
const frameReads = Array.from({ length: 4 }, (_, i) => i);

/** A run of a disk that is zero, or that may hold anything. */
export interface PointExtent {
  readonly offset: number;
  readonly length: number;
  readonly zero: boolean;
}

/** The last few values by key; a value that is being loaded is loaded once. Memory: `capacity` values and those being waited for. */
class Recent<V> {
  readonly #capacity: number;
  readonly #values = new Map<string, Promise<V>>();

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  async get(key: string, load: () => Promise<V>): Promise<V> {
    const value = this.#values.get(key) ?? load();
    this.#values.delete(key);
    this.#values.set(key, value);
    for (const oldest of this.#values.keys()) {
      if (this.#values.size <= this.#capacity) break;
      this.#values.delete(oldest);
    }
    try {
      return await value;
    } catch (error) {
      if (this.#values.get(key) === value) this.#values.delete(key);
      throw error;
    }
  }
}

interface OpenFrame {
  readonly plain: Uint8Array;
  readonly object: string;
  /** Ids that blocks of the frame were found to have. */
  readonly checked: Map<number, Buffer>;
}

/** A block of a read: where it lies and where it goes. */
interface Wanted {
  readonly block: number;
  readonly inFrame: number;
  readonly id: Buffer;
}

/**
 * A disk of a point, read at any place; every byte handed out was checked by its block's id. Calls may overlap.
 * Memory: 16 frames of 1 MiB, 8 map pages of 300 KiB, 2 segments (100 KiB each, 16 MiB at most), 4 coded frames of 1 MiB for each read under
 * way, and 150 bytes for each 64 KiB of it.
 */
export class PointReader {
  readonly sizeBytes: number;
  readonly #disk: PointDisk;
  readonly #repository: Repository;
  readonly #folder: string;
  readonly #signal: AbortSignal;
  readonly #maps: MapReader;
  readonly #segments = new Recent<MapSegment>(cachedSegments);
  readonly #pages = new Recent<MapPage>(cachedPages);
  readonly #frames = new Recent<OpenFrame>(cachedFrames);

  constructor(repository: Repository, chainId: string, disk: PointDisk, signal: AbortSignal) {
    this.sizeBytes = disk.sizeBytes;
    this.#disk = disk;
    this.#repository = repository;
    this.#folder = folderOf(repository, chainId);
    this.#signal = signal;
    this.#maps = new MapReader(repository, this.#folder, signal);
  }

  /**
   * Fills `into` with the bytes from `offset` on. When it fails or `signal` aborts, `into` holds anything.
   * Faults: INPUT_INVALID outside of the disk; POOL_OBJECT_MISSING and POOL_OBJECT_DAMAGED name the object.
   */
  async read(
    offset: number,
    into: Uint8Array,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<void> {
    const end = offset + into.length;
    if (!Number.isSafeInteger(offset) || offset < 0 || end > this.sizeBytes) {
      throw new Fault(
        'INPUT_INVALID',
        `${offset} + ${into.length} is not in a disk of ${this.sizeBytes} bytes`,
      );
    }
    into.fill(0);
    const first = Math.floor(offset / PAGE_SPAN_BYTES);
    for (let number = first; number * PAGE_SPAN_BYTES < end; number += 1) {
      const page = await this.#page(number);
      if (page === null) continue;
      const frames = [...wantedOf(page, number, offset, end)];
      await inLanes(frames, frameReads, async ([frame, blocks]) => {
        if (options.signal?.aborted === true) throw Fault.ofAbort(options.signal);
        const open = await this.#frame(page.frames[frame]!);
        for (const wanted of blocks) this.#copy(open, wanted, offset, into);
      });
    }
  }

  /** Which runs of `[offset, offset + length)` are zero, ascending and without gaps; neighbours of one kind come as one. */
  async *extents(
    options: { readonly offset?: number; readonly length?: number } = {},
  ): AsyncGenerator<PointExtent> {
    const start = options.offset ?? 0;
    const end = Math.min(this.sizeBytes, start + (options.length ?? this.sizeBytes - start));
    let open = null as PointExtent | null;
    for (let number = Math.floor(start / PAGE_SPAN_BYTES); number * PAGE_SPAN_BYTES < end; number += 1) {
      for (const run of runsOf(await this.#page(number), number, start, end)) {
        if (open?.zero === run.zero) open = { ...open, length: open.length + run.length };
        else {
          if (open !== null) yield open;
          open = run;
        }
      }
    }
    if (open !== null) yield open;
  }

  #copy({ plain, object, checked }: OpenFrame, wanted: Wanted, offset: number, into: Uint8Array): void {
    const { block, inFrame, id } = wanted;
    const from = inFrame * BLOCK_BYTES;
    const bytes = plain.subarray(from, from + blockLength(block, this.sizeBytes));
    if (checked.get(inFrame)?.equals(id) !== true) {
      if (!this.#repository.suite.identify(bytes).equals(id))
        throw damaged(object, `a frame does not hold block ${block} of the disk`);
      checked.set(inFrame, Buffer.from(id));
    }
    const at = block * BLOCK_BYTES - offset;
    const skip = Math.max(0, -at);
    into.set(bytes.subarray(skip, Math.max(skip, into.length - at)), at + skip);
  }

  async #page(number: number): Promise<MapPage | null> {
    const segmentNumber = Math.floor(number / PAGES_PER_SEGMENT);
    const ref = this.#disk.segments[segmentNumber] ?? null;
    if (ref === null) return null;
    const segment = await this.#segments.get(String(segmentNumber), () => this.#maps.segment(ref));
    const inSegment = number % PAGES_PER_SEGMENT;
    const page = segment.pages[inSegment] ?? null;
    if (page === null) return null;
    return this.#pages.get(String(number), () => this.#maps.page(idAt(segment.ids, inSegment), page));
  }

  #frame(ref: FrameRef): Promise<OpenFrame> {
    const { pack, offset, storedLength: length, frame } = ref;
    return this.#frames.get(`${pack.writerId}/${pack.seq}/${frame}`, async () => {
      const { store, suite } = this.#repository;
      const object = packKey(this.#folder, pack);
      const stored = await store.get(object, { range: { offset, length }, signal: this.#signal });
      const plain = openFrame(suite, packFrameKey(suite, pack), 'data', ref, stored, object);
      return { plain, object, checked: new Map() };
    });
  }
}

/** Frames of a page, by their index, with the blocks of `[offset, end)` that lie in them. */
function wantedOf(page: MapPage, number: number, offset: number, end: number): Map<number, Wanted[]> {
  const frames = new Map<number, Wanted[]>();
  const base = number * BLOCKS_PER_PAGE;
  const first = Math.max(0, Math.floor(offset / BLOCK_BYTES) - base);
  const last = Math.min(BLOCKS_PER_PAGE, Math.ceil(end / BLOCK_BYTES) - base);
  for (let i = first; i < last; i += 1) {
    const place = page.places[i]!;
    if (place === NO_PLACE) continue;
    const frame = frameOfPlace(place);
    const wanted = { block: base + i, inFrame: blockOfPlace(place), id: idAt(page.ids, i) };
    const known = frames.get(frame);
    if (known === undefined) frames.set(frame, [wanted]);
    else known.push(wanted);
  }
  return frames;
}

function* runsOf(page: MapPage | null, number: number, start: number, end: number): Generator<PointExtent> {
  const from = Math.max(start, number * PAGE_SPAN_BYTES);
  const to = Math.min(end, (number + 1) * PAGE_SPAN_BYTES);
  if (page === null) {
    if (to > from) yield { offset: from, length: to - from, zero: true };
    return;
  }
  for (let at = from; at < to;) {
    const block = Math.floor(at / BLOCK_BYTES);
    const next = Math.min(to, (block + 1) * BLOCK_BYTES);
    yield { offset: at, length: next - at, zero: page.places[block % BLOCKS_PER_PAGE] === NO_PLACE };
    at = next;
  }
}

/**
 * Opens a disk of a point for random access, e.g. to download it. `signal` ends all reads. The store stays the caller's.
 * Faults: POOL_OBJECT_MISSING (no such point), POOL_KEY_WRONG, INPUT_INVALID (the point has no such disk).
 */
export async function openPointReader(
  store: ObjectStore,
  request: {
    readonly chainId: string;
    readonly pointId: string;
    readonly target: string;
    readonly key: RepositoryKey | null;
    readonly signal: AbortSignal;
  },
): Promise<PointReader> {
  const { chainId, target, key, signal } = request;
  const repository = await openRepository(store, { key, signal });
  const { facts } = await readManifest(repository, request, signal);
  const disk = facts.disks.find((one) => one.target === target);
  if (disk === undefined) throw new Fault('INPUT_INVALID', `the point has no disk ${target}`);
  return new PointReader(repository, chainId, disk, signal);
}
