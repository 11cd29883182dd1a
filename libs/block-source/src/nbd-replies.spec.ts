import { Fault } from '@casvault/contracts';
import fc from 'fast-check';
import { Inlet } from './inlet.js';
import {
  pendingRead,
  type PendingRequest,
  type PendingStatus,
  type PendingTable,
  receiveReplies,
} from './nbd-replies.js';
import {
  chunkBytes,
  dataBytes,
  doneBytes,
  errorAtBytes,
  errorBytes,
  holeBytes,
  simpleReplyBytes,
  statusBytes,
} from './testing/server-messages.js';

const contexts = new Map([
  [7, 'base:allocation'],
  [9, 'qemu:dirty-bitmap:b'],
]);
type Outcome = Fault | 'ok' | 'open';

/** A table of requests, the parser over it, and what became of each request. */
class Exchange {
  readonly pending: PendingTable = new Map();
  readonly outcomes = new Map<number, Outcome>();
  readonly inlet: Inlet<never>;

  constructor(structured = true) {
    const replies = receiveReplies(this.pending, { structured, contexts }, () => undefined);
    this.inlet = new Inlet(replies, () => new Error('ended'));
  }

  read(cookie: number, offset: number, length: number): Uint8Array {
    const into = new Uint8Array(length).fill(0xee);
    this.#add(cookie, pendingRead(offset, into, this.#settle(cookie)));
    return into;
  }

  write(cookie: number, offset: number, length: number): void {
    const settle = this.#settle(cookie);
    this.#add(cookie, { kind: 'plain', what: 'write', offset, length, fault: null, settle });
  }

  status(cookie: number, offset: number, length: number): PendingStatus {
    const settle = this.#settle(cookie);
    const request: PendingStatus = {
      kind: 'status',
      what: 'block status',
      contextId: 7,
      descriptors: null,
      fault: null,
      offset,
      length,
      settle,
    };
    this.#add(cookie, request);
    return request;
  }

  /** The fault that the stream is broken off with, or null. */
  receive(...messages: Buffer[]): Fault | null {
    try {
      this.inlet.feed(Buffer.concat(messages));
      return null;
    } catch (error) {
      return Fault.from(error);
    }
  }

  #add(cookie: number, request: PendingRequest): void {
    this.outcomes.set(cookie, 'open');
    this.pending.set(cookie, request);
  }

  #settle(cookie: number): (fault: Fault | null) => void {
    return (fault) => {
      if (this.outcomes.get(cookie) !== 'open') throw new Error('settled twice');
      this.outcomes.set(cookie, fault ?? 'ok');
    };
  }
}

