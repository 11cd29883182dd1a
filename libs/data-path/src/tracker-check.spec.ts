import {
  BLOCK_BYTES,
  BLOCKS_PER_PAGE,
  ID_BYTES,
  NO_PLACE,
  openSuite,
  PAGES_PER_SEGMENT,
  type MapPage,
  type MapSegment,
  type PageRef,
  type SegmentRef,
} from '@casvault/repository';
import { BlockSet } from './block-set.js';
import { sampleSize, seededDraw } from './sample.js';
import { TrackerCheck, type CheckResult } from './tracker-check.js';

const suite = openSuite({
  repositoryId: '0192f0c0-0000-7000-8000-00000000aaaa',
  hash: 'blake3-256',
  masterKey: null,
});
/** A block's content by a number; 0 is zero. */
type Blocks = readonly number[];
const contents = Array.from({ length: 4 }, (_, i) => Buffer.alloc(BLOCK_BYTES, i));
const ids = contents.map((bytes, i) => (i === 0 ? Buffer.alloc(ID_BYTES) : suite.identify(bytes)));

function mapOf(before: Blocks) {
  const pageIds = Buffer.alloc(PAGES_PER_SEGMENT * ID_BYTES);
  const pages = new Map<number, MapPage>();
  for (let number = 0; number * BLOCKS_PER_PAGE < before.length; number += 1) {
    const blocks = before.slice(number * BLOCKS_PER_PAGE, (number + 1) * BLOCKS_PER_PAGE);
    if (blocks.every((block) => block === 0)) continue;
    const page = Buffer.alloc(BLOCKS_PER_PAGE * ID_BYTES);
    blocks.forEach((block, i) => ids[block]!.copy(page, i * ID_BYTES));
    pages.set(number, { ids: page, places: new Uint16Array(BLOCKS_PER_PAGE).fill(NO_PLACE), frames: [] });
    pageIds.writeUInt8(number + 1, number * ID_BYTES);
  }
  const refs = Array.from({ length: PAGES_PER_SEGMENT }, (_, i) => (pages.has(i) ? ({} as PageRef) : null));
  const segment: MapSegment = { ids: pageIds, pages: refs, uses: [] };
  return {
    segment: () => Promise.resolve(segment),
    page: (id: Uint8Array) => Promise.resolve(pages.get(id[0]! - 1)!),
  };
}

function check(
  before: Blocks,
  now: Blocks,
  options: { changed?: readonly number[]; sample?: number; seed?: number; allocated?: Blocks } = {},
): Promise<CheckResult> {
  const { changed = [], sample = 1_000, seed = 1, allocated = now } = options;
  const data = new BlockSet();
  allocated.forEach((block, i) => {
    if (block !== 0) data.addBytes(i * BLOCK_BYTES, BLOCK_BYTES);
  });
  const dirty = new BlockSet();
  for (const block of changed) dirty.addBytes(block * BLOCK_BYTES, BLOCK_BYTES);
  const tracker = new TrackerCheck({
    connect: () =>
      Promise.resolve({
        read: (offset: number, into: Uint8Array) => {
          into.set(contents[now[offset / BLOCK_BYTES]!]!);
          return Promise.resolve();
        },
        close: () => Promise.resolve(),
      }),
    map: { sizeBytes: now.length * BLOCK_BYTES, data, changed: dirty },
    parent: { segments: [{} as SegmentRef] },
    work: { suite, maps: mapOf(before), signal: new AbortController().signal },
    draw: seededDraw(Buffer.from(String(seed)), 'disk'),
  });
  return tracker.run(sample);
}

it.each<[string, number, number, boolean]>([
  ['data as it was', 1, 1, false],
  ['other data', 1, 2, true],
  ['data where zero was', 0, 1, true],
  ['zero where data was', 1, 0, true],
  ['zero as it was', 0, 0, false],
])('G1: %s', async (_, before, now, wrong) => {
  expect((await check([1, before, 1], [1, now, 1])).wrong).toBe(wrong);
  expect((await check([1, before, 1], [1, now, 1], { changed: [1] })).wrong).toBe(false);
});

it('G1: zeros that the source calls data are zeros', async () => {
  expect((await check([1, 0, 1], [1, 0, 1], { allocated: [1, 1, 1] })).wrong).toBe(false);
  expect((await check([1, 2, 1], [1, 0, 1], { allocated: [1, 1, 1] })).wrong).toBe(true);
});

it('G1: no false alarm in 10,000 clean runs, and never more read than the sample', async () => {
  const disk = Array.from({ length: BLOCKS_PER_PAGE + 60 }, (_, i) => (i % 7 === 0 ? 0 : 1 + (i % 3)));
  const now = disk.map((block, i) => (i % 100 === 5 ? 3 - (block % 3) : block));
  const changed = now.flatMap((block, i) => (block === disk[i] ? [] : [i]));
  for (let seed = 0; seed < 10_000; seed += 1) {
    const { wrong, readBytes } = await check(disk.slice(-60), disk.slice(-60), { seed, sample: 2 });
    expect([wrong, readBytes]).toEqual([false, 2 * BLOCK_BYTES]);
  }
  for (let seed = 0; seed < 100; seed += 1)
    expect((await check(disk, now, { seed, changed, sample: 66 })).wrong).toBe(false);
});

it.each<[string, (block: number) => number]>([
  ['data changed', (block) => 1 + (block % 3)],
  ['data gone', () => 0],
])('G1: an omission of 10 %% of the disk is found with 0.999: %s', async (_, change) => {
  const disk = Array.from({ length: 400 }, (_, i) => 1 + (i % 3));
  const now = disk.map((block, i) => (i % 10 === 4 ? change(block) : block));
  const sample = sampleSize(0.1, 0.999);
  let missed = 0;
  for (let seed = 0; seed < 300; seed += 1)
    if (!(await check(disk, now, { seed, sample })).wrong) missed += 1;
  expect(missed).toBeLessThanOrEqual(1);
});

it('a sparse disk does not thin the sample out', async () => {
  const disk = Array.from({ length: 3 * BLOCKS_PER_PAGE }, (_, i) => (i % 1_000 === 0 ? 1 : 0));
  const now = disk.map((block, i) => (i === 3_000 ? 2 : block));
  expect((await check(disk, now, { sample: 10 })).wrong).toBe(true);
});
