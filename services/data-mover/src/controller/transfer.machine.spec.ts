import {
  Fault,
  newId,
  type BackupHostId,
  type ChainId,
  type HookKind,
  type HookSpec,
  type OpeningId,
  type PointId,
  type Pool,
  type PoolId,
  type RunId,
  type TransferId,
  type WriterId,
} from '@casvault/contracts';
import fc from 'fast-check';
import {
  transferMachine,
  type FinishOutcome,
  type TransferEffect,
  type TransferEvent,
} from './transfer.machine.js';
import { isTerminal, transferLimits, type TransferRequest, type TransferState } from './transfer.js';

const pool: Pool = {
  id: newId<PoolId>(),
  name: 'p',
  type: 'standard',
  location: { kind: 'fs', path: '/pool' },
  createdAt: '2026-01-01T00:00:00.000Z',
};
const request: TransferRequest = {
  transferId: newId<TransferId>(),
  ownerId: newId(),
  group: 'default',
  spec: {
    kind: 'removal',
    pointIds: [newId<PointId>()],
    chainId: newId<ChainId>(),
    pool,
    dryRun: false,
    writers: [],
  },
};
const result = {
  disks: [],
  poolBytes: 0,
  capturedAt: null,
  method: 'write',
  consistency: 'crash',
  reasons: [],
} as const;
const succeeded: FinishOutcome = { state: 'succeeded', result: { ...result, disks: [], reasons: [] } };
const failure = new Fault('POOL_FULL', 'no room').toJSON();
const disk = (doneBytes: number, resumedBytes = 0) => ({
  target: 'vda',
  totalBytes: null,
  doneBytes,
  storedBytes: 0,
  resumedBytes,
});

/** One transfer under a clock of its own; keeps every effect. */
class Driver {
  now = new Date('2026-01-01T00:00:00Z');
  state: TransferState | null = null;
  wakeAt: Date | null = null;
  readonly effects: TransferEffect[] = [];

  send(event: TransferEvent): TransferState {
    const step = transferMachine.step(this.state, event, this.now);
    this.state = JSON.parse(JSON.stringify(step.state)) as TransferState;
    this.wakeAt = step.wakeAt;
    this.effects.push(...step.effects);
    expect(step.done).toBe(isTerminal(step.state.state));
    return this.state;
  }
  get present(): TransferState {
    if (!this.state) throw new Error('not begun');
    return this.state;
  }
  pass(ms: number): void {
    this.now = new Date(this.now.getTime() + ms);
  }
  claim(workerId = newId<BackupHostId>()) {
    const claim = {
      type: 'claim',
      workerId,
      writerId: newId<WriterId>(),
      openingId: newId<OpeningId>(),
    } as const;
    const state = this.send(claim);
    return { ...claim, epoch: state.epoch, granted: state.claim?.writerId === claim.writerId };
  }
  renew(epoch: number, doneBytes = 0, capturedAt: string | null = null): TransferState {
    return this.send({ type: 'renew', epoch, capturedAt, method: null, progress: [disk(doneBytes)] });
  }
  finish(epoch: number, outcome: FinishOutcome): TransferState {
    return this.send({ type: 'finish', epoch, outcome });
  }
  get published() {
    return this.effects.flatMap((effect) => (effect.type === 'publish' ? [effect.change] : []));
  }
  get nudges(): number {
    return this.effects.filter(({ type }) => type === 'nudge').length;
  }
}

const started = (): Driver => {
  const driver = new Driver();
  driver.send({ type: 'start', request });
  return driver;
};
const codeOf = (work: () => unknown): string => {
  try {
    work();
    return 'none';
  } catch (error) {
    return Fault.from(error).code;
  }
};