describe('replies', () => {
  let exchange: Exchange;
  beforeEach(() => {
    exchange = new Exchange();
  });
  const expectBroken = (...messages: Buffer[]): void => {
    const fault = exchange.receive(...messages);
    expect(fault?.code).toBe('NBD_PROTOCOL');
  };

  it('puts data and holes of any order in place', () => {
    const into = exchange.read(1, 1000, 10);
    exchange.receive(
      dataBytes(1, 1006, Buffer.from([6, 7, 8, 9])),
      holeBytes(1, 1003, 3),
      dataBytes(1, 1000, Buffer.from([1, 2, 3]), { done: true }),
    );
    expect([...into]).toEqual([1, 2, 3, 0, 0, 0, 6, 7, 8, 9]);
    expect(exchange.outcomes.get(1)).toBe('ok');
    expect(exchange.pending.size).toBe(0);
  });

  it('keeps interleaved replies of several requests apart', () => {
    const [one, two] = [exchange.read(1, 0, 4), exchange.read(2, 0, 4)];
    exchange.receive(
      dataBytes(2, 2, Buffer.from([23, 24])),
      dataBytes(1, 0, Buffer.from([11, 12])),
      dataBytes(2, 0, Buffer.from([21, 22]), { done: true }),
      dataBytes(1, 2, Buffer.from([13, 14]), { done: true }),
    );
    expect([...one, ...two]).toEqual([11, 12, 13, 14, 21, 22, 23, 24]);
  });

  it("fails one request with the server's error and goes on", () => {
    exchange.read(1, 4096, 100);
    const into = exchange.read(2, 0, 2);
    const fault = exchange.receive(
      dataBytes(1, 4096, Buffer.alloc(50)),
      errorAtBytes(1, 5, 4120, 'bad sector'),
      doneBytes(1),
      dataBytes(2, 0, Buffer.from([1, 2]), { done: true }),
    );
    expect(fault).toBeNull();
    expect([...into]).toEqual([1, 2]);
    expect(exchange.outcomes.get(1)).toMatchObject({
      code: 'NBD_IO',
      details: { errno: 'EIO', offset: 4120 },
      message: 'NBD read at offset 4120 failed with EIO: bad sector',
    });
  });

  it.each([
    ['an error chunk', errorBytes(1, 28, '', { done: true }), 'ENOSPC'],
    ['a simple reply', simpleReplyBytes(1, 1), 'EPERM'],
    ['an error that the document does not list', simpleReplyBytes(1, 42), 'EINVAL (42)'],
    [
      'an unknown kind of error chunk',
      chunkBytes(1, 0x8123, Buffer.from([0, 0, 0, 95, 0, 1, 65, 9, 9]), { done: true }),
      'ENOTSUP',
    ],
  ])('takes a failed write from %s', (_what, message, errno) => {
    exchange.write(1, 512, 512);
    expect(exchange.receive(message)).toBeNull();
    expect(exchange.outcomes.get(1)).toMatchObject({ code: 'NBD_IO', details: { errno, offset: 512 } });
  });

  it.each([
    ['a simple reply', simpleReplyBytes(1)],
    ['an empty chunk', doneBytes(1)],
  ])('takes a done write from %s', (_what, message) => {
    exchange.write(1, 512, 512);
    exchange.receive(message);
    expect(exchange.outcomes.get(1)).toBe('ok');
  });

  it('reads from simple replies where nothing else was agreed', () => {
    exchange = new Exchange(false);
    const into = exchange.read(1, 0, 3);
    exchange.read(2, 0, 3);
    exchange.receive(simpleReplyBytes(2, 5), simpleReplyBytes(1, 0, Buffer.from([1, 2, 3])));
    expect([...into]).toEqual([1, 2, 3]);
    expect(exchange.outcomes.get(2)).toMatchObject({ code: 'NBD_IO' });
  });

  it('keeps the descriptors of the context asked about', () => {
    const request = exchange.status(1, 0, 4096);
    exchange.receive(
      statusBytes(1, 9, [[4096, 1]]),
      statusBytes(
        1,
        7,
        [
          [1024, 3],
          [3072, 0],
        ],
        { done: true },
      ),
    );
    expect(request.descriptors?.toString('hex')).toBe('000004000000000300000c0000000000');
    expect(exchange.outcomes.get(1)).toBe('ok');
  });

  it('breaks off what is against the protocol', () => {
    const cases: [string, () => Buffer[]][] = [
      ['wrong magic', () => [Buffer.alloc(16, 0x41)]],
      ['unknown cookie', () => [simpleReplyBytes(99)]],
      ['cookie of 64 bits', () => [chunkBytes(0x100000001n, 0, Buffer.alloc(0), { done: true })]],
      ['simple reply to a read', () => [simpleReplyBytes(1, 0, Buffer.alloc(10))]],
      ['simple error to a read', () => [simpleReplyBytes(1, 5)]],
      ['data chunk without data', () => [dataBytes(1, 100, Buffer.alloc(0))]],
      ['data chunk of 3 bytes', () => [chunkBytes(1, 1, Buffer.alloc(3))]],
      ['data before the request', () => [dataBytes(1, 99, Buffer.alloc(5))]],
      ['data beyond the request', () => [dataBytes(1, 106, Buffer.alloc(5))]],
      [
        'data of an oversize length',
        () => [chunkBytes(1, 1, Buffer.concat([Buffer.alloc(7), Buffer.from([100]), Buffer.alloc(4000)]))],
      ],
      ['offset beyond 2^53', () => [chunkBytes(1, 1, Buffer.alloc(20, 0xff))]],
      ['overlapping data', () => [dataBytes(1, 100, Buffer.alloc(6)), dataBytes(1, 105, Buffer.alloc(5))]],
      ['overlapping hole', () => [dataBytes(1, 100, Buffer.alloc(6)), holeBytes(1, 103, 2)]],
      ['empty hole', () => [holeBytes(1, 100, 0)]],
      ['hole beyond the request', () => [holeBytes(1, 100, 11)]],
      ['hole chunk of 11 bytes', () => [chunkBytes(1, 2, Buffer.alloc(11))]],
      [
        'done with a gap',
        () => [dataBytes(1, 100, Buffer.alloc(4)), dataBytes(1, 105, Buffer.alloc(5), { done: true })],
      ],
      ['done without data', () => [doneBytes(1)]],
      ['empty chunk that is not the last', () => [chunkBytes(1, 0, Buffer.alloc(0))]],
      ['empty chunk that is not empty', () => [chunkBytes(1, 0, Buffer.alloc(1), { done: true })]],
      ['status chunk for a read', () => [statusBytes(1, 7, [[1, 1]])]],
      ['unknown chunk type', () => [chunkBytes(1, 77, Buffer.alloc(4))]],
      ['error without an error', () => [errorBytes(1, 0)]],
      ['error chunk of 5 bytes', () => [chunkBytes(1, 0x8001, Buffer.alloc(5))]],
      [
        'error message longer than its chunk',
        () => [chunkBytes(1, 0x8001, Buffer.from([0, 0, 0, 5, 0, 9, 65]))],
      ],
      ['error chunk longer than any message', () => [chunkBytes(1, 0x8001, Buffer.alloc(70_000))]],
      ['error offset outside the request', () => [errorAtBytes(1, 5, 110)]],
    ];
    for (const [what, messages] of cases) {
      exchange = new Exchange();
      exchange.read(1, 100, 10);
      const fault = exchange.receive(...messages());
      expect([what, fault?.code]).toEqual([what, 'NBD_PROTOCOL']);
      expect(exchange.outcomes.get(1)).toBe('open');
    }
  });

  it('breaks off bad block status', () => {
    const cases: [string, () => Buffer[]][] = [
      ['no descriptor', () => [statusBytes(1, 7, [])]],
      ['half a descriptor', () => [chunkBytes(1, 5, Buffer.alloc(8))]],
      ['a context that was not agreed', () => [statusBytes(1, 8, [[1, 1]])]],
      ['one context twice', () => [statusBytes(1, 7, [[1, 1]]), statusBytes(1, 7, [[1, 1]])]],
      ['done without the context', () => [statusBytes(1, 9, [[1, 1]], { done: true })]],
      ['a simple reply', () => [simpleReplyBytes(1)]],
      [
        'an extent of no length',
        () => [
          statusBytes(1, 7, [
            [512, 0],
            [0, 1],
          ]),
        ],
      ],
    ];
    for (const [what, messages] of cases) {
      exchange = new Exchange();
      exchange.status(1, 0, 4096);
      expect([what, exchange.receive(...messages())?.code]).toEqual([what, 'NBD_PROTOCOL']);
    }
  });

  it('refuses structured replies that were not agreed', () => {
    exchange = new Exchange(false);
    exchange.read(1, 0, 10);
    expectBroken(doneBytes(1));
  });

  it('reads the same, however the stream is cut and the reply is put together', () => {
    const layout = fc.record({
      cuts: fc.uniqueArray(fc.integer({ min: 1, max: 199 }), { maxLength: 6 }),
      holes: fc.array(fc.boolean(), { minLength: 8, maxLength: 8 }),
      order: fc.array(fc.integer({ min: 0, max: 1000 }), { minLength: 8, maxLength: 8 }),
      fragments: fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 40 }),
      doneApart: fc.boolean(),
    });
    fc.assert(
      fc.property(layout, ({ cuts, holes, order, fragments, doneApart }) => {
        const content = Buffer.from(Array.from({ length: 200 }, (_, i) => i + 1));
        const ends = [...cuts.sort((a, b) => a - b), 200];
        const parts = ends.map((end, i) => ({
          start: ends[i - 1] ?? 0,
          end,
          hole: holes[i] === true,
          key: order[i] ?? 0,
        }));
        for (const { start, end, hole } of parts) if (hole) content.fill(0, start, end);
        parts.sort((a, b) => a.key - b.key);
        const exchanged = new Exchange();
        const into = exchanged.read(5, 4000, 200);
        const messages = parts.map(({ start, end, hole }, i) => {
          const done = !doneApart && i === parts.length - 1;
          return hole
            ? holeBytes(5, 4000 + start, end - start, { done })
            : dataBytes(5, 4000 + start, content.subarray(start, end), { done });
        });
        const stream = Buffer.concat(doneApart ? [...messages, doneBytes(5)] : messages);
        for (let at = 0, i = 0; at < stream.length; i += 1) {
          const size = fragments[i % fragments.length] ?? 1;
          exchanged.inlet.feed(stream.subarray(at, at + size));
          at += size;
        }
        expect(exchanged.outcomes.get(5)).toBe('ok');
        expect(Buffer.compare(into, content)).toBe(0);
      }),
      { numRuns: 300 },
    );
  });

  it('never fails with anything but NBD_PROTOCOL on garbage, and never writes outside the destination', () => {
    const good = Buffer.concat([
      dataBytes(1, 100, Buffer.alloc(4, 1)),
      holeBytes(1, 104, 4),
      dataBytes(1, 108, Buffer.alloc(2, 2), { done: true }),
    ]);
    const spoilt = fc.array(
      fc.tuple(fc.integer({ min: 0, max: good.length - 1 }), fc.integer({ min: 0, max: 255 })),
      { maxLength: 4 },
    );
    fc.assert(
      fc.property(spoilt, (changes) => {
        const stream = Buffer.from(good);
        for (const [at, value] of changes) stream[at] = value;
        const exchanged = new Exchange();
        const memory = new Uint8Array(30).fill(0xcc);
        const settle = (): void => undefined;
        exchanged.pending.set(1, pendingRead(100, memory.subarray(10, 20), settle));
        const fault = exchanged.receive(stream);
        expect([undefined, 'NBD_PROTOCOL']).toContain(fault?.code);
        expect([...memory.subarray(0, 10), ...memory.subarray(20)].every((byte) => byte === 0xcc)).toBe(true);
      }),
      { numRuns: 500 },
    );
  });
});
