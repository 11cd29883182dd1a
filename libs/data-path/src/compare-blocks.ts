import { type DiskReader } from '@casvault/block-source';
import { BLOCK_BYTES, BLOCKS_PER_PAGE, GROUP_BYTES, idAt, isZeroId, type Suite } from '@casvault/repository';
import { hasBit } from './block-set.js';
import { inLanes } from './lanes.js';
import { blockLength } from './slice.js';
import { isZeroBlock } from './slice-reader.js';

/** Runs being read while another is looked at. */
const runsInFlight = 4;
const blocksPerRun = GROUP_BYTES / BLOCK_BYTES;

export interface CompareJob {
  /** Number of the page in its disk. */
  readonly page: number;
  /** 2048 bits: which blocks to compare. */
  readonly mask: Uint8Array;
  /** 2048 x 32 bytes: what they should be, all zero for zero blocks. */
  readonly ids: Uint8Array;
}

export interface CompareDone {
  /** 2048 bits: which of them are something else. */
  readonly differing: Uint8Array;
  readonly readBytes: number;
}

/** Reads blocks of a disk and tells which are not what they should be. Memory: 4 x 1 MiB. */
export async function compareBlocks(
  disk: Pick<DiskReader, 'read'>,
  suite: Pick<Suite, 'identify'>,
  sizeBytes: number,
  { page, mask, ids }: CompareJob,
): Promise<CompareDone> {
  const differing = new Uint8Array(mask.length);
  const wanted = Buffer.from(ids.buffer, ids.byteOffset, ids.byteLength);
  const base = page * BLOCKS_PER_PAGE;
  let readBytes = 0;
  const buffers = Array.from({ length: runsInFlight }, () => Buffer.allocUnsafeSlow(GROUP_BYTES));
  await inLanes([...runsOf(mask)], buffers, async ({ first, end }, _, buffer) => {
    const start = (base + first) * BLOCK_BYTES;
    const bytes = buffer.subarray(0, Math.min(sizeBytes, (base + end) * BLOCK_BYTES) - start);
    await disk.read(start, bytes);
    readBytes += bytes.length;
    for (let block = first; block < end; block += 1) {
      const at = (block - first) * BLOCK_BYTES;
      const one = bytes.subarray(at, at + blockLength(base + block, sizeBytes));
      const id = idAt(wanted, block);
      const same = isZeroBlock(one) ? isZeroId(id) : suite.identify(one).equals(id);
      if (!same) differing[block >> 3]! |= 1 << (block & 7);
    }
    // Let replies and an abort have their turn.
    await new Promise(setImmediate);
  });
  return { differing, readBytes };
}

/** Runs of blocks that are in a mask, of 1 MiB at most. */
function* runsOf(mask: Uint8Array): Generator<{ first: number; end: number }> {
  for (let first = 0; first < BLOCKS_PER_PAGE;) {
    if (!hasBit(mask, first)) {
      first += 1;
      continue;
    }
    let end = first + 1;
    while (end < BLOCKS_PER_PAGE && end - first < blocksPerRun && hasBit(mask, end)) end += 1;
    yield { first, end };
    first = end;
  }
}
