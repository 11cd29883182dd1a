import fc from 'fast-check';
import { type Extent, isDirty, isHole, isZero } from './disk.js';
import { extentsOf, maxStatusBytes, type StatusQuery } from './extents.js';

const collect = async (extents: AsyncIterable<Extent>): Promise<Extent[]> => {
  const all: Extent[] = [];
  for await (const extent of extents) all.push(extent);
  return all;
};

const descriptors = (pairs: readonly (readonly [number, number])[]): Buffer => {
  const bytes = Buffer.alloc(pairs.length * 8);
  for (const [i, [length, flags]] of pairs.entries()) {
    bytes.writeUInt32BE(length, i * 8);
    bytes.writeUInt32BE(flags, i * 8 + 4);
  }
  return bytes;
};

describe('extentsOf', () => {
  it('joins equal neighbours, also of different replies, and cuts the last', async () => {
    const replies = [
      [
        [100, 0],
        [50, 3],
        [50, 3],
      ],
      [[300, 3]],
      [
        [100, 0],
        [9999, 0],
      ],
    ] as const;
    const asked: [number, number][] = [];
    const query: StatusQuery = async (offset, length) => {
      asked.push([offset, length]);
      return descriptors(replies[asked.length - 1] ?? []);
    };
    expect(await collect(extentsOf(query, 0, 700))).toEqual([
      { offset: 0, length: 100, flags: 0 },
      { offset: 100, length: 400, flags: 3 },
      { offset: 500, length: 200, flags: 0 },
    ]);
    expect(asked).toEqual([
      [0, 700],
      [200, 500],
      [500, 200],
    ]);
  });

  it('asks for no more than a request can say', async () => {
    const asked: number[] = [];
    const query: StatusQuery = async (_offset, length) => {
      asked.push(length);
      return descriptors([[length, 1]]);
    };
    const end = 3 * 2 ** 31 + 512;
    expect(await collect(extentsOf(query, 0, end))).toEqual([{ offset: 0, length: end, flags: 1 }]);
    expect(asked).toEqual([maxStatusBytes, maxStatusBytes, maxStatusBytes, end - 3 * maxStatusBytes]);
  });

  it('asks only for what is consumed, and stops when aborted', async () => {
    let asked = 0;
    const query: StatusQuery = async () => {
      asked += 1;
      return descriptors([[100, asked % 2]]);
    };
    const control = new AbortController();
    const extents = extentsOf(query, 0, 1000, control.signal);
    await extents.next();
    expect(asked).toBe(2);
    control.abort();
    await expect(extents.next()).rejects.toMatchObject({ code: 'STOPPED' });
    expect(asked).toBe(2);
  });

  it('says of every byte what the server says of it, whatever its replies look like', async () => {
    const disk = fc.array(fc.tuple(fc.integer({ min: 1, max: 50 }), fc.integer({ min: 0, max: 3 })), {
      minLength: 1,
      maxLength: 20,
    });
    const habits = fc.record({
      perReply: fc.integer({ min: 1, max: 5 }),
      beyond: fc.integer({ min: 0, max: 1000 }),
      window: fc.tuple(
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.double({ min: 0, max: 1, noNaN: true }),
      ),
    });
    await fc.assert(
      fc.asyncProperty(disk, habits, async (runs, { perReply, beyond, window }) => {
        const flagsOf = runs.flatMap(([length, flags]) => Array.from({ length }, () => flags));
        const [from, to] = [...window].sort((a, b) => a - b).map((part) => Math.floor(part * flagsOf.length));
        const [start = 0, end = 0] = [from, to];
        const query: StatusQuery = async (offset, length) => {
          const found: [number, number][] = [];
          let at = offset;
          while (at < offset + length && found.length < perReply) {
            let size = 1;
            while (flagsOf[at + size] === flagsOf[at] && at + size < offset + length) size += 1;
            found.push([size, flagsOf[at] ?? 0]);
            at += size;
          }
          const last = found[found.length - 1];
          if (last !== undefined) last[0] += at === flagsOf.length ? beyond : 0;
          return descriptors(found);
        };
        const extents = await collect(extentsOf(query, start, end));
        const said = extents.flatMap(({ length, flags }) => Array.from({ length }, () => flags));
        expect(said).toEqual(flagsOf.slice(start, end));
        for (const [i, extent] of extents.entries()) {
          expect(extent.offset).toBe(extents[i - 1] === undefined ? start : extent.offset);
          expect(extent.flags).not.toBe(extents[i - 1]?.flags);
        }
      }),
    );
  });
});

describe('flags', () => {
  it('are read bit by bit', () => {
    expect([0, 1, 2, 3, 4].map(isHole)).toEqual([false, true, false, true, false]);
    expect([0, 1, 2, 3, 4].map(isZero)).toEqual([false, false, true, true, false]);
    expect([0, 1, 2, 3].map(isDirty)).toEqual([false, true, false, true]);
  });
});
