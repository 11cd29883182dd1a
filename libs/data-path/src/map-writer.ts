import {
  encodePage,
  encodeSegment,
  type FrameRef,
  type MapPage,
  type MapSegment,
  type Suite,
} from '@casvault/repository';
import { type PackWriter } from './pack-writer.js';

/** Writes the maps of all disks of a point into packs of their own, so that they lie together. Calls may overlap. */
export class MapWriter {
  readonly #suite: Suite;
  readonly #packs: PackWriter;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(suite: Suite, packs: PackWriter) {
    this.#suite = suite;
    this.#packs = packs;
  }

  page(disk: number, number: number, id: Uint8Array, page: MapPage): Promise<FrameRef> {
    return this.#add({ kind: 'page', disk, number, mask: 0, ids: id }, encodePage(page, this.#suite));
  }

  segment(disk: number, number: number, id: Uint8Array, segment: MapSegment): Promise<FrameRef> {
    return this.#add(
      { kind: 'segment', disk, number, mask: 0, ids: id },
      encodeSegment(segment, this.#suite),
    );
  }

  #add(frame: Parameters<PackWriter['add']>[0], plain: Uint8Array): Promise<FrameRef> {
    const added = this.#turn.then(() => this.#packs.add(frame, plain));
    this.#turn = added.catch(() => undefined);
    return added;
  }

  /** Everything written so far can be read; more may follow. */
  flush(): Promise<void> {
    const flushed = this.#turn.then(() => this.#packs.finish());
    this.#turn = flushed.catch(() => undefined);
    return flushed;
  }

  finish(): Promise<void> {
    return this.#packs.finish();
  }

  abandon(): Promise<void> {
    return this.#packs.abandon();
  }
}
