import { Fault } from '@casvault/contracts';
import { RestingThreads } from '../src/resting-threads.js';
import { Thread } from '../src/thread-calls.js';
import { until } from '@casvault/testkit';
import { faultOf } from './engine.js';
import { type OddCalls } from './odd-calls.js';

const file = new URL('./odd-thread.js', import.meta.url);
const started: Thread<OddCalls>[] = [];
const start = (signal = new AbortController().signal, resting?: RestingThreads): Thread<OddCalls> => {
  const thread = new Thread<OddCalls>({ file, kind: 'odd', data: null, signal, resting });
  started.push(thread);
  return thread;
};
afterEach(async () => {
  for (const thread of started.splice(0)) await thread.end();
});

it('answers calls that overlap', async () => {
  const thread = start();
  expect(await Promise.all([thread.call('double', 1), thread.call('double', 2)])).toEqual([2, 4]);
});

it('an abort reaches what runs in the thread, also one that came before it began', async () => {
  const controller = new AbortController();
  const waiting = faultOf(start(controller.signal).call('wait', null));
  controller.abort(new Fault('LEASE_LOST', 'gone'));
  expect(await waiting).toMatchObject({ code: 'LEASE_LOST' });
  expect(await faultOf(start(AbortSignal.abort()).call('stuck', null))).toMatchObject({ code: 'STOPPED' });
});

it('a thread that does not react to an abort is ended by force', async () => {
  const controller = new AbortController();
  const stuck = faultOf(start(controller.signal).call('stuck', null));
  controller.abort();
  expect(await stuck).toMatchObject({ code: 'STOPPED' });
});

it('a thread that dies fails its calls, and those that follow', async () => {
  const thread = start();
  const stuck = faultOf(thread.call('stuck', null));
  expect(await faultOf(thread.call('die', null))).toMatchObject({ code: 'BUG' });
  expect(await stuck).toMatchObject({ code: 'BUG' });
  expect(await faultOf(thread.call('double', 1))).toMatchObject({ code: 'BUG' });
});

describe('threads that rest', () => {
  const selfOf = async (resting: RestingThreads): Promise<number> => {
    const thread = start(undefined, resting);
    const self = await thread.call('self', null);
    await thread.end();
    return self;
  };

  it('are taken up again, at most so many', async () => {
    const resting = new RestingThreads({ max: 1 });
    const first = await selfOf(resting);
    expect(await selfOf(resting)).toBe(first);
    const both = [start(undefined, resting), start(undefined, resting)];
    const selves = [await both[0]!.call('self', null), await both[1]!.call('self', null)];
    expect(selves[0]).toBe(first);
    expect(selves[1]).not.toBe(first);
    for (const thread of both) await thread.end();
    expect(await selfOf(resting)).toBe(first);
    await resting.close();
    expect(await selfOf(resting)).not.toBe(first);
  });

  it('are started ahead, no more than asked for and than there is room', async () => {
    const resting = new RestingThreads({ max: 2 });
    resting.warm(file, 1);
    resting.warm(file, 1);
    expect(resting.count).toBe(1);
    const first = await selfOf(resting);
    expect(resting.count).toBe(1);
    expect(await selfOf(resting)).toBe(first);
    resting.warm(file, 5);
    expect(resting.count).toBe(2);
    await resting.close();
    resting.warm(file, 1);
    expect(resting.count).toBe(0);
  });

  it('are not those that were aborted or may be stuck', async () => {
    const resting = new RestingThreads({ max: 2 });
    const controller = new AbortController();
    const aborted = start(controller.signal, resting);
    const first = await aborted.call('self', null);
    controller.abort();
    await aborted.end();
    const stuck = start(undefined, resting);
    const second = await stuck.call('self', null);
    const call = faultOf(stuck.call('stuck', null));
    await stuck.end();
    expect(await call).toMatchObject({ code: 'BUG' });
    expect([first, second]).not.toContain(await selfOf(resting));
    await resting.close();
  });

  it('end after a while', async () => {
    const resting = new RestingThreads({ max: 2, restMs: 50 });
    const first = await selfOf(resting);
    await until(() => resting.count === 0);
    expect(await selfOf(resting)).not.toBe(first);
    await resting.close();
  });
});