describe('transfer', () => {
  it('is queued with a nudge, claimed, renewed and succeeds', () => {
    const driver = started();
    expect(driver.nudges).toBe(1);
    const { epoch, granted } = driver.claim();
    expect([granted, epoch]).toEqual([true, 1]);
    driver.pass(4_000);
    driver.renew(epoch, 10, '2026-01-01T00:00:04.000Z');
    expect(driver.present.capturedAt).toBe('2026-01-01T00:00:04.000Z');
    driver.finish(epoch, succeeded);
    expect(driver.present.state).toBe('succeeded');
    expect(driver.present.writers).toHaveLength(1);
    expect(driver.published.map(({ state }) => state)).toEqual(['queued', 'running', 'running', 'succeeded']);
  });

  it('rings again while nobody claims, and says that it waits', () => {
    const driver = started();
    driver.pass(transferLimits.nudgeEveryMs);
    driver.send({ type: 'woken' });
    expect(driver.nudges).toBe(2);
    expect(driver.published.at(-1)?.reasons).toEqual(['WAITING_FOR_WORKER']);
  });

  it('declines a second worker and takes the same worker started anew', () => {
    const driver = started();
    const first = driver.claim();
    expect(driver.claim().granted).toBe(false);
    expect(driver.present.epoch).toBe(1);
    const again = driver.claim(first.workerId);
    expect([again.granted, again.epoch]).toEqual([true, 2]);
    expect(driver.present.writers.map(({ writerId }) => writerId)).toEqual([first.writerId]);
    expect(codeOf(() => driver.renew(1))).toBe('LEASE_LOST');
  });

  it('goes to another worker after the lease, under a higher epoch, with the same opening', () => {
    const driver = started();
    const first = driver.claim();
    driver.renew(first.epoch, 500);
    driver.pass(transferLimits.leaseMs);
    driver.send({ type: 'woken' });
    expect(driver.present.state).toBe('queued');
    const second = driver.claim();
    expect([second.granted, second.epoch]).toEqual([true, 2]);
    expect(driver.present.openingId).toBe(first.openingId);
    expect(driver.present.writers).toEqual([{ writerId: first.writerId, openingId: first.openingId }]);
    expect(driver.present.reasons).toContain('WORKER_LOST');
    expect(codeOf(() => driver.finish(first.epoch, succeeded))).toBe('LEASE_LOST');
  });

  it('lets the worker whose lease ran out go on as long as nobody else claimed', () => {
    const driver = started();
    const { epoch } = driver.claim();
    driver.pass(60_000);
    driver.send({ type: 'woken' });
    expect(driver.renew(epoch, 1).state).toBe('running');
    driver.pass(60_000);
    driver.send({ type: 'woken' });
    expect(driver.finish(epoch, succeeded).state).toBe('succeeded');
  });

  it('goes on at once after a release, and no renewal revives the released claim', () => {
    const driver = started();
    const { epoch } = driver.claim();
    driver.finish(epoch, { state: 'released' });
    expect([driver.present.state, driver.nudges, driver.present.fruitless]).toEqual(['queued', 2, 0]);
    expect(codeOf(() => driver.renew(epoch))).toBe('LEASE_LOST');
  });

  it('fails when claims are lost again and again without getting further', () => {
    const driver = started();
    for (let i = 1; i < transferLimits.fruitlessClaims; i++) {
      driver.renew(driver.claim().epoch, 100);
      driver.pass(transferLimits.leaseMs);
      driver.send({ type: 'woken' });
    }
    expect(driver.present.state).toBe('queued');
    driver.claim();
    driver.pass(transferLimits.leaseMs);
    driver.send({ type: 'woken' });
    expect(driver.present.fault?.code).toBe('DEPENDENCY_UNAVAILABLE');
  });

  it('replaces a lost opening once for a repeated request, under a new writer, and gives up past the bound', () => {
    const driver = started();
    const { epoch, openingId, writerId } = driver.claim();
    const replace = (lostOpeningId: OpeningId) =>
      driver.send({
        type: 'replaceOpening',
        epoch,
        lostOpeningId,
        openingId: newId<OpeningId>(),
        writerId: newId<WriterId>(),
      });
    const replaced = replace(openingId);
    expect(replaced.openingId).not.toBe(openingId);
    expect(replaced.claim?.writerId).not.toBe(writerId);
    expect(replaced.writers).toEqual([{ writerId, openingId }]);
    expect(replace(openingId).openingId).toBe(replaced.openingId);
    let lost = replaced.openingId;
    for (let i = 1; i < transferLimits.recaptures; i++) lost = replace(lost ?? openingId).openingId;
    expect(codeOf(() => replace(lost ?? openingId))).toBe('CAPTURE_LOST');
  });

  it('G3: one that was never begun is recorded as stopped, whichever request for it comes first', () => {
    const early = new Driver();
    early.send({ type: 'start', request, stopAsked: true });
    expect(early.send({ type: 'start', request }).state).toBe('stopped');
    expect(early.nudges).toBe(0);
    const late = new Driver();
    late.send({ type: 'start', request });
    expect(late.send({ type: 'start', request, stopAsked: true }).state).toBe('stopped');
  });

  it('stops while queued at once, and while running through its worker', () => {
    const queued = started();
    expect(queued.send({ type: 'stop' }).state).toBe('stopped');
    const running = started();
    const { epoch } = running.claim();
    expect(running.send({ type: 'stop' }).state).toBe('running');
    expect(running.renew(epoch).stopAsked).toBe(true);
    expect(running.finish(epoch, { state: 'stopped' }).state).toBe('stopped');
    const abandoned = started();
    abandoned.claim();
    abandoned.send({ type: 'stop' });
    abandoned.pass(transferLimits.leaseMs);
    expect(abandoned.send({ type: 'woken' }).state).toBe('stopped');
  });

  it('ends a worker that renews for ever without moving a byte', () => {
    const driver = started();
    const { epoch } = driver.claim();
    for (let passed = 0; passed <= transferLimits.stallMs; passed += 10_000) {
      driver.pass(10_000);
      driver.renew(epoch);
    }
    expect(driver.present.stopAsked).toBe(true);
    expect(driver.finish(epoch, { state: 'stopped' }).fault?.code).toBe('DEADLINE_EXCEEDED');
  });

  it('publishes progress at most once a second', () => {
    const driver = started();
    const { epoch } = driver.claim();
    const before = driver.published.length;
    for (let i = 1; i <= 10; i++) {
      driver.pass(300);
      driver.renew(epoch, i);
    }
    expect(driver.published.length - before).toBe(2);
  });
});

