import fc from 'fast-check';
import { BlockSet, hasBit, intersect } from './block-set.js';

const block = 65_536;
const blocks = 3 * 2_048;
const ranges = fc.array(
  fc.record({
    offset: fc.nat(blocks * block - 1),
    length: fc.oneof(fc.nat(5 * block), fc.nat(2_100 * block)),
  }),
  { maxLength: 12 },
);

function filled(list: readonly { offset: number; length: number }[]) {
  const set = new BlockSet();
  const expected = new Set<number>();
  for (const { offset, length } of list) {
    const end = Math.min(offset + length, blocks * block);
    set.addBytes(offset, end - offset);
    for (let i = Math.floor(offset / block); i * block < end && end > offset; i += 1) expected.add(i);
  }
  return { set, expected };
}

it('holds the blocks that its ranges touch, and no others', () => {
  fc.assert(
    fc.property(ranges, (list) => {
      const { set, expected } = filled(list);
      expect(set.size).toBe(expected.size);
      for (let i = 0; i < blocks; i += 1) {
        const page = set.page(Math.floor(i / 2_048));
        const inPage = page !== null && hasBit(page, i % 2_048);
        if (set.has(i) !== expected.has(i) || inPage !== expected.has(i)) throw new Error(`block ${i}`);
      }
    }),
    { numRuns: 30 },
  );
});

it('intersects pages', () => {
  fc.assert(
    fc.property(ranges, ranges, (a, b) => {
      const [one, other] = [filled(a), filled(b)];
      const both = intersect(one.set.page(0), other.set.page(0));
      for (let i = 0; i < 2_048; i += 1) {
        const expected = one.expected.has(i) && other.expected.has(i);
        if ((both !== null && hasBit(both, i)) !== expected) throw new Error(`block ${i}`);
      }
    }),
    { numRuns: 30 },
  );
});
