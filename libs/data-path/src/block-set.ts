import { Fault } from '@casvault/contracts';
import { BLOCK_BYTES, BLOCKS_PER_PAGE } from '@casvault/repository';

const maskBytes = BLOCKS_PER_PAGE / 8;
const fullMask = Buffer.alloc(maskBytes, 0xff);

/** Which blocks of a disk, by pages. */
export interface BlockPages {
  /** 2048 bits of a page, lowest first; null when none is set. Not to be changed. */
  page(number: number): Uint8Array | null;
}

/**
 * A set of blocks of one disk, kept by pages. Memory: 256 bytes for every page (128 MiB) that is partly in the set, an entry of a Map (about
 * 50 bytes) for every one that is in it at all: at most 2.5 MiB for each TiB of disk, nothing for what is sparse.
 */
export class BlockSet implements BlockPages {
  readonly #pages = new Map<number, Buffer>();
  #blocks = 0;

  /** How many blocks are in it. */
  get size(): number {
    return this.#blocks;
  }

  /** Adds all blocks that the bytes touch. */
  addBytes(offset: number, length: number): void {
    if (length === 0) return;
    const first = Math.floor(offset / BLOCK_BYTES);
    const end = Math.ceil((offset + length) / BLOCK_BYTES);
    for (let at = first; at < end;) {
      const page = Math.floor(at / BLOCKS_PER_PAGE);
      const pageEnd = Math.min(end, (page + 1) * BLOCKS_PER_PAGE);
      this.#addInPage(page, at % BLOCKS_PER_PAGE, pageEnd - page * BLOCKS_PER_PAGE);
      at = pageEnd;
    }
  }

  #addInPage(page: number, first: number, end: number): void {
    const known = this.#pages.get(page);
    if (known === fullMask) return;
    if (first === 0 && end === BLOCKS_PER_PAGE) {
      this.#blocks += BLOCKS_PER_PAGE - (known === undefined ? 0 : countBits(known));
      this.#pages.set(page, fullMask);
      return;
    }
    const mask = known ?? Buffer.alloc(maskBytes);
    if (known === undefined) this.#pages.set(page, mask);
    for (let i = first; i < end; i += 1) {
      const bit = 1 << (i & 7);
      if ((mask[i >> 3]! & bit) === 0) this.#blocks += 1;
      mask[i >> 3]! |= bit;
    }
  }

  has(block: number): boolean {
    const mask = this.#pages.get(Math.floor(block / BLOCKS_PER_PAGE));
    return mask !== undefined && hasBit(mask, block % BLOCKS_PER_PAGE);
  }

  /** 2048 bits of a page, lowest first; null when none is set. Not to be changed. */
  page(number: number): Uint8Array | null {
    return this.#pages.get(number) ?? null;
  }
}

export function hasBit(mask: Uint8Array, index: number): boolean {
  return ((mask[index >> 3]! >> (index & 7)) & 1) !== 0;
}

const bitsOfByte = Uint8Array.from({ length: 256 }, (_, byte) => {
  let count = 0;
  for (let bits = byte; bits !== 0; bits &= bits - 1) count += 1;
  return count;
});

export function countBits(mask: Uint8Array | null): number {
  if (mask === null) return 0;
  if (mask === fullMask) return BLOCKS_PER_PAGE;
  let count = 0;
  for (const byte of mask) count += bitsOfByte[byte]!;
  return count;
}

/** Position of the `n`th set bit, counted from 0. */
export function nthBit(mask: Uint8Array, n: number): number {
  let left = n;
  for (const [at, byte] of mask.entries()) {
    const here = bitsOfByte[byte]!;
    if (left >= here) {
      left -= here;
      continue;
    }
    for (let bit = at * 8; ; bit += 1) if (hasBit(mask, bit) && (left -= 1) < 0) return bit;
  }
  throw new Fault('BUG', `a mask without a bit number ${n}`);
}

/** The bits that are in both; null when there is none. */
export function intersect(a: Uint8Array | null, b: Uint8Array | null): Buffer | null {
  if (a === null || b === null) return null;
  const both = Buffer.alloc(maskBytes);
  let any = 0;
  for (let i = 0; i < maskBytes; i += 1) any |= both[i] = a[i]! & b[i]!;
  return any === 0 ? null : both;
}

/** The bits that are in any of them; null when there is none. */
export function union(a: Uint8Array | null, b: Uint8Array | null): Uint8Array | null {
  if (a === null || b === null) return a ?? b;
  if (a === fullMask || b === fullMask) return fullMask;
  const either = Buffer.alloc(maskBytes);
  for (let i = 0; i < maskBytes; i += 1) either[i] = a[i]! | b[i]!;
  return either;
}

/** The bits of `a` that are not in `b`; null when there is none. */
export function without(a: Uint8Array | null, b: Uint8Array | null): Uint8Array | null {
  if (a === null || b === null) return a;
  const left = Buffer.alloc(maskBytes);
  let any = 0;
  for (let i = 0; i < maskBytes; i += 1) any |= left[i] = a[i]! & ~b[i]!;
  return any === 0 ? null : left;
}

/** All blocks of a disk that are not in the set. */
export function complement(set: BlockPages, blocks: number): BlockPages {
  return { page: (number) => without(runInPage(number, 0, blocks), set.page(number)) };
}

/** The blocks `[first, end)` of a disk that lie in a page; null when none does. */
export function runInPage(page: number, first: number, end: number): Uint8Array | null {
  const base = page * BLOCKS_PER_PAGE;
  const from = Math.max(0, first - base);
  const to = Math.min(BLOCKS_PER_PAGE, end - base);
  if (to <= from) return null;
  if (from === 0 && to === BLOCKS_PER_PAGE) return fullMask;
  const mask = Buffer.alloc(maskBytes);
  for (let i = from; i < to; i += 1) mask[i >> 3]! |= 1 << (i & 7);
  return mask;
}
