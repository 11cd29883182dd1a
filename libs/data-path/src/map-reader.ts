import {
  damaged,
  decodePage,
  decodeSegment,
  openFrame,
  packFrameKey,
  packKey,
  pageId,
  segmentId,
  type FrameKind,
  type FrameRef,
  type MapPage,
  type MapSegment,
  type SegmentRef,
} from '@casvault/repository';
import { type Repository } from './repository.js';

/** Reads the maps of points. Memory: one segment (100 KiB, 16 MiB at most) or page (150 KiB at most) and its coded form. */
export class MapReader {
  readonly #repository: Repository;
  readonly #folder: string;
  readonly #signal: AbortSignal;

  constructor(repository: Repository, folder: string, signal: AbortSignal) {
    this.#repository = repository;
    this.#folder = folder;
    this.#signal = signal;
  }

  async segment(ref: SegmentRef): Promise<MapSegment> {
    const frame = frameOfSegment(ref);
    const { plain, key } = await this.#read('segment', frame);
    const { suite } = this.#repository;
    const segment = decodeSegment(plain, suite, key);
    if (segmentId(segment.ids, suite.identify)?.toString('hex') !== ref.id) {
      throw damaged(key, `frame ${frame.frame} is not the segment ${ref.id}`);
    }
    return segment;
  }

  /** The page that a segment names by `id` and `frame`. */
  async page(id: Uint8Array, frame: FrameRef): Promise<MapPage> {
    const { plain, key } = await this.#read('page', frame);
    const { suite } = this.#repository;
    const page = decodePage(plain, suite, key);
    if (pageId(page.ids, suite.identify)?.equals(id) !== true) {
      throw damaged(key, `frame ${frame.frame} is not the page that its segment names`);
    }
    return page;
  }

  async #read(kind: FrameKind, ref: FrameRef): Promise<{ plain: Uint8Array; key: string }> {
    const { store, suite } = this.#repository;
    const key = packKey(this.#folder, ref.pack);
    const range = { offset: ref.offset, length: ref.storedLength };
    const stored = await store.get(key, { range, signal: this.#signal });
    return { plain: openFrame(suite, packFrameKey(suite, ref.pack), kind, ref, stored, key), key };
  }
}

function frameOfSegment({ writerId, seq, ...ref }: SegmentRef): FrameRef {
  return { pack: { writerId, seq }, ...ref };
}
