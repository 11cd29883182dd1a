import { Fault } from '@casvault/contracts';
import { ManualClock, TestLogger } from '@casvault/testkit';
import fc from 'fast-check';
import { type EffectFailed, type Machine, type RuntimeEvent, type Woken } from './machine.js';
import { MemoryMachineStore } from './memory-store.js';
import { MachineRuntime, type MachineRuntimeOptions, type Perform } from './runtime.js';
import { type MachineStore } from './store.js';
import { FaultyMachineStore, type Fate } from './testing/index.js';

/** A ledger: every `add` must be written to the world; `close` wants a last word; a timer reminds. */
interface Ledger {
  readonly added: readonly string[];
  readonly written: readonly string[];
  readonly failed: readonly string[];
  readonly woken: number;
  readonly closed: boolean;
}
type LedgerEvent =
  | { type: 'add'; key: string }
  | { type: 'remind'; inMs: number }
  | { type: 'close' }
  | { type: 'written'; key: string }
  | RuntimeEvent<LedgerEffect>;
type LedgerEffect = { type: 'write'; key: string } | { type: 'say'; word: string };

const empty: Ledger = { added: [], written: [], failed: [], woken: 0, closed: false };
const ledger: Machine<Ledger, LedgerEvent, LedgerEffect> = {
  kind: 'ledger',
  step(state, event, now) {
    const before = state ?? empty;
    const next = (change: Partial<Ledger>, effects: LedgerEffect[] = [], wakeAt: Date | null = null) => {
      const after = { ...before, ...change };
      return { state: after, effects, wakeAt, done: after.closed };
    };
    switch (event.type) {
      case 'add':
        return next({ added: [...before.added, event.key] }, [{ type: 'write', key: event.key }]);
      case 'written':
        return next({ written: [...before.written, event.key] });
      case 'remind':
        return next({}, [], new Date(now.getTime() + event.inMs));
      case 'close':
        return next({ closed: true }, [{ type: 'say', word: 'closed' }]);
      case 'woken':
        return next({ woken: before.woken + 1 });
      case 'effectFailed': {
        const what = event.effect.type === 'write' ? event.effect.key : event.effect.word;
        return next({ failed: [...before.failed, `${what} ${event.fault.code}`] });
      }
    }
  },
};

const setUp = (
  perform: Perform<LedgerEvent, LedgerEffect>,
  options: Partial<MachineRuntimeOptions<Ledger, LedgerEvent, LedgerEffect>> = {},
) => {
  const clock = new ManualClock();
  const store: MachineStore = new MemoryMachineStore(clock);
  const logger = new TestLogger();
  const make = (over: MachineStore = store) =>
    new MachineRuntime<Ledger, LedgerEvent, LedgerEffect>({
      machine: ledger,
      store: over,
      perform,
      clock,
      logger,
      ...options,
    });
  return { clock, store, logger, make, runtime: make() };
};
const writes: Perform<LedgerEvent, LedgerEffect> = async (effect) =>
  effect.type === 'write' ? { type: 'written', key: effect.key } : null;