// ---- any order of anything: the invariants stand

type Action =
  | { readonly act: 'claim'; readonly worker: number }
  | {
      readonly act: 'renew' | 'finish' | 'replace' | 'nextWriter';
      readonly holder: number;
      readonly pick: number;
    }
  | { readonly act: 'stop' | 'wake' | 'start' }
  | { readonly act: 'pass'; readonly ms: number };

const actions: fc.Arbitrary<Action> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ act: fc.constant('claim' as const), worker: fc.nat(2) }) },
  {
    weight: 6,
    arbitrary: fc.record({
      act: fc.constantFrom('renew' as const, 'finish' as const, 'replace' as const, 'nextWriter' as const),
      holder: fc.nat(7),
      pick: fc.nat(9),
    }),
  },
  { weight: 3, arbitrary: fc.record({ act: fc.constant('pass' as const), ms: fc.nat(30_000) }) },
  { weight: 3, arbitrary: fc.record({ act: fc.constant('wake' as const) }) },
  { weight: 1, arbitrary: fc.record({ act: fc.constantFrom('stop' as const, 'start' as const) }) },
);
const outcomes: FinishOutcome[] = [
  succeeded,
  { state: 'failed', fault: failure },
  { state: 'stopped' },
  { state: 'released' },
];

class World {
  readonly driver = started();
  readonly workers = [newId<BackupHostId>(), newId<BackupHostId>(), newId<BackupHostId>()];
  /** Every claim that was ever granted: a holder never knows that it lost its claim. */
  readonly holders: { epoch: number; openingId: OpeningId }[] = [];
  bytes = 0;

  run(action: Action): void {
    const before = this.driver.present;
    try {
      this.perform(action);
    } catch (error) {
      if (!Fault.is(error)) throw error;
      expect(['LEASE_LOST', 'CAPTURE_LOST']).toContain(error.code);
    }
    this.check(before, this.driver.present);
  }

  private perform(action: Action): void {
    const { driver } = this;
    if (action.act === 'pass') return driver.pass(action.ms);
    if (action.act === 'start') return void driver.send({ type: 'start', request });
    if (action.act === 'stop') return void driver.send({ type: 'stop' });
    if (action.act === 'wake') {
      if (driver.wakeAt && driver.wakeAt <= driver.now) driver.send({ type: 'woken' });
      return;
    }
    if (action.act === 'claim') {
      const claim = driver.claim(this.workers[action.worker]);
      if (claim.granted) this.holders.push({ epoch: claim.epoch, openingId: driver.present.openingId! });
      return;
    }
    if (!('holder' in action)) return;
    const holder = this.holders[action.holder % Math.max(1, this.holders.length)];
    if (holder) this.report(action.act, holder, action.pick);
  }

  private report(
    act: 'renew' | 'finish' | 'replace' | 'nextWriter',
    holder: { epoch: number; openingId: OpeningId },
    pick: number,
  ) {
    const isPresent = holder.epoch === this.driver.present.epoch;
    const send = () => {
      if (act === 'renew') return this.driver.renew(holder.epoch, (this.bytes += pick));
      if (act === 'finish') return this.driver.finish(holder.epoch, outcomes[pick % 4] ?? succeeded);
      if (act === 'nextWriter')
        return this.driver.send({ type: 'nextWriter', epoch: holder.epoch, writerId: newId<WriterId>() });
      return this.driver.send({
        type: 'replaceOpening',
        epoch: holder.epoch,
        lostOpeningId: holder.openingId,
        openingId: newId<OpeningId>(),
        writerId: newId<WriterId>(),
      });
    };
    if (!isPresent) return void expect(codeOf(send)).toBe('LEASE_LOST');
    send();
  }

