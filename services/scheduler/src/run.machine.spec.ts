import { Fault, newId, type FaultCode, type Retry, type RunItemId } from '@casvault/contracts';
import fc from 'fast-check';
import {
  admit,
  hasItsTurn,
  isTerminal,
  itemSteps,
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
    retry: Retry | null = null,
  ) {
    this.send({ type: 'begin', items, failed: 0, parallel, retry, isStopped: false });
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
  heard(itemId: RunItemId, end: ItemEnd | null, attempt = 1, code: FaultCode = 'POOL_FULL'): RunState {
    const fault = end === 'failed' ? new Fault(code, 'why').toJSON() : null;
    return this.send({ type: 'heard', itemId, attempt, at: this.now.toISOString(), end, fault });
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
  wasAsked(itemId: RunItemId, attempt: number): boolean {
    return this.effects.some(
      (effect) => effect.type === 'ask' && effect.itemId === itemId && effect.attempt === attempt,
    );
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
    const all = { items: items(['a', 'b']), failed: 0, parallel, retry: null };
    const event = { type: 'begin', ...all, isStopped: true } as const;
    const { state, effects } = runMachine.step(null, event, now);
    expect(state).toMatchObject({ state: 'stopped', ended: { stopped: 2 } });
    expect(effects.map(({ type }) => type)).toEqual(['endItems', 'publish']);
  });
});

