import { newId, type OpeningId, type TransferId, type WriterId } from '@casvault/contracts';
import { PoolWriter, type EarlierWriter } from './pool-writer.js';
import { type ControllerClient } from './transfer-lease.js';

const earlierOf = (openingId: OpeningId): EarlierWriter => ({ writerId: newId<WriterId>(), openingId });

describe('the writer of a pool', () => {
  const transferId = newId<TransferId>();
  const opening = newId<OpeningId>();
  const [ours, strange] = [earlierOf(opening), earlierOf(newId<OpeningId>())];
  const [first, second] = [newId<WriterId>(), newId<WriterId>()];
  let asked: unknown[];
  let writer: PoolWriter;
  beforeEach(() => {
    asked = [];
    const request = (async (_query: unknown, named: unknown) => {
      asked.push(named);
      return Promise.resolve({
        writerId: second,
        earlierWriters: [ours, strange, { writerId: first, openingId: opening }],
      });
    }) as unknown as ControllerClient['request'];
    const lease = {
      epoch: 3,
      ask: <T>(send: (options: { signal: AbortSignal; deadlineMs: number }) => Promise<T>): Promise<T> =>
        send({ signal: AbortSignal.timeout(60_000), deadlineMs: 1_000 }),
    };
    const claim = { writerId: first, earlierWriters: [ours, strange] };
    writer = new PoolWriter(
      { transferId, claim, lease, tools: { client: { request } } },
      ({ openingId }) => openingId === opening,
    );
  });

  it('takes over what counts of those before it', () => {
    expect([writer.id, writer.earlier]).toEqual([first, [ours.writerId]]);
  });

  it('stays for another attempt as long as it has no packs', async () => {
    await writer.handOver();
    expect([writer.id, asked]).toEqual([first, []]);
  });

  it('hands over once it may have packs, to one that takes them over', async () => {
    writer.use();
    await writer.handOver();
    expect([writer.id, writer.earlier]).toEqual([second, [ours.writerId, first]]);
    expect(asked).toEqual([{ transferId, epoch: 3 }]);
    await writer.handOver();
    expect(asked).toHaveLength(1);
  });

  it('begins anew with nothing of before', async () => {
    writer.use();
    const anew = newId<WriterId>();
    writer.beginAnew(anew);
    await writer.handOver();
    expect([writer.id, writer.earlier, asked]).toEqual([anew, [], []]);
  });
});
