import { randomBytes } from 'node:crypto';
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import fc from 'fast-check';
import { compressBound, openCompress, openDecompress, portableCompress, portableDecompress } from './zstd.js';

const inputs = fc.oneof(
  fc.uint8Array({ minLength: 1, maxLength: 3000 }),
  fc.integer({ min: 1, max: 1_048_576 }).map((length) => Buffer.alloc(length, 'abcabd')),
  fc.integer({ min: 1, max: 200_000 }).map((length) => randomBytes(length)),
);

const ways = {
  direct: { open: openCompress, decompress: openDecompress() },
  portable: { open: portableCompress, decompress: portableDecompress },
};

it('goes the direct way in this Node', () => {
  expect(ways.direct.decompress).not.toBe(portableDecompress);
});

describe.each([
  ['direct', 1],
  ['direct', 3],
  ['direct', 19],
  ['portable', 1],
] as const)('zstd, %s, level %i', (way, level) => {
  const compress = ways[way].open(level);
  const { decompress } = ways[way];

  it('gives what node:zlib gives, at any place, again and again', () => {
    const check = (plain: Uint8Array, at: number): void => {
      const into = Buffer.alloc(at + compressBound(plain.length));
      const coded = into.subarray(at, at + compress(plain, into, at));
      expect(
        coded.equals(zstdCompressSync(plain, { params: { [constants.ZSTD_c_compressionLevel]: level } })),
      ).toBe(true);
      expect(zstdDecompressSync(coded).equals(plain)).toBe(true);
      const back = Buffer.alloc(plain.length + 1);
      expect(decompress(coded, back)).toBe(plain.length);
      expect(back.subarray(0, plain.length).equals(plain)).toBe(true);
    };
    fc.assert(fc.property(inputs, fc.nat(100), check), { numRuns: level === 19 ? 4 : 20 });
  });
});

describe.each(Object.entries(ways))('decompressing, %s', (_, { decompress }) => {
  const plain = Buffer.alloc(70_000, 'xyz');
  const coded = zstdCompressSync(plain);

  it('tells what does not fit, is cut off or is no zstd, and works on afterwards', () => {
    expect(decompress(coded, Buffer.alloc(plain.length))).toBeNull();
    for (let cut = 0; cut < coded.length - 1; cut += 1) {
      expect(decompress(coded.subarray(0, cut), Buffer.alloc(plain.length + 1))).not.toBe(plain.length);
    }
    expect(decompress(Buffer.from('no zstd at all'), Buffer.alloc(100))).toBeNull();
    expect(decompress(coded, Buffer.alloc(plain.length + 1))).toBe(plain.length);
  });
});
