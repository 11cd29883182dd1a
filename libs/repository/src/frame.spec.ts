import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { blocksIn, codedBound, openCodeFrame, openFrame, sealFrame, type FrameKind } from './frame.js';
import { openSuite, packFrameKey } from './suite.js';
import { damages, decodeOrFault, faultCodeOf, spoil } from './testing/index.js';

const repositoryId = '0192f0c0-0000-7000-8000-00000000aaaa';
const pack = { writerId: '0192f0c0-0000-7000-8000-00000000bbbb', seq: 7 };
const object = 'packs/c/w/00000007';
const plains = fc.oneof(
  fc.uint8Array({ minLength: 1, maxLength: 5000 }),
  fc.integer({ min: 1, max: 100_000 }).map((length) => Buffer.alloc(length, 'abcdef')),
);
const levels = fc.constantFrom(null, 1, 3);
const numRuns = 40;
const suites = [null, Buffer.alloc(32, 9)].map((masterKey) =>
  openSuite({ repositoryId, hash: 'blake3-256', masterKey }),
);

function code(plain: Uint8Array, level: number | null) {
  const into = Buffer.alloc(codedBound(plain.length));
  const { codec, length } = openCodeFrame(level)(plain, into, 0);
  return { codec, bytes: into.subarray(0, length) };
}

function store(suite: (typeof suites)[number], plain: Uint8Array, level: number | null) {
  const { codec, bytes } = code(plain, level);
  const ref = { pack, frame: 3, plainLength: plain.length, codec };
  return { ref, stored: sealFrame(suite, packFrameKey(suite, pack), 'data', ref, bytes) };
}

describe.each([
  ['clear', suites[0]!],
  ['encrypted', suites[1]!],
])('a frame, %s', (_, suite) => {
  const key = packFrameKey(suite, pack);

  it('opens to what was stored', () => {
    fc.assert(
      fc.property(plains, levels, (plain, level) => {
        const { ref, stored } = store(suite, plain, level);
        expect(stored.length).toBeLessThanOrEqual(plain.length + 28);
        expect(Buffer.from(openFrame(suite, key, 'data', ref, stored, object))).toEqual(Buffer.from(plain));
      }),
      { numRuns },
    );
  });

  it('spoiled, is a fault, or bytes that the caller tells by their id', () => {
    fc.assert(
      fc.property(plains, levels, damages, (plain, level, damage) => {
        const { ref, stored } = store(suite, plain, level);
        const opened = decodeOrFault(
          () => openFrame(suite, key, 'data', ref, spoil(stored, damage), object),
          object,
        );
        if (opened === null) return;
        expect(opened.length).toBe(plain.length);
        if (suite.keys !== null) expect(Buffer.from(opened)).toEqual(Buffer.from(plain));
      }),
      { numRuns },
    );
  });
});

describe('an encrypted frame', () => {
  const suite = suites[1]!;
  const { ref, stored } = store(suite, randomBytes(500), 1);
  const open =
    (kind: FrameKind, changed: Partial<typeof ref>, owner = suite) =>
    () =>
      openFrame(
        owner,
        packFrameKey(owner, changed.pack ?? pack),
        kind,
        { ...ref, ...changed },
        stored,
        object,
      );

  it.each([
    ['as another kind', open('page', {})],
    ['at another ordinal', open('data', { frame: 4 })],
    ['in another pack', open('data', { pack: { ...pack, seq: 8 } })],
    [
      'in another repository',
      open(
        'data',
        {},
        openSuite({ repositoryId: pack.writerId, hash: 'blake3-256', masterKey: Buffer.alloc(32, 9) }),
      ),
    ],
    [
      'under another master key',
      open('data', {}, openSuite({ repositoryId, hash: 'blake3-256', masterKey: Buffer.alloc(32, 8) })),
    ],
  ])('does not open %s', (_, opening) => {
    expect(faultCodeOf(opening)).toBe('POOL_OBJECT_DAMAGED');
  });

  it('never has the same nonce twice', () => {
    const nonces = new Set(
      Array.from({ length: 200 }, () =>
        Buffer.from(store(suite, Buffer.alloc(9), null).stored).toString('hex', 0, 12),
      ),
    );
    expect(nonces.size).toBe(200);
  });
});

describe('a hostile frame', () => {
  it('cannot make the reader allocate more than it announced', () => {
    const suite = suites[0]!;
    const bomb = code(Buffer.alloc(900_000), 1);
    expect(
      faultCodeOf(() =>
        openFrame(
          suite,
          null,
          'data',
          { pack, frame: 0, plainLength: 1000, codec: 'zstd' },
          bomb.bytes,
          object,
        ),
      ),
    ).toBe('POOL_OBJECT_DAMAGED');
  });
});

it('only the last block of a disk may be short', () => {
  expect([1, 65_536, 65_537, 1_048_576].map(blocksIn)).toEqual([1, 1, 2, 16]);
});
