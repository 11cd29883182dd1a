import { Fault, newId, type RunItemId } from '@casvault/contracts';
import fc from 'fast-check';
import {
  admit,
  hasItsTurn,
  isTerminal,
  runLimits,
  type ItemEnd,
  type RunState,
  type WaitingItem,
} from './run.js';
import { runMachine, type RunEffect, type RunEvent } from './run.machine.js';

const items = (hosts: readonly (string | null)[]): WaitingItem[] =>
  hosts.map((host) => ({ itemId: newId<RunItemId>(), host }));

class Driver {
  now = new Date('2026-01-01T00:00:00Z');
  state: RunState | null = null;
  wakeAt: Date | null = null;
  effects: RunEffect[] = [];

  constructor(
    readonly items: readonly WaitingItem[],
    parallel = { vms: 2, vmsPerHost: 2 },
  ) {
    this.send({ type: 'begin', items, parallel, isStopped: false });
  }
  send(event: RunEvent): RunState {
    const step = runMachine.step(this.state, event, this.now);
    this.state = JSON.parse(JSON.stringify(step.state)) as RunState;
    this.wakeAt = step.wakeAt;
    this.effects.push(...step.effects);
    return this.state;
  }
  get present(): RunState {
    if (!this.state) throw new Error('not begun');
    return this.state;
  }
  heard(itemId: RunItemId, end: ItemEnd | null): RunState {
    return this.send({ type: 'heard', itemId, at: this.now.toISOString(), end });
  }
  pass(ms: number): void {
    this.now = new Date(this.now.getTime() + ms);
  }
  wake(): void {
    if (this.wakeAt && this.wakeAt <= this.now) this.send({ type: 'woken' });
  }
  endAll(end: ItemEnd): void {
    while (this.present.running[0]) this.heard(this.present.running[0].itemId, end);
  }
  asked(isFirst: boolean): RunItemId[] {
    return this.effects.flatMap((effect) =>
      effect.type === 'ask' && effect.isFirst === isFirst ? [effect.itemId] : [],
    );
  }
}

describe('R15: runs of a group', () => {
  it.each([
    ['the oldest begins', 0, 1, true],
    ['the next queues', 1, 1, false],
    ['a higher limit lets it in', 1, 2, true],
    ['without a limit all begin', 1000, undefined, true],
  ] as const)('R15: %s', (_what, older, limit, begins) => {
    expect(hasItsTurn(older, limit)).toBe(begins);
  });

  it('R15: stopped while it queues, nothing of it is asked for', () => {
    const now = new Date('2026-01-01T00:00:00Z');
    const parallel = { vms: 2, vmsPerHost: 2 };
    const event = { type: 'begin', items: items(['a', 'b']), parallel, isStopped: true } as const;
    const { state, effects } = runMachine.step(null, event, now);
    expect(state).toMatchObject({ state: 'stopped', ended: { stopped: 2 } });
    expect(effects.map(({ type }) => type)).toEqual(['endItems', 'publish']);
  });
});

