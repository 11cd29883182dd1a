import {
  ID_BYTES,
  NO_PLACE,
  PAGES_PER_SEGMENT,
  type FrameRef,
  type MapPage,
  type MapSegment,
  type PageRef,
  type PackRef,
} from '@casvault/repository';

/**
 * A segment of the new point while its pages become known, and exactly the packs that they need. Memory: 32 KiB of ids, 1024 frames, and
 * about 150 bytes for each pack in use.
 */
export class SegmentAssembly {
  readonly #ids = Buffer.alloc(PAGES_PER_SEGMENT * ID_BYTES);
  readonly #pages: (PageRef | null)[] = Array.from({ length: PAGES_PER_SEGMENT }, () => null);
  readonly #uses = new Map<string, { pack: PackRef; pages: number }>();

  /** Begins with all pages of the parent's segment, or with none. */
  constructor(parent: MapSegment | null) {
    if (parent === null) return;
    parent.ids.copy(this.#ids);
    parent.pages.forEach((frame, i) => (this.#pages[i] = frame));
    for (const { pack, pages } of parent.uses) this.#uses.set(keyOf(pack), { pack, pages });
  }

  /** Takes the page's place in the segment away. `page` is what stood there. */
  remove(number: number, page: MapPage): void {
    this.#ids.fill(0, number * ID_BYTES, (number + 1) * ID_BYTES);
    this.#pages[number] = null;
    for (const pack of packsOf(page)) {
      const use = this.#uses.get(keyOf(pack));
      if (use !== undefined && (use.pages -= 1) === 0) this.#uses.delete(keyOf(pack));
    }
  }

  /** Puts a page in a place where none is. */
  add(number: number, id: Uint8Array, frame: FrameRef, page: MapPage): void {
    this.#ids.set(id, number * ID_BYTES);
    this.#pages[number] = { ...frame, blocks: usedBlocks(page) };
    for (const pack of packsOf(page)) {
      const use = this.#uses.get(keyOf(pack));
      if (use === undefined) this.#uses.set(keyOf(pack), { pack, pages: 1 });
      else use.pages += 1;
    }
  }

  finish(): MapSegment {
    return { ids: this.#ids, pages: this.#pages, uses: [...this.#uses.values()] };
  }
}

const keyOf = (pack: PackRef): string => `${pack.writerId}/${pack.seq}`;

function packsOf(page: MapPage): Iterable<PackRef> {
  return new Map(page.frames.map(({ pack }) => [keyOf(pack), pack])).values();
}

function usedBlocks(page: MapPage): number {
  return page.places.reduce((count, place) => (place === NO_PLACE ? count : count + 1), 0);
}
