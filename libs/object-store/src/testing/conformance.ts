import { createHash } from 'node:crypto';
import { Fault } from '@casvault/contracts';
import fc from 'fast-check';
import { type ListedObject, type ObjectStore } from '../object-store.js';

/** A fresh, empty store, as two clients that know nothing of each other. */
export interface StoreUnderTest {
  readonly store: ObjectStore;
  readonly other: ObjectStore;
  stop(): Promise<void>;
}

const mib = 1024 * 1024;

/** Holds an adapter to every promise of the port. `open` gives an empty store each time. */
export const describeObjectStore = (name: string, open: () => Promise<StoreUnderTest>): void => {
  describe(`${name} as an object store`, () => {
    let under: StoreUnderTest;
    let store: ObjectStore;
    beforeEach(async () => {
      under = await open();
      store = under.store;
    });
    afterEach(async () => {
      await under.store.close();
      await under.other.close();
      await under.stop();
    });
    const use = () => under;

    describeContent(use);
    describeRanges(use);
    describeAbsence(use);
    describeKeys(use);
    describeList(use);
    describeIfAbsent(use);
    describeSharing(use);
    describeAbort(use);

    it('tells its room, or that it has no notion of it', async () => {
      const { capacityBytes, freeBytes } = await store.usage();
      expect(capacityBytes === null).toBe(freeBytes === null);
      if (capacityBytes !== null) expect(freeBytes).toBeLessThanOrEqual(capacityBytes);
    });
  });
};

type Use = () => StoreUnderTest;

const describeContent = (use: Use): void => {
  it.each([0, 1, 4095, 4096, 4097, 65536, mib, 5 * mib + 13, 33 * mib + 1])(
    'gives back %d bytes as they were',
    async (size) => {
      const body = pattern(size, size);
      await use().store.put('packs/one', body);
      expectBytes(await use().other.get('packs/one'), body);
      expect(await use().other.stat('packs/one')).toEqual({ sizeBytes: size });
    },
  );

  it('writes parts one after the other, whatever their alignment', async () => {
    const whole = pattern(3 * mib + 77, 1);
    const parts = [0, 10, 4096, 4096, mib + 3, whole.length].map((end, i, ends) =>
      whole.subarray(ends[i - 1] ?? 0, end),
    );
    await use().store.put('parts', parts);
    expectBytes(await use().store.get('parts'), whole);
  });

  it('writes page-aligned memory of any length, and reads into it', async () => {
    const memory = alignedMemory(8 * mib);
    for (const size of [mib, mib + 1, 2 * mib - 1]) {
      memory.set(pattern(size, size));
      await use().store.put('aligned', [memory.subarray(0, 65536), memory.subarray(65536, size)]);
      const into = memory.subarray(4 * mib, 8 * mib);
      const got = await use().store.get('aligned', { into });
      expect([got.buffer, got.byteOffset, got.length]).toEqual([memory.buffer, 4 * mib, size]);
      expectBytes(got, pattern(size, size));
    }
  });

  it('writes views into shared memory', async () => {
    const shared = new Uint8Array(new SharedArrayBuffer(mib));
    shared.set(pattern(mib, 3));
    await use().store.put('shared', shared.subarray(5));
    expectBytes(await use().store.get('shared'), pattern(mib, 3).subarray(5));
  });

  it('replaces an object, also by a shorter one', async () => {
    await use().store.put('a', pattern(2 * mib, 1));
    await use().other.put('a', pattern(10, 2));
    expectBytes(await use().store.get('a'), pattern(10, 2));
  });
};

