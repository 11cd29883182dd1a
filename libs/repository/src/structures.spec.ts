import fc from 'fast-check';
import { openDigest } from './digest.js';
import { decodeInventory, decodeManifest, encodeManifest } from './manifest.js';
import { decodePackEnd, encodePackEnd, packEndLength } from './pack.js';
import { decodePage, encodePage, pageId } from './page.js';
import { decodeSegment, encodeSegment } from './segment.js';
import { openSuite, type Suite } from './suite.js';
import { decodeGroupIndex, decodeRelocations, encodeGroupIndex, encodeRelocations } from './table.js';
import {
  damages,
  decodeOrFault,
  faultCodeOf,
  groupIndexes,
  manifests,
  pages,
  relocations,
  segments,
  spoil,
  trailers,
} from './testing/index.js';

const repositoryId = '0192f0c0-0000-7000-8000-00000000aaaa';
const suites = {
  'blake3, clear': openSuite({ repositoryId, hash: 'blake3-256', masterKey: null }),
  'blake3, encrypted': openSuite({ repositoryId, hash: 'blake3-256', masterKey: Buffer.alloc(32, 7) }),
  'sha256, encrypted': openSuite({ repositoryId, hash: 'sha256', masterKey: Buffer.alloc(32, 8) }),
};
const object = 'packs/shared/some-object';

/** A structure under test: its values, and bytes there and back. */
interface Structure<T> {
  readonly values: (suite: Suite) => fc.Arbitrary<T>;
  readonly encode: (value: T, suite: Suite) => Buffer;
  readonly decode: (bytes: Uint8Array, suite: Suite) => T;
  /** Bytes at the end that a decoder checks before all else: the fuzz makes them right again after spoiling the rest. */
  readonly reseal: (bytes: Buffer, suite: Suite) => Buffer;
}
const closing = (bytes: Buffer, suite: Suite): Buffer => {
  const body = bytes.subarray(0, Math.max(0, bytes.length - 32));
  return Buffer.concat([body, suite.checksum(body)]);
};
const trailerFrames = (bytes: Uint8Array): number => {
  const end = Buffer.from(bytes);
  return end.length < 64 ? 0 : Number(end.readBigUInt64LE(end.length - 48)) - end.length;
};
const structure = <T>(of: Structure<T>): Structure<T> => of;
const structures = {
  page: structure({
    values: pages,
    encode: encodePage,
    decode: (bytes, suite) => decodePage(bytes, suite, object),
    reseal: closing,
  }),
  segment: structure({
    values: segments,
    encode: encodeSegment,
    decode: (bytes, suite) => decodeSegment(bytes, suite, object),
    reseal: closing,
  }),
  'pack end': structure({
    values: () => trailers,
    encode: (value, suite) => encodePackEnd(value, suite.checksum),
    decode: (bytes, suite) =>
      decodePackEnd(bytes, Math.max(0, bytes.length + trailerFrames(bytes)), suite.checksum, object),
    reseal: closing,
  }),
  manifest: structure({
    values: manifests,
    encode: encodeManifest,
    decode: (bytes, suite) => decodeManifest(bytes, suite, object),
    reseal: closing,
  }),
  'group index': structure({
    values: () => groupIndexes,
    encode: (value, suite) => encodeGroupIndex(value, suite.checksum),
    decode: (bytes, suite) => decodeGroupIndex(bytes, suite.checksum, object),
    reseal: closing,
  }),
  relocations: structure({
    values: () => relocations,
    encode: (value, suite) => encodeRelocations(value, suite.checksum),
    decode: (bytes, suite) => decodeRelocations(bytes, suite.checksum, object),
    reseal: closing,
  }),
} as unknown as Record<string, Structure<unknown>>;

const cases = Object.entries(structures).flatMap(([name, of]) =>
  Object.entries(suites).map(([suiteName, suite]) => ({ name, suiteName, of, suite })),
);

it('a manifest keeps a configuration whose field is named __proto__', () => {
  const configuration = JSON.parse('{"__proto__":{"cpu":2}}') as Record<string, unknown>;
  const suite = suites['blake3, clear'];
  const [manifest] = fc.sample(manifests(suite), { numRuns: 1, seed: 1 });
  const kept = { ...manifest!, facts: { ...manifest!.facts, configuration } };
  const read = decodeManifest(encodeManifest(kept, suite), suite, object);
  expect(Object.keys(read.facts.configuration)).toEqual(['__proto__']);
});

describe.each(cases)('$name ($suiteName)', ({ of, suite }) => {
  it('decodes to what was encoded', () => {
    fc.assert(
      fc.property(of.values(suite), (value) => {
        expect(of.decode(of.encode(value, suite), suite)).toEqual(value);
      }),
      { numRuns: 25 },
    );
  });

  it('spoiled, is a fault that names the object, or still the same value', () => {
    fc.assert(
      fc.property(of.values(suite), fc.array(damages, { minLength: 1, maxLength: 8 }), (value, list) => {
        const healthy = of.encode(value, suite);
        for (const damage of list) {
          const decoded = decodeOrFault(() => of.decode(spoil(healthy, damage), suite), object);
          if (decoded !== null) expect(decoded).toEqual(value);
        }
      }),
      { numRuns: 25 },
    );
  });

  it('spoiled under a right hash, is a fault or some value, never a crash', () => {
    fc.assert(
      fc.property(of.values(suite), fc.array(damages, { minLength: 1, maxLength: 8 }), (value, list) => {
        const healthy = of.encode(value, suite);
        for (const damage of list) {
          decodeOrFault(() => of.decode(of.reseal(spoil(healthy, damage), suite), suite), object);
        }
      }),
      { numRuns: 25 },
    );
  });

  it('made of random bytes, is a fault', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        expect(decodeOrFault(() => of.decode(bytes, suite), object)).toBeNull();
      }),
      { numRuns: 100 },
    );
  });
});

describe('page id', () => {
  const suite = suites['blake3, clear'];
  it('depends on the ids of the blocks alone', () => {
    fc.assert(
      fc.property(pages(suite), (page) => {
        const moved = {
          ...page,
          frames: page.frames.map((frame) => ({ ...frame, offset: frame.offset + 1 })),
        };
        expect(pageId(moved.ids, suite.identify)).toEqual(pageId(page.ids, suite.identify));
        expect(pageId(page.ids, suite.identify) === null).toBe(page.frames.length === 0);
      }),
      { numRuns: 20 },
    );
  });
});

describe('a pack of another length than its footer says', () => {
  it('is damaged', () => {
    const checksum = openDigest('blake3-256', null);
    const pack = { writerId: repositoryId, seq: 1 };
    const end = encodePackEnd({ repositoryId, chainId: null, pack, frames: [] }, checksum);
    expect(packEndLength(end, end.length, object)).toBe(end.length);
    expect(faultCodeOf(() => packEndLength(end, end.length + 1, object))).toBe('POOL_OBJECT_DAMAGED');
  });
});

describe('an inventory', () => {
  it('is read without the key', () => {
    const suite = suites['blake3, encrypted'];
    fc.assert(
      fc.property(manifests(suite), (manifest) => {
        const bytes = encodeManifest(manifest, suite);
        expect(decodeInventory(bytes, openDigest('blake3-256', null), object)).toEqual(manifest.inventory);
        if (manifest.facts.vm.name.length > 5) expect(bytes.includes(manifest.facts.vm.name)).toBe(false);
      }),
      { numRuns: 20 },
    );
  });
});