describe('the machine runtime', () => {
  it('performs effects after the step and feeds their result back', async () => {
    const { runtime } = setUp(writes);
    const state = await runtime.deliver('a', { type: 'add', key: 'k' });
    expect(state).toMatchObject({ added: ['k'], written: [] });
    expect(await runtime.runDue()).toBe(true);
    expect(await runtime.read('a')).toMatchObject({ added: ['k'], written: ['k'] });
    expect(await runtime.runDue()).toBe(false);
  });

  it('tells an operator what changed, once, and only after it is durable', async () => {
    const story = ({ added }: Ledger) => ({ entries: added.length });
    const { runtime, logger, make, store } = setUp(writes, { story });
    await runtime.deliver('a', { type: 'add', key: 'k' }, { messageId: 'm' });
    await runtime.deliver('a', { type: 'add', key: 'k' }, { messageId: 'm' });
    await runtime.deliver('a', { type: 'remind', inMs: 5_000 });
    const lost = make(new FaultyMachineStore(store, () => 'lost'));
    await expect(lost.deliver('a', { type: 'add', key: 'l' })).rejects.toThrow();
    expect(logger.lines).toEqual([
      {
        level: 'info',
        fields: { machine: 'ledger', instanceId: 'a', entries: 1 },
        message: 'ledger changed',
      },
    ]);
  });

  it('delivers a message once', async () => {
    const { runtime } = setUp(writes);
    await runtime.deliver('a', { type: 'add', key: 'k' }, { messageId: 'm' });
    const state = await runtime.deliver('a', { type: 'add', key: 'k' }, { messageId: 'm' });
    expect(state.added).toEqual(['k']);
  });

  it('wakes an instance at its time, and not again', async () => {
    const { runtime, clock } = setUp(writes);
    await runtime.deliver('a', { type: 'remind', inMs: 5_000 });
    await clock.advance(4_999);
    expect(await runtime.runDue()).toBe(false);
    await clock.advance(1);
    expect(await runtime.runDue()).toBe(true);
    expect(await runtime.runDue()).toBe(false);
    expect(await runtime.read('a')).toMatchObject({ woken: 1 });
  });

  it('sees on time what it made due itself, before its next regular look', async () => {
    let attempts = 0;
    const { runtime, clock } = setUp(
      async (effect) => {
        attempts += 1;
        if (attempts === 1) throw new Fault('DEPENDENCY_UNAVAILABLE', 'later');
        return effect.type === 'write' ? { type: 'written', key: effect.key } : null;
      },
      { pollMs: 60_000, retry: () => 400 },
    );
    runtime.start();
    await clock.advance(1);
    await runtime.deliver('a', { type: 'remind', inMs: 300 });
    await clock.advance(299);
    expect(await runtime.read('a')).toMatchObject({ woken: 0 });
    await clock.advance(1);
    expect(await runtime.read('a')).toMatchObject({ woken: 1 });
    await runtime.deliver('a', { type: 'add', key: 'k' });
    await clock.advance(399);
    expect(await runtime.read('a')).toMatchObject({ written: [] });
    await clock.advance(1);
    expect(await runtime.read('a')).toMatchObject({ written: ['k'] });
    await runtime.drain(0);
  });

  it('names an effect the same in every attempt and differently in every step', async () => {
    const seen: string[] = [];
    const { runtime, clock } = setUp(async (_effect, { effectId, attempt }) => {
      seen.push(`${effectId} ${attempt}`);
      if (attempt === 1) throw new Fault('DEPENDENCY_UNAVAILABLE', 'not now');
      return null;
    });
    await runtime.deliver('a', { type: 'add', key: 'k' });
    await runtime.runDue();
    await clock.advance(60_000);
    await runtime.runDue();
    await runtime.deliver('a', { type: 'add', key: 'k' });
    await runtime.runDue();
    expect(seen).toEqual(['ledger.a.0.0 1', 'ledger.a.0.0 2', 'ledger.a.1.0 1']);
  });

  it('retries an unavailable effect with growing delays, and tells the machine of any other fault', async () => {
    let attempts = 0;
    const { runtime, clock } = setUp(async (effect) => {
      if (effect.type === 'say') throw new Error('out of words');
      attempts += 1;
      if (attempts < 12) throw new Fault('DEPENDENCY_UNAVAILABLE', 'not now');
      throw new Fault('VM_NOT_FOUND', 'no such vm');
    });
    await runtime.deliver('a', { type: 'add', key: 'k' });
    await runtime.deliver('a', { type: 'close' });
    await runtime.runDue();
    for (let passes = 0; attempts < 12; passes++) {
      if (passes > 200) throw new Error(`only ${attempts} attempts`);
      await clock.advance(1_000);
      await runtime.runDue();
    }
    const seconds = (clock.now().getTime() - new Date('2026-01-01T00:00:00Z').getTime()) / 1_000;
    expect(seconds).toBeGreaterThan(40);
    expect(await runtime.read('a')).toMatchObject({ failed: ['closed BUG', 'k VM_NOT_FOUND'] });
  });

  it('follows the retry policy it was given', async () => {
    let attempts = 0;
    const { runtime } = setUp(
      async () => {
        attempts += 1;
        throw new Fault('CONFLICT', 'busy');
      },
      { retry: (_effect, { attempt }) => (attempt < 3 ? 0 : null) },
    );
    await runtime.deliver('a', { type: 'add', key: 'k' });
    while (await runtime.runDue());
    expect(attempts).toBe(3);
    expect(await runtime.read('a')).toMatchObject({ failed: ['k CONFLICT'] });
  });

  it('keeps the order of one type of effect while another type is stuck', async () => {
    const order: string[] = [];
    const { runtime } = setUp(async (effect) => {
      if (effect.type === 'say') throw new Fault('DEPENDENCY_UNAVAILABLE', 'speechless');
      order.push(effect.key);
      return null;
    });
    await runtime.deliver('a', { type: 'close' });
    for (const key of ['1', '2', '3', '4']) await runtime.deliver('a', { type: 'add', key });
    while (await runtime.runDue());
    expect(order).toEqual(['1', '2', '3', '4']);
  });

  it('performs no more effects at once than allowed', async () => {
    let [now, most] = [0, 0];
    const { runtime } = setUp(
      async () => {
        now += 1;
        most = Math.max(most, now);
        await new Promise((resolve) => setImmediate(resolve));
        now -= 1;
        return null;
      },
      { concurrency: 3 },
    );
    for (let n = 0; n < 20; n++) await runtime.deliver(`i${n}`, { type: 'add', key: 'k' });
    while (await runtime.runDue());
    expect(most).toBe(3);
  });

  it('runs by itself between start and drain, through outages of the store', async () => {
    let broken = false;
    const { make, clock, store, logger } = setUp(writes);
    const runtime = make(new FaultyMachineStore(store, () => (broken ? 'lost' : 'done')));
    runtime.start();
    await runtime.deliver('a', { type: 'add', key: '1' });
    await clock.advance(1_000);
    broken = true;
    await expect(runtime.deliver('a', { type: 'add', key: '2' })).rejects.toMatchObject({
      code: 'DEPENDENCY_UNAVAILABLE',
    });
    await clock.advance(20_000);
    broken = false;
    await runtime.deliver('a', { type: 'add', key: '3' });
    await clock.advance(20_000);
    await runtime.drain();
    expect(await runtime.read('a')).toMatchObject({ added: ['1', '3'], written: ['1', '3'] });
    expect(logger.lines.some(({ level }) => level === 'warn')).toBe(true);
  });

  it('gives an effect back that does not end within the drain', async () => {
    let attempts = 0;
    const { make, clock } = setUp(async (_effect, { signal }) => {
      attempts += 1;
      if (attempts === 1)
        await new Promise((_resolve, reject) =>
          signal.addEventListener('abort', () => reject(new Error('aborted'))),
        );
      return { type: 'written', key: 'k' };
    });
    const first = make();
    first.start();
    await first.deliver('a', { type: 'add', key: 'k' });
    await clock.advance(1_000);
    const drained = first.drain(5_000);
    await clock.advance(5_000);
    await drained;
    const second = make();
    await second.runDue();
    expect(attempts).toBe(2);
    expect(await second.read('a')).toMatchObject({ written: ['k'], failed: [] });
  });

  it('aborts an effect whose claim was lost, and drops its result', async () => {
    const signals: AbortSignal[] = [];
    let release: () => void = () => undefined;
    const { make, clock, store } = setUp(async (effect, { signal }) => {
      signals.push(signal);
      if (signals.length === 1) await new Promise<void>((resolve) => (release = resolve));
      return { type: 'written', key: effect.type === 'write' ? effect.key : '' };
    });
    const cutOff = make(
      new FaultyMachineStore(store, (call) => (call === 'renew' && signals.length < 2 ? 'lost' : 'done')),
    );
    await cutOff.deliver('a', { type: 'add', key: 'k' });
    const stuck = cutOff.runDue();
    await clock.advance(31_000);
    await make().runDue();
    await clock.advance(31_000);
    expect(signals[0]?.aborted).toBe(true);
    release();
    await stuck;
    expect(await cutOff.read('a')).toMatchObject({ written: ['k'] });
  });
});

