import fc from 'fast-check';
import { drawDistinct, sampleSize, seededDraw, sweepParts, sweepRange } from './sample.js';

const seedOf = (number: number): Uint8Array => Buffer.from(String(number));

it('G1: 66 blocks find 10 % with 0.999, 1,379 find 0.5 %', () => {
  expect(sampleSize(0.1, 0.999)).toBe(66);
  expect(sampleSize(0.005, 0.999)).toBe(1_379);
  expect(sampleSize(1, 0.999)).toBe(1);
});

it('is the smallest sample that is enough', () => {
  const shares = fc.double({ min: 0.001, max: 0.99, noNaN: true });
  const probabilities = fc.double({ min: 0.01, max: 0.9999, noNaN: true });
  fc.assert(
    fc.property(shares, probabilities, (share, probability) => {
      const size = sampleSize(share, probability);
      expect(1 - (1 - share) ** size).toBeGreaterThanOrEqual(probability - 1e-9);
      expect(1 - (1 - share) ** (size - 1)).toBeLessThan(probability + 1e-9);
    }),
  );
  expect(() => sampleSize(0, 0.5)).toThrow('share');
  expect(() => sampleSize(0.5, 1)).toThrow('probability');
});

it('G1: a sample misses 10 % of wrong blocks at most as often as it says', () => {
  const blocks = 5_000;
  const wrong = (block: number): boolean => block % 10 === 3;
  let missed = 0;
  for (let seed = 0; seed < 4_000; seed += 1)
    if (!drawDistinct(seededDraw(seedOf(seed), 'disk'), 66, blocks).some(wrong)) missed += 1;
  // Expected: 4,000 x 0.9^66 = 3.8. The seeds are fixed, so the outcome is, too.
  expect(missed).toBeLessThanOrEqual(8);
});

it('draws different numbers, every one as likely as another', () => {
  fc.assert(
    fc.property(fc.nat(50), fc.nat(60), fc.nat(), (count, end, seed) => {
      const drawn = drawDistinct(seededDraw(seedOf(seed), 'x'), count, end);
      expect(drawn.length).toBe(Math.min(count, end));
      expect(new Set(drawn).size).toBe(drawn.length);
      expect(drawn).toEqual([...drawn].sort((a, b) => a - b));
      expect(drawn.every((one) => one >= 0 && one < end)).toBe(true);
    }),
  );
  const hits = new Array<number>(20).fill(0);
  for (let seed = 0; seed < 4_000; seed += 1)
    for (const one of drawDistinct(seededDraw(seedOf(seed), 'x'), 5, 20)) hits[one]! += 1;
  // 1,000 expected of each; six standard deviations are 164.
  for (const count of hits) expect(Math.abs(count - 1_000)).toBeLessThan(164);
});

it('G1: thirty parts of the slow pass cover a disk, each block once, evenly', () => {
  fc.assert(
    fc.property(fc.nat(100_000), (blocks) => {
      let next = 0;
      for (let part = 0; part < sweepParts; part += 1) {
        const { first, end } = sweepRange(part, blocks);
        expect(first).toBe(next);
        expect(Math.abs(end - first - blocks / sweepParts)).toBeLessThan(1);
        next = end;
      }
      expect(next).toBe(blocks);
    }),
  );
});
