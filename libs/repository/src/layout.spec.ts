import fc from 'fast-check';
import { packFolder, packKey, parsePackKey, parsePointKey, pointKey } from './layout.js';
import { packRanges, packsIn } from './manifest.js';
import { uuids } from './testing/index.js';

describe('object keys', () => {
  it('of packs and points parse to what they name', () => {
    fc.assert(
      fc.property(uuids, uuids, fc.nat(0xffff_ffff), fc.boolean(), (chainId, writerId, seq, shared) => {
        const folder = packFolder(shared ? 'pool' : 'chain', chainId);
        expect(parsePackKey(packKey(folder, { writerId, seq }))).toEqual({ folder, pack: { writerId, seq } });
        expect(parsePointKey(pointKey(chainId, writerId))).toEqual({ chainId, pointId: writerId });
      }),
    );
  });

  it('are lower case, and sort packs by sequence', () => {
    const writerId = 'ABCDEF00-0000-4000-8000-000000000000';
    expect(packKey('shared', { writerId, seq: 10 })).toBe(
      'packs/shared/abcdef00-0000-4000-8000-000000000000/0000000a',
    );
  });

  it.each(['packs/x/y/00000001', 'packs/shared/abcdef00-0000-4000-8000-000000000000/1', 'repository.json'])(
    'of other shapes are no packs: %s',
    (key) => {
      expect(parsePackKey(key)).toBeNull();
      expect(parsePointKey(key)).toBeNull();
    },
  );
});

it('pack ranges hold exactly the packs that went in', () => {
  const packs = fc.array(fc.record({ writerId: fc.constantFrom('a', 'b'), seq: fc.nat(12) }));
  fc.assert(
    fc.property(packs, (list) => {
      const names = (all: Iterable<{ writerId: string; seq: number }>) =>
        [
          ...new Set([...all].map(({ writerId, seq }) => `${writerId}${seq.toString().padStart(3, '0')}`)),
        ].sort();
      const ranges = packRanges(list);
      expect(names(packsIn(ranges))).toEqual(names(list));
      for (const { seqs } of ranges) {
        for (let i = 1; i < seqs.length; i += 1) expect(seqs[i]![0]).toBeGreaterThan(seqs[i - 1]![1] + 1);
      }
    }),
  );
});
