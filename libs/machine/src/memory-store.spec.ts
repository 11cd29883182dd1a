import { ManualClock } from '@casvault/testkit';
import { MemoryMachineStore } from './memory-store.js';
import { type SavedStep } from './store.js';
import { machineStoreConformance } from './testing/index.js';

machineStoreConformance('memory', async () => {
  const clock = new ManualClock();
  return { store: new MemoryMachineStore(clock), pass: (ms) => clock.advance(ms) };
});

describe('a memory store for simulators', () => {
  const setUp = (options = {}) => {
    const clock = new ManualClock();
    const store = new MemoryMachineStore(clock, options);
    const at = (ms: number) => new Date(clock.now().getTime() + ms);
    const save = (step: Partial<SavedStep>) =>
      store.apply(
        'k',
        'a',
        {},
        () => ({ state: {}, traceparent: null, effects: [], wakeAt: null, done: false, ...step }),
        clock.now(),
      );
    const effect = (effectId: string) => ({ effectId, effect: {}, lane: 'l', traceparent: null });
    return { clock, store, at, save, effect };
  };

  it('says when there is something to do: a timer by its reader’s clock, an effect that is first in its lane', async () => {
    const { clock, store, at, save, effect } = setUp();
    const now = clock.now().getTime();
    expect(store.nextDue(0)).toBeNull();
    await save({ wakeAt: at(5_000) });
    expect(store.nextDue(0)).toBe(now + 5_000);
    expect(store.nextDue(2_000)).toBe(now + 3_000);
    await save({ effects: [effect('1'), effect('2')] });
    expect(store.nextDue(0)).toBe(now);
    await store.claim('k', 1, 7_000);
    expect(store.nextDue(0)).toBe(now + 7_000);
  });

  it('projects each step once and shares values if told to', async () => {
    const seen: unknown[] = [];
    const { store, save } = setUp({ shares: true, project: (step: unknown) => seen.push(step) });
    const state = { list: [1] };
    await save({ state });
    expect(seen).toMatchObject([{ kind: 'k', id: 'a', before: null, after: state }]);
    expect(await store.read('k', 'a')).toBe(state);
  });
});
