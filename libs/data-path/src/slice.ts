import {
  BLOCK_BYTES,
  BLOCKS_PER_GROUP,
  BLOCKS_PER_PAGE,
  ID_BYTES,
  type FrameRef,
} from '@casvault/repository';

/** The unit that threads work by: 16 groups, 16 MiB. Small enough for an even end, large enough for its messages to cost nothing. */
export const GROUPS_PER_SLICE = 16;
export const BLOCKS_PER_SLICE = GROUPS_PER_SLICE * BLOCKS_PER_GROUP;
export const SLICES_PER_PAGE = BLOCKS_PER_PAGE / BLOCKS_PER_SLICE;

export interface SliceJob {
  readonly disk: number;
  /** Number of the slice in its disk. */
  readonly slice: number;
  /** 256 bits: which blocks to read. */
  readonly want: Uint8Array;
  /** 256 x 32 bytes of the parent's block ids, all zero for zero blocks; null without a parent. */
  readonly parentIds: Uint8Array | null;
}

/** What became of a block. */
export const blockStates = { untouched: 0, zero: 1, same: 2, stored: 3 } as const;

export interface SliceFrame {
  /** Number of the group within the slice. */
  readonly group: number;
  /** Which blocks of the group the frame holds. */
  readonly mask: number;
  readonly ref: FrameRef;
}

export interface SliceResult {
  /** One of `blockStates` for each of 256 blocks. */
  readonly states: Uint8Array;
  /** 256 x 32 bytes, set for blocks that are same or stored. */
  readonly ids: Uint8Array;
  readonly frames: SliceFrame[];
  readBytes: number;
  sameBytes: number;
  newBytes: number;
  storedBytes: number;
}

export function emptySliceResult(): SliceResult {
  return {
    states: new Uint8Array(BLOCKS_PER_SLICE),
    ids: new Uint8Array(BLOCKS_PER_SLICE * ID_BYTES),
    frames: [],
    readBytes: 0,
    sameBytes: 0,
    newBytes: 0,
    storedBytes: 0,
  };
}

/** True length of a block: only the last one of a disk may be short. */
export function blockLength(block: number, sizeBytes: number): number {
  return Math.min(BLOCK_BYTES, sizeBytes - block * BLOCK_BYTES);
}
