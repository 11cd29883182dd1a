import fc from 'fast-check';
import { Coverage } from './coverage.js';

describe('Coverage', () => {
  it('agrees with a set of bytes', () => {
    const range = fc.tuple(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 1, max: 12 }));
    fc.assert(
      fc.property(fc.array(range, { maxLength: 30 }), (ranges) => {
        const coverage = new Coverage();
        const bytes = new Set<number>();
        for (const [start, length] of ranges) {
          const wanted = Array.from({ length }, (_, i) => start + i);
          const free = wanted.every((byte) => !bytes.has(byte));
          expect(coverage.add(start, start + length)).toBe(free);
          if (free) for (const byte of wanted) bytes.add(byte);
        }
        for (let start = 0; start < 52; start += 7) {
          for (let end = start; end < 52; end += 5) {
            const all = Array.from({ length: end - start }, (_, i) => start + i).every((byte) =>
              bytes.has(byte),
            );
            expect(coverage.covers(start, end)).toBe(all);
          }
        }
      }),
    );
  });
});
