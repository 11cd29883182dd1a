import { Fault } from '@casvault/contracts';
import { Thread } from '../src/thread-calls.js';
import { faultOf } from './engine.js';
import { type OddCalls } from './odd-calls.js';

const file = new URL('./odd-thread.js', import.meta.url);
const started: Thread<OddCalls>[] = [];
const start = (signal = new AbortController().signal): Thread<OddCalls> => {
  const thread = new Thread<OddCalls>(file, null, signal);
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