const describeRanges = (use: Use): void => {
  it('gives any range of an object', async () => {
    const body = pattern(200_000, 9);
    await use().store.put('r', body);
    const range = fc
      .integer({ min: 0, max: body.length - 1 })
      .chain((offset) =>
        fc.record({ offset: fc.constant(offset), length: fc.integer({ min: 1, max: body.length - offset }) }),
      );
    await fc.assert(
      fc.asyncProperty(range, async (wanted) => {
        const got = await use().store.get('r', { range: wanted });
        expectBytes(got, body.subarray(wanted.offset, wanted.offset + wanted.length));
      }),
      { numRuns: 30 },
    );
  });

  it('reads to the beginning of a given buffer and returns that part of it', async () => {
    await use().store.put('r', pattern(1000, 4));
    const into = new Uint8Array(300);
    const got = await use().store.get('r', { range: { offset: 500, length: 200 }, into });
    expect(got.buffer).toBe(into.buffer);
    expectBytes(got, pattern(1000, 4).subarray(500, 700));
  });

  it('refuses a buffer that is too small', async () => {
    await use().store.put('r', pattern(1000, 4));
    await expectFault(use().store.get('r', { into: new Uint8Array(999) }), 'INPUT_INVALID');
    const range = { offset: 0, length: 11 };
    await expectFault(use().store.get('r', { range, into: new Uint8Array(10) }), 'INPUT_INVALID');
  });

  it.each([
    [0, 11],
    [9, 2],
    [10, 1],
    [1000, 1],
  ])('calls an object damaged that is too short for %d + %d', async (offset, length) => {
    await use().store.put('r', pattern(10, 4));
    await expectFault(use().store.get('r', { range: { offset, length } }), 'POOL_OBJECT_DAMAGED');
  });

  it.each([
    [-1, 1],
    [0, 0],
    [0.5, 1],
    [0, -1],
  ])('refuses the range %d + %d', async (offset, length) => {
    await use().store.put('r', pattern(10, 4));
    await expectFault(use().store.get('r', { range: { offset, length } }), 'INPUT_INVALID');
  });
};

const describeAbsence = (use: Use): void => {
  it('knows what is not there', async () => {
    await use().store.put('folder/object', pattern(1, 1));
    for (const key of ['nothing', 'folder', 'folder/nothing', 'folder/object/below', 'no/folder/at/all']) {
      await expectFault(use().store.get(key), 'POOL_OBJECT_MISSING');
      await expectFault(use().store.get(key, { range: { offset: 5, length: 5 } }), 'POOL_OBJECT_MISSING');
      expect(await use().store.stat(key)).toBeNull();
      await use().store.delete(key);
    }
    expectBytes(await use().store.get('folder/object'), pattern(1, 1));
  });

  it('deletes for good, once or twice', async () => {
    await use().store.put('d/a', pattern(5, 1));
    await use().store.put('d/b', pattern(5, 2));
    await use().other.delete('d/a');
    await use().store.delete('d/a');
    expect(await use().store.stat('d/a')).toBeNull();
    expect(await keysOf(use().store, '')).toEqual(['d/b']);
  });
};

const goodKeys = [
  'a',
  '.hidden',
  '...',
  'a.b-c_d',
  '-',
  '_',
  'tmp',
  'tmp/a',
  'A/a',
  'a1/B2/c3/d4/e5/f6/g7/h8',
  'x'.repeat(200),
  `${'d'.repeat(100)}/${'e'.repeat(200)}/${'f'.repeat(200)}`,
];
const badKeys = [
  '',
  '/',
  '/a',
  'a/',
  'a//b',
  '.',
  '..',
  '../a',
  'a/../b',
  'a/./b',
  'a b',
  'a\0b',
  'ä',
  'a\\b',
  '@tmp/a',
  'a?b',
  'a%2Fb',
  'a\n',
  'x'.repeat(201),
  'a/'.repeat(256) + 'a',
];

const describeKeys = (use: Use): void => {
  it('takes every key that the rule allows', async () => {
    for (const key of goodKeys.filter((one) => one !== 'tmp')) {
      await use().store.put(key, Buffer.from(key));
      expect(Buffer.from(await use().other.get(key)).toString()).toBe(key);
    }
    expect(await keysOf(use().store, '')).toEqual(sorted(goodKeys.filter((one) => one !== 'tmp')));
  });

  it.each(badKeys)('refuses the key %j everywhere', async (key) => {
    await expectFault(use().store.put(key, pattern(1, 1)), 'INPUT_INVALID');
    await expectFault(use().store.get(key), 'INPUT_INVALID');
    await expectFault(use().store.stat(key), 'INPUT_INVALID');
    await expectFault(use().store.delete(key), 'INPUT_INVALID');
  });

  it.each(['/', 'a//', '..', '../', 'a/../', 'ä', ' '])('refuses the prefix %j', async (prefix) => {
    await expectFault(keysOf(use().store, prefix), 'INPUT_INVALID');
  });
};