  private check(before: TransferState, after: TransferState): void {
    expect(after.epoch - before.epoch === 0 || after.epoch - before.epoch === 1).toBe(true);
    if (isTerminal(before.state)) {
      const final = ({ state, result, fault, epoch }: TransferState) => ({ state, result, fault, epoch });
      expect(final(after)).toEqual(final(before));
    }
    expect(after.state === 'running').toBe(after.state === 'running' && after.claim !== null);
    expect(this.driver.wakeAt !== null).toBe(!isTerminal(after.state));
    const openings = new Map<string, string>();
    for (const { writerId, openingId } of after.writers) {
      expect(openings.get(writerId) ?? openingId).toBe(openingId);
      openings.set(writerId, openingId);
    }
  }
}

describe('transfer, under any order of claims, reports, stops and time', () => {
  it('keeps its invariants and always comes to an end', () => {
    fc.assert(
      fc.property(fc.array(actions, { maxLength: 60 }), (script) => {
        const world = new World();
        for (const action of script) world.run(action);
        const { driver } = world;
        for (let i = 0; i < 4 && driver.wakeAt; i++) {
          driver.pass(transferLimits.queueMs);
          driver.send({ type: 'woken' });
        }
        expect(isTerminal(driver.present.state)).toBe(true);
        const times = driver.published.map(({ at }) => at);
        expect(times).toEqual([...new Set(times)].sort());
        expect(driver.published.at(-1)?.state).toBe(driver.present.state);
      }),
      { numRuns: 300 },
    );
  });
});

describe('a hook of a run', () => {
  const hook = (kind: HookKind, waitMinutes = 15): Driver => {
    const driver = new Driver();
    const spec: HookSpec = {
      kind: 'hook',
      hook: kind,
      runId: newId<RunId>(),
      action: { type: 'command', script: 'freeze', arguments: [], timeoutSeconds: 300 },
      facts: {},
      waitMinutes,
    };
    driver.send({ type: 'start', request: { ...request, spec } });
    return driver;
  };

  it('has a queue of its own, and says whose it is', () => {
    const driver = hook('pre');
    expect(driver.effects).toMatchObject([
      { type: 'nudge', isHook: true },
      { type: 'publish', hook: 'pre' },
    ]);
  });

  it.each(['pre', 'post'] as const)('a %s script that may have begun is never begun again', (kind) => {
    const driver = hook(kind);
    const { epoch, workerId } = driver.claim();
    driver.pass(transferLimits.leaseMs + transferLimits.scriptPatienceMs - 1);
    expect(driver.claim().granted).toBe(false);
    driver.renew(epoch);
    expect(driver.claim(workerId).granted).toBe(false);
    expect(driver.present).toMatchObject({ state: 'failed', fault: { code: 'DEPENDENCY_UNAVAILABLE' } });
    expect(driver.claim().granted).toBe(false);
  });

  it('a script whose worker is silent has failed when that worker has surely ended it', () => {
    const driver = hook('post');
    const { epoch } = driver.claim();
    expect(driver.wakeAt?.getTime()).toBe(
      driver.now.getTime() + transferLimits.leaseMs + transferLimits.scriptPatienceMs,
    );
    driver.pass(transferLimits.leaseMs + transferLimits.scriptPatienceMs);
    driver.send({ type: 'woken' });
    expect(driver.present.state).toBe('failed');
    expect(codeOf(() => driver.renew(epoch))).toBe('LEASE_LOST');
  });

  it('a precondition is asked again by another, and a script that was handed back before it began is run', () => {
    const asking = hook('precondition');
    asking.claim();
    asking.pass(transferLimits.leaseMs);
    asking.send({ type: 'woken' });
    expect(asking.claim()).toMatchObject({ granted: true, epoch: 2 });
    const script = hook('pre');
    script.finish(script.claim().epoch, { state: 'released' });
    expect(script.claim().granted).toBe(true);
  });

  it('fails when no mover takes it for as long as it may wait', () => {
    const driver = hook('post', 15);
    driver.pass(15 * 60_000 - 1);
    driver.send({ type: 'woken' });
    expect(driver.present).toMatchObject({ state: 'queued', reasons: ['WAITING_FOR_WORKER'] });
    driver.pass(1);
    driver.send({ type: 'woken' });
    expect(driver.present).toMatchObject({ state: 'failed', fault: { code: 'DEADLINE_EXCEEDED' } });
  });
});
