import {
  blockOfPlace,
  BLOCKS_PER_GROUP,
  BLOCKS_PER_PAGE,
  frameOfPlace,
  ID_BYTES,
  NO_PLACE,
  placeOf,
  type FrameRef,
  type MapPage,
} from '@casvault/repository';
import { BLOCKS_PER_SLICE, blockStates, type SliceResult } from './slice.js';

const nowhere = -1;

/**
 * A page of the new point while its blocks become known. It begins as all zero, or as the parent's page. Memory: 72 KiB and its frames (at
 * most 2048 of the parent and as many new ones), and the parent's page.
 */
export class PageAssembly {
  readonly #ids = Buffer.alloc(BLOCKS_PER_PAGE * ID_BYTES);
  /** For each block `frame index * 16 + block in frame`, or nowhere. */
  readonly #places = new Int32Array(BLOCKS_PER_PAGE).fill(nowhere);
  readonly #frames: FrameRef[];
  readonly #parent: MapPage | null;

  constructor(parent: MapPage | null) {
    this.#parent = parent;
    this.#frames = parent === null ? [] : [...parent.frames];
  }

  /** Takes the block as the parent has it. */
  inherit(block: number): void {
    const place = this.#parent?.places[block];
    if (this.#parent === null || place === undefined || place === NO_PLACE) {
      this.clear(block);
      return;
    }
    const at = block * ID_BYTES;
    this.#parent.ids.copy(this.#ids, at, at, at + ID_BYTES);
    this.#places[block] = placeOf(frameOfPlace(place), blockOfPlace(place));
  }

  clear(block: number): void {
    this.#ids.fill(0, block * ID_BYTES, (block + 1) * ID_BYTES);
    this.#places[block] = nowhere;
  }

  /** Places blocks of a group (number within the page) in a frame; `ids` has one id for each bit of `mask`. */
  place(group: number, mask: number, ids: Uint8Array, ref: FrameRef, only: (block: number) => boolean): void {
    const frame = this.#frames.push(ref) - 1;
    let next = 0;
    for (let i = 0; i < BLOCKS_PER_GROUP; i += 1) {
      if (((mask >> i) & 1) === 0) continue;
      const block = group * BLOCKS_PER_GROUP + i;
      if (only(block)) {
        this.#ids.set(ids.subarray(next * ID_BYTES, (next + 1) * ID_BYTES), block * ID_BYTES);
        this.#places[block] = frame * 16 + next;
      }
      next += 1;
    }
  }

  /** Takes over what became of a slice (number within the page). */
  absorb(slice: number, result: SliceResult): void {
    const base = slice * BLOCKS_PER_SLICE;
    for (let i = 0; i < BLOCKS_PER_SLICE; i += 1) {
      const state = result.states[i];
      if (state === blockStates.zero) this.clear(base + i);
      else if (state === blockStates.same) this.inherit(base + i);
    }
    for (const { group, mask, ref } of result.frames) {
      const first = group * BLOCKS_PER_GROUP;
      const ids: Uint8Array[] = [];
      for (let i = 0; i < BLOCKS_PER_GROUP; i += 1) {
        if ((mask >> i) & 1)
          ids.push(result.ids.subarray((first + i) * ID_BYTES, (first + i + 1) * ID_BYTES));
      }
      this.place((base + first) / BLOCKS_PER_GROUP, mask, Buffer.concat(ids), ref, () => true);
    }
  }

  /** The page, with the frames that are still in use, in order of their first block. */
  finish(): MapPage {
    const places = new Uint16Array(BLOCKS_PER_PAGE).fill(NO_PLACE);
    const frames: FrameRef[] = [];
    const numbers = new Map<number, number>();
    for (let block = 0; block < BLOCKS_PER_PAGE; block += 1) {
      const place = this.#places[block]!;
      if (place === nowhere) continue;
      const old = Math.floor(place / 16);
      let number = numbers.get(old);
      if (number === undefined) {
        number = frames.push(this.#frames[old]!) - 1;
        numbers.set(old, number);
      }
      places[block] = placeOf(number, place % 16);
    }
    return { ids: this.#ids, places, frames };
  }
}