const describeList = (use: Use): void => {
  it('lists nothing in an empty store', async () => {
    expect(await keysOf(use().store, '')).toEqual([]);
    expect(await keysOf(use().store, 'packs/')).toEqual([]);
  });

  it('sorts by the bytes of whole keys, folders among objects', async () => {
    const keys = ['a-b', 'a.b', 'a/b', 'a/b-c', 'a0', 'aa', 'A', 'b/c/d', 'b/c-d', 'b/cc'];
    for (const key of keys) await use().store.put(key, Buffer.from(key));
    const listed = await objectsOf(use().store, '');
    expect(listed).toEqual(sorted(keys).map((key) => ({ key, sizeBytes: key.length })));
  });

  it('finds exactly the keys with a prefix, in order', async () => {
    const segment = fc.constantFrom('a', 'b', 'a-b', 'a.b', 'ab', '-', '.x', '0');
    const keySet = fc
      .uniqueArray(
        fc.array(segment, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/')),
        { maxLength: 12 },
      )
      .map((keys) => keys.filter((key) => !keys.some((one) => one.startsWith(`${key}/`))));
    const prefixes = fc.array(fc.constantFrom('', 'a', 'a/', 'a-', 'b/a', 'ab', '.', 'a/b/', 'zz'), {
      maxLength: 4,
    });
    await fc.assert(
      fc.asyncProperty(keySet, prefixes, async (keys, wanted) => {
        for (const key of keys) await use().store.put(key, pattern(3, 1));
        for (const prefix of ['', ...wanted]) {
          const found = await keysOf(use().other, prefix);
          expect(found).toEqual(sorted(keys.filter((key) => key.startsWith(prefix))));
        }
        for (const key of keys) await use().store.delete(key);
        expect(await keysOf(use().store, '')).toEqual([]);
      }),
      { numRuns: 15 },
    );
  });

  it('goes on while objects come and go', async () => {
    for (let i = 0; i < 40; i += 1) await use().store.put(`l/${i % 4}/${i}`, pattern(1, i));
    const stay = (key: string): boolean => Number(key.split('/')[2]) % 2 === 0;
    const seen: string[] = [];
    for await (const { key } of use().store.list('l/')) {
      seen.push(key);
      const gone = Number(key.split('/')[2]) + 3;
      if (gone % 2 === 1 && gone < 40) await use().other.delete(`l/${gone % 4}/${gone}`);
    }
    const all = Array.from({ length: 40 }, (_, i) => `l/${i % 4}/${i}`);
    expect(seen.filter(stay)).toEqual(sorted(all.filter(stay)));
    expect(seen).toEqual(sorted(seen));
  });
};

const describeIfAbsent = (use: Use): void => {
  it('makes an object that is not there, and leaves one that is', async () => {
    await use().store.put('claims/one', pattern(100, 1), { ifAbsent: true });
    await expectFault(
      use().other.put('claims/one', pattern(50, 2), { ifAbsent: true }),
      'POOL_OBJECT_EXISTS',
    );
    expectBytes(await use().store.get('claims/one'), pattern(100, 1));
    await use().store.delete('claims/one');
    await use().other.put('claims/one', pattern(50, 2), { ifAbsent: true });
    expectBytes(await use().store.get('claims/one'), pattern(50, 2));
  });

  it('has one winner among racers, whose object it is', async () => {
    for (let round = 0; round < 5; round += 1) {
      const key = `claims/race-${round}`;
      const racer = (n: number): Promise<void> =>
        (n % 2 === 0 ? use().store : use().other).put(key, pattern(1000, n), { ifAbsent: true });
      const racers = Array.from({ length: 12 }, (_, n) => racer(n));
      const outcomes = await Promise.allSettled(racers);
      const winners = outcomes.flatMap((outcome, n) => (outcome.status === 'fulfilled' ? [n] : []));
      expect(winners).toHaveLength(1);
      expectBytes(await use().store.get(key), pattern(1000, winners[0] ?? -1));
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected') expect(Fault.from(outcome.reason).code).toBe('POOL_OBJECT_EXISTS');
      }
    }
  });
};