describe('run', () => {
  it('admits by both limits and passes over the VMs of a busy host', () => {
    const all = items(['a', 'a', 'b', null, 'a']);
    const admitted = admit({ waiting: all, running: [], parallel: { vms: 3, vmsPerHost: 1 } });
    expect(admitted).toEqual([all[0], all[2], all[3]]);
  });

  it('admits the next when one ends, and succeeds when all have', () => {
    const run = new Driver(items(['a', 'a', 'b']));
    const [first, second, third] = run.items;
    expect(run.asked(true)).toEqual([first?.itemId, second?.itemId]);
    run.heard(first!.itemId, 'succeeded');
    expect(run.asked(true)).toEqual([first?.itemId, second?.itemId, third?.itemId]);
    run.endAll('succeeded');
    expect(run.present).toMatchObject({ state: 'succeeded', finishedAt: run.now.toISOString() });
  });

  it.each([
    [['succeeded', 'failed'], 'partly failed'],
    [['failed', 'failed'], 'failed'],
    [['succeeded', 'succeeded'], 'succeeded'],
  ] as const)('items that %j make a run that %s', (ends, verdict) => {
    const run = new Driver(items(['a', 'b']));
    ends.forEach((end, i) => run.heard(run.items[i]!.itemId, end));
    expect(run.present.state).toBe(verdict);
  });

  it('stops the waiting at once and the running through snapshot-engine', () => {
    const run = new Driver(items(['a', 'b', 'c']));
    run.send({ type: 'stop' });
    expect(run.present).toMatchObject({ state: 'stopping', waiting: [], ended: { stopped: 1 } });
    expect(run.effects.filter(({ type }) => type === 'stopItem').length).toBe(2);
    expect(run.effects.find(({ type }) => type === 'endItems')).toMatchObject({
      itemIds: [run.items[2]?.itemId],
      end: 'stopped',
    });
    run.heard(run.items[0]!.itemId, 'stopped');
    run.heard(run.items[1]!.itemId, 'succeeded');
    expect(run.present.state).toBe('stopped');
  });

  it('asks again for items, tells them to stop again, and gives up what is silent for too long', () => {
    const run = new Driver(items(['a', 'b']));
    run.pass(runLimits.askAgainMs);
    run.wake();
    expect(run.asked(false)).toEqual(run.items.map(({ itemId }) => itemId));
    run.send({ type: 'stop' });
    run.pass(runLimits.askAgainMs);
    run.wake();
    expect(run.effects.filter(({ type }) => type === 'stopItem').length).toBe(4);
    run.pass(runLimits.silenceMs - 10_000);
    run.heard(run.items[0]!.itemId, null);
    run.pass(20_000);
    run.wake();
    expect(run.present.running.map(({ itemId }) => itemId)).toEqual([run.items[0]?.itemId]);
    expect(run.present.ended.failed).toBe(1);
  });

  it('fails an item that cannot be asked for', () => {
    const run = new Driver(items(['a']));
    const effect = { type: 'ask', itemId: run.items[0]!.itemId, isFirst: true } as const;
    run.send({ type: 'effectFailed', effect, fault: new Fault('BUG', 'wrong').toJSON() });
    expect(run.present.state).toBe('failed');
  });
});

const ends: readonly (ItemEnd | null)[] = ['succeeded', 'failed', 'stopped', null, null];

const check = (run: Driver, before: RunState): void => {
  const { state, waiting, running, ended, parallel } = run.present;
  if (isTerminal(before.state)) expect(run.present).toEqual(before);
  const sum = ended.succeeded + ended.failed + ended.stopped;
  expect(waiting.length + running.length + sum).toBe(run.items.length);
  expect(isTerminal(state)).toBe(waiting.length + running.length === 0);
  expect(run.wakeAt !== null).toBe(!isTerminal(state));
  expect(running.length).toBeLessThanOrEqual(parallel.vms);
  for (const host of ['a', 'b'])
    expect(running.filter((item) => item.host === host).length).toBeLessThanOrEqual(parallel.vmsPerHost);
};

describe('run, with news doubled, late and lost', () => {
  it('keeps to its limits, counts every item once and always ends', () => {
    const hosts = fc.array(fc.constantFrom('a', 'b', null), { minLength: 1, maxLength: 12 });
    const limits = fc.record({
      vms: fc.integer({ min: 1, max: 4 }),
      vmsPerHost: fc.integer({ min: 1, max: 3 }),
    });
    const script = fc.array(fc.tuple(fc.nat(9), fc.nat(11), fc.nat(4)), { maxLength: 80 });
    fc.assert(
      fc.property(hosts, limits, script, (where, parallel, things) => {
        const run = new Driver(items(where), parallel);
        for (const [what, which, end] of things) {
          const before = run.present;
          const itemId = run.items[which % run.items.length]!.itemId;
          if (what <= 5 && run.asked(true).includes(itemId)) run.heard(itemId, ends[end] ?? null);
          if (what === 6 || what === 7) run.pass(which * 2_000);
          if (what === 8) run.wake();
          if (what === 9 && which === 0) run.send({ type: 'stop' });
          check(run, before);
        }
        for (let i = 0; i < 100 && run.wakeAt; i++) {
          run.pass(runLimits.silenceMs);
          run.wake();
        }
        expect(isTerminal(run.present.state)).toBe(true);
        expect(new Set(run.asked(true)).size).toBe(run.asked(true).length);
      }),
      { numRuns: 500 },
    );
  });
});
