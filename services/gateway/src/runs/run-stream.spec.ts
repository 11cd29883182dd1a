import { Fault, runDetailSchema, type RunDetail, type RunState } from '@casvault/contracts';
import { ManualClock } from '@casvault/testkit';
import * as examples from '../api/examples.js';
import { RunFeed } from './run-feed.js';
import { streamRun, type RunStreamOptions } from './run-stream.js';

const run = (doneBytes: number, state: RunState = 'running'): RunDetail =>
  runDetailSchema.parse({ ...examples.runDetail, doneBytes, state });
const runId = run(0).id;
const soon = () => new Promise((resolve) => setImmediate(resolve));

describe('a stream of a run', () => {
  const setUp = (changes: Partial<RunStreamOptions> = {}) => {
    const feed = new RunFeed();
    const clock = new ManualClock();
    const stop = new AbortController();
    const events = streamRun({
      runId,
      feed,
      read: async () => run(1),
      stillAllowed: async () => undefined,
      clock,
      signal: stop.signal,
      heartbeatMs: 1_000,
      ...changes,
    });
    return { feed, clock, stop, events };
  };
  const done = { done: true, value: undefined };
  const event = (doneBytes: number, state?: RunState) => ({
    done: false,
    value: { event: 'run', data: run(doneBytes, state) },
  });

  it('begins with the present state, sends changes, and ends with the run', async () => {
    const { feed, events } = setUp();
    expect(await events.next()).toEqual(event(1));
    feed.publish(run(2));
    expect(await events.next()).toEqual(event(2));
    const next = events.next();
    await soon();
    feed.publish(run(3, 'partly failed'));
    expect(await next).toEqual(event(3, 'partly failed'));
    expect(await events.next()).toEqual({
      done: false,
      value: { event: 'end', data: { state: 'partly failed' } },
    });
    expect(await events.next()).toEqual(done);
    expect(feed.size).toBe(0);
  });

  it('loses no change that happens while the state is read', async () => {
    const feed = new RunFeed();
    const { events } = setUp({
      feed,
      read: async () => {
        feed.publish(run(2, 'succeeded'));
        return run(1);
      },
    });
    expect(await events.next()).toEqual(event(1));
    expect(await events.next()).toEqual(event(2, 'succeeded'));
  });

  it('gives a slow reader the newest state only, and nothing of other runs', async () => {
    const { feed, events } = setUp();
    await events.next();
    for (let doneBytes = 2; doneBytes < 100; doneBytes += 1) feed.publish(run(doneBytes));
    feed.publish(runDetailSchema.parse({ ...run(500), id: examples.ids.job }));
    expect(await events.next()).toEqual(event(99));
  });

  it('reads anew at each heartbeat: a lost message costs no more', async () => {
    let present = run(1);
    const { clock, events } = setUp({ read: async () => present });
    await events.next();
    const quiet = events.next();
    await soon();
    await clock.advance(1_000);
    expect(await quiet).toEqual({ done: false, value: { event: null, data: 'heartbeat' } });
    present = run(7, 'failed');
    const found = events.next();
    await soon();
    await clock.advance(1_000);
    expect(await found).toEqual(event(7, 'failed'));
  });

  it('outlives a scheduler that does not answer', async () => {
    let calls = 0;
    const { clock, events } = setUp({
      read: async () => {
        if ((calls += 1) > 1) throw new Fault('DEPENDENCY_UNAVAILABLE', 'away');
        return run(1);
      },
    });
    await events.next();
    const quiet = events.next();
    await soon();
    await clock.advance(1_000);
    expect(await quiet).toMatchObject({ value: { event: null } });
  });

  it.each([
    ['UNAUTHENTICATED', true],
    ['DEPENDENCY_UNAVAILABLE', false],
  ] as const)('when the token is asked for again and %s comes: ends %s', async (code, ends) => {
    const { clock, feed, events } = setUp({
      stillAllowed: async () => {
        throw new Fault(code, 'no');
      },
    });
    await events.next();
    const next = events.next();
    await soon();
    await clock.advance(1_000);
    expect((await next).done === true).toBe(ends);
    await events.return(undefined);
    expect(feed.size).toBe(0);
  });

  it('ends at once when the client or the gateway leaves', async () => {
    const { stop, feed, events } = setUp();
    await events.next();
    const next = events.next();
    await soon();
    stop.abort();
    expect(await next).toEqual(done);
    expect(feed.size).toBe(0);
  });

  it('fails as a whole when there is no such run, and follows nothing', async () => {
    const { feed, events } = setUp({
      read: async () => {
        throw new Fault('NOT_FOUND', 'no run has this id');
      },
    });
    await expect(events.next()).rejects.toMatchObject({ code: 'NOT_FOUND' });
    expect(feed.size).toBe(0);
  });

  it('is refused beyond the bound of streams', () => {
    const feed = new RunFeed(1);
    const leave = feed.follow(runId, () => undefined);
    expect(() => feed.follow(runId, () => undefined)).toThrow('already has 1 open event streams');
    leave();
    leave();
    expect(feed.size).toBe(0);
  });
});
