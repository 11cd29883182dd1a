import {
  BLOCK_BYTES,
  BLOCKS_PER_PAGE,
  ID_BYTES,
  idAt,
  isZeroId,
  PAGES_PER_SEGMENT,
  type MapPage,
  type MapSegment,
} from '@casvault/repository';
import { BlockSet } from './block-set.js';
import { openSourceRepository, type PointSource } from './disk-source.js';
import { inLanes } from './lanes.js';
import { MapReader } from './map-reader.js';
import { folderOf } from './repository.js';
import { type SourceMap } from './source-map.js';

const noIds = Buffer.alloc(BLOCKS_PER_PAGE * ID_BYTES);
const pageNumbers = Array.from({ length: PAGES_PER_SEGMENT }, (_, i) => i);
/** Pages read at once. */
const pageReads = [0, 1, 2, 3];

/** A page of the point and of the one before; null where all is zero. */
interface PagePair {
  readonly is: MapPage | null;
  readonly was: MapPage | null;
}

/**
 * What the map of a point says of its disk before any of it is read: with `since` only where the two differ, which their ids prove, else all of
 * it. Memory: two `BlockSet`s, two segments, 8 map pages of 300 KiB.
 */
export async function readPointMap(source: PointSource, signal: AbortSignal): Promise<SourceMap> {
  const { disk, since } = source;
  const { repository, close } = await openSourceRepository(source, signal);
  try {
    const maps = new MapReader(repository, folderOf(repository, source.chainId), signal);
    const data = new BlockSet();
    const changed = since === null ? null : new BlockSet();
    for (const [number, ref] of disk.segments.entries()) {
      const before = since?.segments[number] ?? null;
      if (changed !== null && ref?.id === before?.id) continue;
      const is = ref === null ? null : await maps.segment(ref);
      const was = before === null ? null : await maps.segment(before);
      await inLanes(pageNumbers, pageReads, async (page) => {
        if (changed !== null && sameId(is, was, page)) return;
        const pair = { is: await pageOf(maps, is, page), was: await pageOf(maps, was, page) };
        note(pair, number * PAGES_PER_SEGMENT + page, { data, changed });
      });
    }
    return { sizeBytes: disk.sizeBytes, canMultiConn: true, data, changed, reasons: [] };
  } finally {
    await close();
  }
}

const idOf = (segment: MapSegment | null, page: number): Buffer => idAt(segment?.ids ?? noIds, page);

const sameId = (is: MapSegment | null, was: MapSegment | null, page: number): boolean =>
  idOf(is, page).equals(idOf(was, page));

async function pageOf(maps: MapReader, segment: MapSegment | null, page: number): Promise<MapPage | null> {
  const ref = segment?.pages[page] ?? null;
  return segment === null || ref === null ? null : maps.page(idAt(segment.ids, page), ref);
}

function note(
  { is, was }: PagePair,
  number: number,
  { data, changed }: { readonly data: BlockSet; readonly changed: BlockSet | null },
): void {
  const [ids, before] = [is?.ids ?? noIds, was?.ids ?? noIds];
  for (let i = 0; i < BLOCKS_PER_PAGE; i += 1) {
    const id = idAt(ids, i);
    const at = (number * BLOCKS_PER_PAGE + i) * BLOCK_BYTES;
    if (!isZeroId(id)) data.addBytes(at, BLOCK_BYTES);
    if (changed !== null && !id.equals(idAt(before, i))) changed.addBytes(at, BLOCK_BYTES);
  }
}
