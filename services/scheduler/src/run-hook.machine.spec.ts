import { Fault, newId, type HookKind, type RunItemId } from '@casvault/contracts';
import fc from 'fast-check';
import { isTerminal, runLimits, type RunState, type WaitingItem } from './run.js';
import { runMachine, type HookEnd, type RunEffect, type RunEvent } from './run.machine.js';

const all: readonly HookKind[] = ['precondition', 'pre', 'post'];
const why = new Fault('HOOK_FAILED', "script 'check' ended with 1").toJSON();
const passed: HookEnd = { type: 'passed' };
const refused: HookEnd = { type: 'refused', fault: why };
const failed: HookEnd = { type: 'failed', fault: new Fault('HOOK_REFUSED', 'no such script').toJSON() };

class Driver {
  now = new Date('2026-01-01T00:00:00Z');
  state: RunState | null = null;
  wakeAt: Date | null = null;
  readonly effects: RunEffect[] = [];
  readonly items: WaitingItem[] = ['a', 'b'].map((host) => ({ itemId: newId<RunItemId>(), host }));

  constructor(
    hooks: readonly HookKind[],
    more: { isStopped?: boolean; failed?: number; empty?: boolean } = {},
  ) {
    const items = more.empty ? [] : this.items;
    const parallel = { vms: 2, vmsPerHost: 2 };
    const { isStopped = false, failed: gone = 0 } = more;
    this.send({ type: 'begin', items, failed: gone, parallel, retry: null, hooks, isStopped });
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
  hook(hook: HookKind, end: HookEnd | null): RunState {
    return this.send({ type: 'hookHeard', hook, end });
  }
  endItems(end: 'succeeded' | 'failed' | 'stopped'): void {
    for (const { itemId } of this.present.running) {
      const fault = end === 'failed' ? why : null;
      this.send({ type: 'heard', itemId, attempt: 1, at: this.now.toISOString(), end, fault });
    }
  }
  pass(ms: number): void {
    this.now = new Date(this.now.getTime() + ms);
    if (this.wakeAt && this.wakeAt <= this.now) this.send({ type: 'woken' });
  }
  /** What was asked of others, in its order. */
  get asked(): string[] {
    return this.effects.flatMap((effect) => {
      if (effect.type === 'askHook') return [`${effect.isStopped ? 'stop ' : ''}${effect.hook}`];
      return effect.type === 'ask' ? ['item'] : effect.type === 'stopItem' ? ['stop item'] : [];
    });
  }
  get verdict(): unknown {
    return this.effects.filter((effect) => effect.type === 'askHook').at(-1)?.verdict;
  }
}

describe('the precondition and the scripts of a run', () => {
  it('D10: the precondition is asked first, the pre script before any VM, the post script after the last', () => {
    const run = new Driver(all);
    expect(run.present).toMatchObject({ state: 'running', startedAt: null, hook: { hook: 'precondition' } });
    expect(run.asked).toEqual(['precondition']);
    run.pass(5_000);
    run.hook('precondition', passed);
    expect(run.present.startedAt).toBe(run.now.toISOString());
    expect(run.asked).toEqual(['precondition', 'pre']);
    run.hook('pre', passed);
    expect(run.asked).toEqual(['precondition', 'pre', 'item', 'item']);
    run.endItems('succeeded');
    expect(run.present).toMatchObject({ state: 'running', hook: { hook: 'post' } });
    expect(run.verdict).toBe('succeeded');
    run.hook('post', passed);
    expect(run.present).toMatchObject({ state: 'succeeded', finishedAt: run.now.toISOString() });
  });

  it('D10: a precondition that does not hold gives the run up: not failed, nothing asked for, no script run', () => {
    const run = new Driver(all);
    run.hook('precondition', refused);
    expect(run.present).toMatchObject({
      state: 'given up',
      startedAt: null,
      fault: why,
      ended: { skipped: 2, failed: 0 },
    });
    expect(run.asked).toEqual(['precondition']);
    expect(run.effects.find(({ type }) => type === 'endItems')).toMatchObject({
      end: 'skipped',
      fault: null,
    });
    expect(run.wakeAt).toBeNull();
  });

  it('a precondition that cannot be asked fails the run, with the reason', () => {
    const run = new Driver(all);
    run.hook('precondition', failed);
    expect(run.present).toMatchObject({ state: 'failed', fault: { code: 'HOOK_REFUSED' }, startedAt: null });
    expect(run.asked).toEqual(['precondition']);
  });

  it.each([refused, failed])(
    'a pre script that fails (%j) fails the run; no VM is asked for, and the post script runs',
    (end) => {
      const run = new Driver(['pre', 'post']);
      run.hook('pre', end);
      expect(run.present).toMatchObject({ state: 'running', ended: { failed: 2 }, hook: { hook: 'post' } });
      run.hook('post', passed);
      expect(run.present).toMatchObject({ state: 'failed' });
      expect(run.asked).toEqual(['pre', 'post']);
      expect(run.verdict).toBe('failed');
    },
  );

  it.each([passed, refused, failed])(
    'a post script that ends so (%j) does not change how the run ended',
    (end) => {
      const run = new Driver(['post']);
      run.endItems('succeeded');
      run.hook('post', end);
      expect(run.present).toMatchObject({ state: 'succeeded' });
      expect(run.present.fault ?? null).toBeNull();
    },
  );

  it('the post script runs also after a run that was stopped, and after one that failed', () => {
    const stopped = new Driver(['post']);
    stopped.send({ type: 'stop' });
    stopped.endItems('stopped');
    expect(stopped.verdict).toBe('stopped');
    expect(stopped.hook('post', passed).state).toBe('stopped');
    const broken = new Driver(['post']);
    broken.endItems('failed');
    expect(broken.verdict).toBe('failed');
    expect(broken.hook('post', passed).state).toBe('failed');
  });

  it('stopping ends a pre script, waits for it no longer than for items, and then runs the post script', () => {
    const run = new Driver(['pre', 'post']);
    run.send({ type: 'stop' });
    expect(run.asked).toEqual(['pre', 'stop pre']);
    run.pass(runLimits.stopWithinMs);
    expect(run.asked).toEqual(['pre', 'stop pre', 'stop pre', 'post']);
    expect(run.effects.find(({ type }) => type === 'endHook')).toMatchObject({ fault: { code: 'STOPPED' } });
    run.hook('pre', failed);
    expect(run.present.hook).toMatchObject({ hook: 'post' });
    expect(run.hook('post', passed).state).toBe('stopped');
  });

  it('stopped while its precondition is asked it has not begun: no script runs', () => {
    const run = new Driver(all);
    run.send({ type: 'stop' });
    run.hook('precondition', passed);
    expect(run.present).toMatchObject({ state: 'stopped', startedAt: null });
    expect(run.asked).toEqual(['precondition', 'stop precondition']);
  });

  it('stopping while the post script runs lets it end', () => {
    const run = new Driver(['post']);
    run.endItems('succeeded');
    run.send({ type: 'stop' });
    run.pass(60_000);
    expect(run.present).toMatchObject({ state: 'stopping', hook: { hook: 'post' } });
    expect(run.asked.filter((what) => what.startsWith('stop'))).toEqual([]);
    expect(run.hook('post', passed).state).toBe('succeeded');
  });

  it('asks again until it is heard of, and gives up what nothing is heard of', () => {
    const run = new Driver(['pre']);
    run.pass(runLimits.askAgainMs);
    run.hook('pre', null);
    expect(run.asked).toEqual(['pre', 'pre']);
    const heardAt = run.now.getTime();
    while (!isTerminal(run.present.state)) run.pass(runLimits.askAgainMs);
    expect(run.now.getTime() - heardAt).toBeGreaterThanOrEqual(runLimits.hookSilenceMs);
    expect(run.present).toMatchObject({ state: 'failed', fault: { code: 'DEADLINE_EXCEEDED' } });
    expect(run.asked.at(-1)).toBe('stop pre');
  });

  it('news of another hook than the present one change nothing', () => {
    const run = new Driver(['pre', 'post']);
    const before = run.present;
    expect(run.hook('post', passed)).toEqual(before);
    expect(run.hook('precondition', refused)).toEqual(before);
  });

  it('with nothing to back up there is nothing to do around it', () => {
    expect(new Driver(all, { empty: true, failed: 2 })).toMatchObject({
      asked: [],
      present: { state: 'failed' },
    });
    expect(new Driver(all, { isStopped: true })).toMatchObject({ asked: [], present: { state: 'stopped' } });
  });

  it('always comes to an end, asks for no VM before its turn, and runs the post script once if it has begun', () => {
    const events = fc.array(fc.constantFrom('passed', 'refused', 'failed', 'items', 'stop', 'wait', 'lost'), {
      minLength: 1,
      maxLength: 30,
    });
    fc.assert(
      fc.property(fc.subarray([...all]), events, (hooks, steps) => {
        const run = new Driver(hooks);
        for (const step of steps) {
          const now = run.present.hook;
          if (step === 'stop') run.send({ type: 'stop' });
          else if (step === 'wait') run.pass(runLimits.askAgainMs);
          else if (step === 'items') run.endItems('succeeded');
          else if (step === 'lost') run.pass(runLimits.hookSilenceMs);
          else if (now) run.hook(now.hook, { passed, refused, failed }[step]);
        }
        for (let i = 0; i < 2_000 && !isTerminal(run.present.state); i += 1) {
          run.endItems('failed');
          run.pass(runLimits.askAgainMs);
        }
        const firsts = run.asked.filter((what, i, all) => all.indexOf(what) === i);
        const order = ['precondition', 'pre', 'item', 'post'].filter((what) => firsts.includes(what));
        expect(firsts.filter((what) => !what.startsWith('stop'))).toEqual(order);
        expect(isTerminal(run.present.state)).toBe(true);
        const { ended, startedAt } = run.present;
        expect(Object.values(ended).reduce((sum, count) => sum + count, 0)).toBe(2);
        expect(firsts.includes('post')).toBe(hooks.includes('post') && startedAt !== null);
      }),
    );
  });
});
