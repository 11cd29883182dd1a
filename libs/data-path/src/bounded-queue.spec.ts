import { BoundedQueue } from './bounded-queue.js';

it('hands everything on in order; the producer is never more than its capacity ahead', async () => {
  const queue = new BoundedQueue<number>(3);
  let put = 0;
  const producer = (async () => {
    for (; put < 50; put += 1) await queue.put(put);
    queue.close();
  })();
  const taken: number[] = [];
  for (let item = await queue.take(); item !== null; item = await queue.take()) {
    taken.push(item);
    await new Promise(setImmediate);
    expect(put - taken.length).toBeLessThanOrEqual(4);
  }
  await producer;
  expect(taken).toEqual(Array.from({ length: 50 }, (_, i) => i));
});

it('ends for all consumers when it is closed', async () => {
  const queue = new BoundedQueue<number>(1);
  const waiting = [queue.take(), queue.take()];
  queue.close();
  expect(await Promise.all(waiting)).toEqual([null, null]);
  expect(await queue.take()).toBeNull();
});

it('fails for everybody who waits and everybody who comes', async () => {
  const empty = new BoundedQueue<number>(0);
  const taking = empty.take();
  empty.fail(new Error('gone'));
  await expect(taking).rejects.toThrow('gone');
  await expect(empty.put(1)).rejects.toThrow('gone');
  const full = new BoundedQueue<number>(0);
  const putting = full.put(1);
  full.fail(new Error('gone'));
  await expect(putting).rejects.toThrow('gone');
  await expect(full.take()).rejects.toThrow('gone');
});