describe('run', () => {
  it('admits by both limits and passes over the VMs of a busy host', () => {
    const all = items(['a', 'a', 'b', null, 'a']);
    const parallel = { vms: 3, vmsPerHost: 1 };
    const admitted = admit({ waiting: all, running: [], parallel }, new Date(0));
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

  it('asks again for items, and gives up what is silent for too long', () => {
    const run = new Driver(items(['a', 'b']));
    run.pass(runLimits.askAgainMs);
    run.wake();
    expect(run.asked(false)).toEqual(run.items.map(({ itemId }) => itemId));
    run.pass(runLimits.silenceMs - 10_000);
    run.heard(run.items[0]!.itemId, null);
    run.pass(20_000);
    run.wake();
    expect(run.present.running.map(({ itemId }) => itemId)).toEqual([run.items[0]?.itemId]);
    expect(run.present.ended.failed).toBe(1);
  });

  it('fails an item that cannot be asked for', () => {
    const run = new Driver(items(['a']));
    const effect = { type: 'ask', itemId: run.items[0]!.itemId, attempt: 1, isFirst: true } as const;
    run.send({ type: 'effectFailed', effect, fault: new Fault('BUG', 'wrong').toJSON() });
    expect(run.present.state).toBe('failed');
  });
});

describe('run: a stop that a platform or a data-mover does not follow', () => {
  const stopped = () => {
    const run = new Driver(items(['a', 'b', 'c']));
    run.send({ type: 'stop' });
    return run;
  };
  const stops = (run: Driver) => run.effects.filter(({ type }) => type === 'stopItem').length;

  it('is over within ten seconds all the same, with a second for the timer', () => {
    const run = stopped();
    run.heard(run.items[0]!.itemId, null);
    const wait = (run.wakeAt?.getTime() ?? Infinity) - run.now.getTime();
    expect(wait).toBeLessThanOrEqual(9_000);
    run.pass(wait);
    run.wake();
    expect(run.present).toMatchObject({ state: 'stopped', ended: { stopped: 3 }, running: [] });
    const ends = run.effects.filter((effect) => effect.type === 'endItems').at(-1);
    expect(ends).toMatchObject({ end: 'stopped', phase: 'cleaning', fault: { code: 'STOPPED' } });
  });

  it('tells what it left to stop until it has, and takes nothing back', () => {
    const run = stopped();
    run.pass(runLimits.stopWithinMs);
    run.wake();
    const over = run.present;
    expect(stops(run)).toBe(2);
    run.pass(runLimits.askAgainMs);
    run.wake();
    expect(stops(run)).toBe(4);
    run.heard(run.items[0]!.itemId, 'succeeded');
    run.pass(runLimits.askAgainMs);
    run.wake();
    expect(stops(run)).toBe(5);
    run.heard(run.items[1]!.itemId, 'stopped');
    expect(run.wakeAt).toBeNull();
    expect(run.present).toEqual({ ...over, leaving: [] });
  });

  it('does not tell for ever: what is silent for longer than any deadline of snapshot-engine is gone', () => {
    const run = stopped();
    run.pass(runLimits.stopWithinMs);
    run.wake();
    run.pass(runLimits.silenceMs);
    run.wake();
    expect(run.wakeAt).toBeNull();
  });
});

describe('run: retries', () => {
  const retry = { count: 2, intervalMinutes: 10 };
  const minutes = 60_000;

  it('tries again after the interval, under another attempt, and holds no place meanwhile', () => {
    const run = new Driver(items(['a', 'a', 'b']), { vms: 1, vmsPerHost: 1 }, retry);
    const [first, second, third] = run.items;
    run.heard(first!.itemId, 'failed', 1, 'NBD_DISCONNECTED');
    expect(run.present.running.map(({ itemId }) => itemId)).toEqual([second?.itemId]);
    run.heard(second!.itemId, 'succeeded');
    run.heard(third!.itemId, 'succeeded');
    expect(run.present).toMatchObject({ state: 'running', running: [], ended: { succeeded: 2, failed: 0 } });
    run.pass(10 * minutes - 1);
    run.send({ type: 'woken' });
    expect(run.present.running).toEqual([]);
    run.pass(1);
    run.wake();
    expect(run.effects.at(-1)).toEqual({ type: 'ask', itemId: first?.itemId, attempt: 2, isFirst: true });
    run.heard(first!.itemId, 'succeeded', 2);
    expect(run.present.state).toBe('succeeded');
  });

  it('gives up after the last attempt, and at once for a cause that does not pass', () => {
    const run = new Driver(items(['a', 'b']), { vms: 2, vmsPerHost: 2 }, retry);
    const [first, second] = run.items;
    run.heard(second!.itemId, 'failed', 1, 'POOL_FULL');
    for (const attempt of [1, 2, 3]) {
      run.heard(first!.itemId, 'failed', attempt, 'PLATFORM_BUSY');
      run.pass(10 * minutes);
      run.wake();
    }
    expect(run.present).toMatchObject({ state: 'failed', ended: { failed: 2 } });
  });

  it('takes no late news of an earlier attempt for those of the present one', () => {
    const run = new Driver(items(['a']), undefined, { count: 1, intervalMinutes: 0 });
    const { itemId } = run.items[0]!;
    run.heard(itemId, 'failed', 1, 'NBD_IO');
    const second = run.present;
    run.heard(itemId, 'failed', 1, 'NBD_IO');
    run.heard(itemId, 'succeeded', 1);
    expect(run.present).toEqual(second);
  });

  it('late news that change nothing do not cost it its timer', () => {
    const run = new Driver(items(['a', 'b']), undefined, retry);
    const [first, second] = run.items;
    run.heard(second!.itemId, 'succeeded');
    run.heard(first!.itemId, 'failed', 1, 'NBD_IO');
    run.pass(11 * minutes);
    run.heard(second!.itemId, 'succeeded');
    run.wake();
    expect(run.present.running).toMatchObject([{ itemId: first?.itemId, attempt: 2 }]);
  });

  it('a stop ends at once what waits for another attempt', () => {
    const run = new Driver(items(['a']), undefined, retry);
    run.heard(run.items[0]!.itemId, 'failed', 1, 'NBD_IO');
    run.send({ type: 'stop' });
    expect(run.present).toMatchObject({ state: 'stopped', waiting: [], ended: { stopped: 1 } });
  });

  it('nothing is tried again once the run is stopped', () => {
    const run = new Driver(items(['a']), undefined, retry);
    run.send({ type: 'stop' });
    run.heard(run.items[0]!.itemId, 'failed', 1, 'NBD_IO');
    expect(run.present).toMatchObject({ state: 'failed', waiting: [] });
  });

  it('tells the rows which items wait for an attempt and which were admitted, also in one step', () => {
    const run = new Driver(items(['a', 'b']), { vms: 1, vmsPerHost: 1 }, retry);
    const [first, second] = run.items;
    const before = run.present;
    expect(itemSteps(null, before)).toEqual({ retried: [], admitted: [first?.itemId] });
    const after = run.heard(first!.itemId, 'failed', 1, 'NBD_IO');
    expect(itemSteps(before, after)).toMatchObject({
      retried: [{ itemId: first?.itemId, attempt: 2 }],
      admitted: [second?.itemId],
    });
    const single = new Driver(items(['a']), undefined, { count: 1, intervalMinutes: 0 });
    const { itemId } = single.items[0]!;
    const steps = itemSteps(single.present, single.heard(itemId, 'failed', 1, 'NBD_IO'));
    expect(steps).toMatchObject({ retried: [{ itemId, attempt: 2 }], admitted: [itemId] });
  });
});

const ends: readonly (ItemEnd | null)[] = ['succeeded', 'failed', 'stopped', null, null];

const check = (run: Driver, before: RunState): void => {
  const { state, waiting, running, ended, parallel, leaving = [] } = run.present;
  if (isTerminal(before.state)) expect({ ...run.present, leaving: [] }).toEqual({ ...before, leaving: [] });
  const sum = ended.succeeded + ended.failed + ended.stopped;
  expect(waiting.length + running.length + sum).toBe(run.items.length);
  expect(isTerminal(state)).toBe(waiting.length + running.length === 0);
  expect(run.wakeAt !== null).toBe(!isTerminal(state) || leaving.length > 0);
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
        const run = new Driver(items(where), parallel, { count: 2, intervalMinutes: where.length % 2 });
        for (const [what, which, end] of things) {
          const before = run.present;
          const itemId = run.items[which % run.items.length]!.itemId;
          const attempt = (which % 3) + 1;
          const cause = which % 2 === 0 ? 'NBD_IO' : 'POOL_FULL';
          if (what <= 5 && run.wasAsked(itemId, attempt))
            run.heard(itemId, ends[end] ?? null, attempt, cause);
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
        const firsts = run.effects.flatMap((effect) =>
          effect.type === 'ask' && effect.isFirst ? [`${effect.itemId} ${effect.attempt}`] : [],
        );
        expect(new Set(firsts).size).toBe(firsts.length);
      }),
      { numRuns: 500 },
    );
  });
});
