import {
  startMemoryNbdServer,
  type MemoryNbdServer,
  type ServerScript,
} from '@casvault/block-source/testing';
import {
  BLOCK_BYTES,
  BLOCKS_PER_PAGE,
  ID_BYTES,
  openSuite,
  pageId,
  PAGES_PER_SEGMENT,
  rootId,
  segmentId,
} from '@casvault/repository';
import fc from 'fast-check';
import { repositoryId } from './engine.js';

export const bitmapContext = 'qemu:dirty-bitmap:b0';

/** A small disk whose blocks are numbers: 0 is zero, others are their content. */
export type ModelDisk = readonly number[];

/** Which blocks a tracker calls changed. */
export type Bitmap = readonly boolean[];

const blocks = fc.nat(5);
export const histories: fc.Arbitrary<{ before: ModelDisk; now: ModelDisk }> = fc
  .array(fc.tuple(blocks, fc.option(blocks, { freq: 3 })), { minLength: 4, maxLength: 60 })
  .map((made) => ({ before: made.map(([old]) => old), now: made.map(([old, next]) => next ?? old) }));

/** What a tracker may do wrong: forget extents, shift them, cut them short, or say the opposite. */
export const lies: fc.Arbitrary<(bitmap: Bitmap) => Bitmap> = fc.oneof(
  fc.constant((bitmap: Bitmap) => bitmap),
  fc.nat(10).map((n) => (bitmap: Bitmap) => bitmap.map((bit, i) => bit && i % 11 > n)),
  fc
    .integer({ min: 1, max: 5 })
    .map((by) => (bitmap: Bitmap) => bitmap.map((_, i) => bitmap[i - by] === true)),
  fc.nat(50).map((end) => (bitmap: Bitmap) => bitmap.map((bit, i) => bit && i < end)),
  fc.constant((bitmap: Bitmap) => bitmap.map((bit) => !bit)),
);

export const changesOf = (before: ModelDisk, now: ModelDisk): boolean[] =>
  now.map((block, i) => block !== before[i]);

export function bytesOf(disk: ModelDisk): Buffer {
  const bytes = Buffer.alloc(disk.length * BLOCK_BYTES);
  disk.forEach((block, i) => bytes.fill(block, i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES));
  // The last block of a disk may be short.
  return bytes.subarray(0, bytes.length - 1_024);
}

function extents(flags: readonly number[], sizeBytes: number): [number, number][] {
  return flags.map((flag, i) => [Math.min(BLOCK_BYTES, sizeBytes - i * BLOCK_BYTES), flag]);
}

/** Serves a disk with its allocation and a bitmap. */
export function serve(disk: ModelDisk, bitmap: Bitmap): Promise<MemoryNbdServer> {
  return serveBytes(bytesOf(disk), bitmap, true);
}

/** As `serve`, and writes go into `bytes`. */
export function serveBytes(
  bytes: Buffer,
  bitmap: Bitmap,
  readOnly: boolean,
  script: ServerScript = {},
): Promise<MemoryNbdServer> {
  const blocks = Array.from({ length: Math.ceil(bytes.length / BLOCK_BYTES) }, (_, i) =>
    bytes.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES),
  );
  const served = {
    bytes,
    readOnly,
    contexts: {
      'base:allocation': extents(
        blocks.map((block) => (block.every((byte) => byte === 0) ? 3 : 0)),
        bytes.length,
      ),
      [bitmapContext]: extents(
        bitmap.map((bit) => (bit ? 1 : 0)),
        bytes.length,
      ),
    },
  };
  return startMemoryNbdServer(served, script);
}

/** The root of a disk of one page at most, from its bytes and the format alone. */
export function rootOf(disk: ModelDisk): string {
  const { identify } = openSuite({ repositoryId, hash: 'blake3-256', masterKey: null });
  const bytes = bytesOf(disk);
  const ids = Buffer.alloc(BLOCKS_PER_PAGE * ID_BYTES);
  disk.forEach((block, i) => {
    if (block !== 0) identify(bytes.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES)).copy(ids, i * ID_BYTES);
  });
  const pages = Buffer.alloc(PAGES_PER_SEGMENT * ID_BYTES);
  pageId(ids, identify)?.copy(pages);
  return rootId(bytes.length, [segmentId(pages, identify)], identify).toString('hex');
}
