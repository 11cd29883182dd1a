import { createHash } from 'node:crypto';
import { Fault } from '@casvault/contracts';

/**
 * How many blocks have to be looked at to meet a wrong one with at least `probability`, when `share` of all are wrong: n draws miss with at most
 * (1 - share)^n, so n = ln(1 - probability) / ln(1 - share). 66 find 10 % with 0.999, 1,379 find 0.5 % (G1).
 */
export function sampleSize(share: number, probability: number): number {
  if (!(share > 0 && share <= 1) || !(probability >= 0 && probability < 1)) {
    throw new Fault('BUG', `no sample finds a share of ${share} with probability ${probability}`);
  }
  return share === 1 ? 1 : Math.ceil(Math.log(1 - probability) / Math.log(1 - share));
}

/** Whole numbers from 0 to below `end`, all equally likely. */
export type Draw = (end: number) => number;

/** The same numbers for the same seed: SHA-256 over it, `label` and a counter, 53 bits each. */
export function seededDraw(seed: Uint8Array, label: string): Draw {
  let counter = 0;
  return (end) => {
    counter += 1;
    const hash = createHash('sha256').update(seed).update(`\0${label}\0${counter}`).digest();
    const bits = hash.readUInt32LE(0) * 2 ** 21 + (hash.readUInt32LE(4) >>> 11);
    return Math.floor((bits / 2 ** 53) * end);
  };
}

/** `count` different numbers below `end`, ascending, every choice equally likely (Floyd); all of them when there are no more. Memory: `count`. */
export function drawDistinct(draw: Draw, count: number, end: number): number[] {
  const chosen = new Set<number>();
  for (let last = Math.max(0, end - count); last < end; last += 1) {
    const one = draw(last + 1);
    chosen.add(chosen.has(one) ? last : one);
  }
  return [...chosen].sort((a, b) => a - b);
}

export const sweepParts = 30;

/** Blocks `[first, end)` of one part of the slow pass: 30 even runs that cover a disk (G1). */
export function sweepRange(part: number, blocks: number): { readonly first: number; readonly end: number } {
  return {
    first: Math.floor((blocks * part) / sweepParts),
    end: Math.floor((blocks * (part + 1)) / sweepParts),
  };
}