/**
 * The promise of the runtime under any order of faults: calls of the store fail or lose their answers, performers fail,
 * processes vanish with everything in their memory. In the end every event that was acknowledged or repeated has stepped
 * its machine exactly once, and every effect was performed at least once with exactly one result.
 */
describe('crashes between any two steps', () => {
  const fates = fc.infiniteStream(
    fc.oneof(
      { weight: 6, arbitrary: fc.constant<Fate>('done') },
      { weight: 1, arbitrary: fc.constant<Fate>('lost') },
      { weight: 1, arbitrary: fc.constant<Fate>('answer lost') },
    ),
  );
  const moves = fc.array(fc.constantFrom('deliver', 'run', 'run', 'crash', 'pass time'), {
    minLength: 5,
    maxLength: 60,
  });

  it('lose nothing and double nothing', async () => {
    await fc.assert(
      fc.asyncProperty(moves, fates, async (script, fate) => {
        const world: string[] = [];
        let calm = false;
        const next = (): Fate => (calm ? 'done' : ((fate.next().value as Fate | undefined) ?? 'done'));
        const { clock, store, make } = setUp(async (effect) => {
          const [before, after] = [next(), next()];
          if (before === 'lost') throw new Fault('DEPENDENCY_UNAVAILABLE', 'not done');
          if (effect.type === 'write') world.push(effect.key);
          if (after === 'answer lost') throw new Fault('DEPENDENCY_UNAVAILABLE', 'done, but unheard of');
          return effect.type === 'write' ? { type: 'written', key: effect.key } : null;
        });
        /** A dead process does nothing more: its calls never return. */
        const process = () => {
          let dead = false;
          const faulty = new FaultyMachineStore(store, next);
          const mortal = new Proxy(faulty, {
            get: (target, name): unknown => {
              const method = Reflect.get(target, name) as (...args: unknown[]) => Promise<unknown>;
              return (...args: unknown[]): Promise<unknown> =>
                dead ? new Promise(() => undefined) : Promise.resolve(method.apply(target, args));
            },
          });
          return { runtime: make(mortal), die: () => (dead = true) };
        };
        const sent: string[] = [];
        const unacknowledged = new Map<string, string>();
        let alive = process();
        const deliver = async (key: string, messageId: string) => {
          try {
            await alive.runtime.deliver('a', { type: 'add', key }, { messageId });
            unacknowledged.delete(messageId);
          } catch {
            unacknowledged.set(messageId, key);
          }
        };
        const run = async (crashMidway: boolean) => {
          let over = false;
          const running = alive.runtime.runDue().then(
            () => (over = true),
            () => (over = true),
          );
          for (let n = 0; n < 3 && !over; n++) await clock.advance(7_000);
          if (!over && crashMidway) return;
          for (let n = 0; n < 1_000 && !over; n++) await clock.advance(7_000);
          if (!over) throw new Error('stuck');
          await running;
        };
        for (const move of script) {
          if (move === 'deliver') {
            const key = `k${sent.length}`;
            sent.push(key);
            await deliver(key, `m-${key}`);
            for (const [messageId, again] of unacknowledged) await deliver(again, messageId);
          }
          if (move === 'run') await run(false);
          if (move === 'pass time') await clock.advance(40_000);
          if (move === 'crash') {
            await run(true);
            alive.die();
            alive = process();
          }
        }
        calm = true;
        for (const [messageId, key] of unacknowledged) await deliver(key, messageId);
        for (let n = 0; n < sent.length + 5; n++) {
          await clock.advance(60_000);
          await run(false);
        }
        const state = (await alive.runtime.read('a')) ?? empty;
        expect([...state.added].sort()).toEqual([...sent].sort());
        expect([...state.written].sort()).toEqual([...sent].sort());
        expect(state.failed).toEqual([]);
        expect(new Set(world)).toEqual(new Set(sent));
      }),
      { numRuns: 200 },
    );
  });
});

// A machine must accept the runtime's own events: leaving them out of E does not compile.
type Deaf = Machine<Ledger, { type: 'add'; key: string }, LedgerEffect>;
type Hears<M> =
  M extends Machine<infer _S, infer E, infer F> ? (Woken | EffectFailed<F> extends E ? true : false) : never;
const deaf: Hears<Deaf> = false;
const hears: Hears<typeof ledger> = true;
void [deaf, hears];
