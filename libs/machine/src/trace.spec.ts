import { Fault } from '@casvault/contracts';
import { ManualClock, recordSpans, TestLogger } from '@casvault/testkit';
import { type Machine, type RuntimeEvent } from './machine.js';
import { MemoryMachineStore } from './memory-store.js';
import { MachineRuntime, type Perform } from './runtime.js';
import { currentTraceparent } from './trace.js';

type Event = { type: 'begin' } | { type: 'asked' } | RuntimeEvent<Effect>;
type Effect = { type: 'ask' } | { type: 'remind' };

/** Asks when it begins, and again whenever its timer fires, ten seconds after every event. */
const asker: Machine<number, Event, Effect> = {
  kind: 'asker',
  step: (state, event, now) => {
    const effects: Effect[] =
      event.type === 'begin' ? [{ type: 'ask' }] : event.type === 'woken' ? [{ type: 'remind' }] : [];
    const wakeAt = new Date(now.getTime() + 10_000);
    return { state: (state ?? 0) + 1, effects, wakeAt, done: false };
  },
};
const traceOf = (traceparent: string | null): string | null => traceparent?.split('-')[1] ?? null;

describe('the trace of a machine', () => {
  const recorder = recordSpans();
  const setUp = (perform: Perform<Event, Effect> = async () => null) => {
    const clock = new ManualClock();
    const store = new MemoryMachineStore(clock);
    const seen: { effect: string; traceId: string | null }[] = [];
    const runtime = new MachineRuntime<number, Event, Effect>({
      machine: asker,
      store,
      clock,
      logger: new TestLogger(),
      perform: async (effect, context) => {
        seen.push({ effect: effect.type, traceId: traceOf(currentTraceparent()) });
        return perform(effect, context);
      },
    });
    return { runtime, clock, seen };
  };

  it('is that of its beginning in all its effects, also in those that a timer decides', async () => {
    const { runtime, clock, seen } = setUp();
    const { traceId } = await recorder.inTrace(() => runtime.deliver('a', { type: 'begin' }));
    await runtime.runDue();
    for (let woken = 0; woken < 2; woken += 1) {
      await clock.advance(10_000);
      await runtime.runDue();
    }
    expect(seen).toEqual([
      { effect: 'ask', traceId },
      { effect: 'remind', traceId },
      { effect: 'remind', traceId },
    ]);
    const timer = recorder.span('asker woken');
    expect(timer.spanContext().traceId).toBe(traceId);
    expect(recorder.span('asker remind').parentSpanContext?.spanId).toBe(timer.spanContext().spanId);
  });

  it('is that of the event for what another event decides', async () => {
    const { runtime, seen } = setUp();
    await recorder.inTrace(() => runtime.deliver('b', { type: 'begin' }));
    const { traceId } = await recorder.inTrace(() => runtime.deliver('b', { type: 'begin' }));
    while (await runtime.runDue());
    expect(seen[1]).toEqual({ effect: 'ask', traceId });
  });

  it('holds every attempt at an effect', async () => {
    const { runtime, clock, seen } = setUp(async (_effect, { attempt }) => {
      if (attempt === 1) throw new Fault('DEPENDENCY_UNAVAILABLE', 'not now');
      return { type: 'asked' };
    });
    const { traceId } = await recorder.inTrace(() => runtime.deliver('c', { type: 'begin' }));
    await runtime.runDue();
    await clock.advance(5_000);
    await runtime.runDue();
    expect(seen).toEqual([
      { effect: 'ask', traceId },
      { effect: 'ask', traceId },
    ]);
  });

  it('is a new one for what began in none', async () => {
    const { runtime, clock, seen } = setUp();
    await runtime.deliver('d', { type: 'begin' });
    await clock.advance(10_000);
    await runtime.runDue();
    expect(seen.map(({ effect }) => effect)).toEqual(['ask', 'remind']);
    expect(new Set(seen.map(({ traceId }) => traceId)).size).toBe(2);
  });
});