const describeSharing = (use: Use): void => {
  it('shows readers whole objects only, the old or the new one', async () => {
    const versions = [pattern(700_000, 1), pattern(1_300_000, 2)];
    const known = new Set(versions.map(digest));
    await use().store.put('v', versions[0] ?? []);
    let writing = true;
    const write = async (): Promise<void> => {
      for (let i = 0; i < 12; i += 1) await use().store.put('v', versions[i % 2] ?? []);
      writing = false;
    };
    const read = async (): Promise<number> => {
      let reads = 0;
      for (; writing; reads += 1) expect(known).toContain(digest(await use().other.get('v')));
      return reads;
    };
    const [, reads] = await Promise.all([write(), read()]);
    expect(reads).toBeGreaterThan(0);
  });

  it('writes into folders that others empty at the same time', async () => {
    const churn = async (store: ObjectStore, name: string): Promise<void> => {
      for (let i = 0; i < 25; i += 1) {
        await store.put(`c/d/e/${name}`, pattern(10, i), { ifAbsent: true });
        expectBytes(await store.get(`c/d/e/${name}`), pattern(10, i));
        await store.delete(`c/d/e/${name}`);
      }
    };
    await Promise.all([churn(use().store, 'a'), churn(use().other, 'b'), churn(use().other, 'c')]);
    expect(await keysOf(use().store, '')).toEqual([]);
  });
};

const describeAbort = (use: Use): void => {
  it('does nothing once its signal is aborted, and says why', async () => {
    await use().store.put('x', pattern(10, 1));
    const signal = AbortSignal.abort(new Fault('LEASE_LOST', 'another worker has it'));
    await expectFault(use().store.put('y', pattern(10, 1), { signal }), 'LEASE_LOST');
    await expectFault(use().store.get('x', { signal }), 'LEASE_LOST');
    await expectFault(use().store.stat('x', { signal }), 'LEASE_LOST');
    await expectFault(use().store.delete('x', { signal }), 'LEASE_LOST');
    await expectFault(use().store.usage({ signal }), 'LEASE_LOST');
    await expectFault(objectsOf(use().store, '', signal), 'LEASE_LOST');
    await expectFault(use().store.get('x', { signal: AbortSignal.abort() }), 'STOPPED');
    expect(await keysOf(use().store, '')).toEqual(['x']);
  });

  it('leaves a whole object or none when it is aborted under way', async () => {
    const body = pattern(8 * mib, 5);
    for (const delayMs of [0, 1, 3, 6]) {
      const control = new AbortController();
      const put = use().store.put('big', body, { signal: control.signal });
      setTimeout(() => {
        control.abort();
      }, delayMs);
      const outcome = await put.then(
        () => 'done',
        (error: unknown) => Fault.from(error).code,
      );
      expect(['done', 'STOPPED']).toContain(outcome);
      const found = await use().other.stat('big');
      if (outcome === 'done') expect(found).toEqual({ sizeBytes: body.length });
      if (found !== null) expectBytes(await use().store.get('big'), body);
      await use().store.delete('big');
    }
  });
};

/** Memory on a page boundary; the type definitions of Node alone do not know WebAssembly. */
const alignedMemory = (size: number): Uint8Array => {
  const { Memory } = (
    globalThis as unknown as {
      WebAssembly: { Memory: new (shape: { initial: number }) => { buffer: ArrayBuffer } };
    }
  ).WebAssembly;
  return new Uint8Array(new Memory({ initial: size / 65536 }).buffer);
};

/** Bytes that differ by seed and position. */
const pattern = (size: number, seed: number): Uint8Array => {
  const words = new Uint32Array(Math.ceil(size / 4));
  let state = (seed * 2654435761 + 12345) >>> 0;
  for (let i = 0; i < words.length; i += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    words[i] = state;
  }
  return new Uint8Array(words.buffer, 0, size);
};

const expectBytes = (got: Uint8Array, wanted: Uint8Array): void => {
  expect(got.length).toBe(wanted.length);
  expect(Buffer.compare(got, wanted)).toBe(0);
};

const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

const expectFault = async (action: Promise<unknown>, code: string): Promise<void> => {
  const outcome = await action.then(
    () => 'no fault',
    (error: unknown) => (Fault.is(error) ? error.code : error),
  );
  expect(outcome).toBe(code);
};

const objectsOf = async (
  store: ObjectStore,
  prefix: string,
  signal?: AbortSignal,
): Promise<ListedObject[]> => {
  const objects: ListedObject[] = [];
  for await (const object of store.list(prefix, signal === undefined ? {} : { signal })) objects.push(object);
  return objects;
};

const keysOf = async (store: ObjectStore, prefix: string): Promise<string[]> =>
  (await objectsOf(store, prefix)).map(({ key }) => key);

const sorted = (keys: readonly string[]): string[] => [...keys].sort((a, b) => (a < b ? -1 : 1));
