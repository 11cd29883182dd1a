import { Fault, newId, type ChainId, type TransferChanged, type VmFacts } from '@casvault/contracts';
import fc from 'fast-check';
import { deadlines } from './deadlines.js';
import { isTerminal } from './item.js';
import { heldByDeletion, pointOf, type ProtectionState, type ProtectVm } from './protection.js';
import { type ProtectionEffect } from './protection-step.js';
import { protectionMachine, type History, type ProtectionEvent } from './protection.machine.js';
import { ModelWorld, refusal } from './testing/model-world.js';
import { sampleFacts, sampleIds, samplePool, sampleProtectVm } from './testing/samples.js';

type Event = Exclude<ProtectionEvent, { type: 'woken' | 'effectFailed' }>;
const history: History = { parent: null, whyFull: null, supersedes: [] };
const facts = { type: 'factsLoaded', facts: sampleFacts(), pool: samplePool, history } as const;

/** What the capture needs of the platform, by the capabilities that leave nothing else. */
type Need = 'nothing' | 'power-off' | 'internal' | 'external';
const canBe: Record<Need, Partial<VmFacts['capabilities']>> = {
  nothing: {},
  'power-off': { liveExport: false, internalSnapshot: false, externalSnapshot: false },
  internal: { liveExport: false, externalSnapshot: false },
  external: { liveExport: false, internalSnapshot: false },
};
const factsFor = (need: Need): Extract<ProtectionEvent, { type: 'factsLoaded' }> => ({
  ...facts,
  facts: { ...facts.facts, capabilities: { ...facts.facts.capabilities, ...canBe[need] } },
});

class World extends ModelWorld<ProtectionState, Event, ProtectionEffect> {
  removals = 0;
  /** The VM is off by us, or our snapshot is there. */
  isTouched = false;
  /** The platform refuses to put it back, for good. */
  isLeft = false;

  constructor(
    pointKind: 'full' | 'incremental' = 'full',
    readonly need: Need = 'nothing',
    change: Partial<ProtectVm> = {},
  ) {
    super(protectionMachine);
    const request = { ...sampleProtectVm(), pointKind, powerOff: true, ...change };
    this.send({ type: 'protect', request, ids: sampleIds() });
  }

  /** Performs one effect in the model world; its result is the next event. */
  perform(effect: ProtectionEffect): Event | null {
    if (effect.type === 'loadFacts') return factsFor(this.need);
    if (effect.type === 'platform') return this.platform(effect.action);
    if (effect.type === 'startTransfer') this.transfer.start(effect.command);
    if (effect.type === 'stopTransfer') this.transfer.stop();
    if (effect.type === 'removeData' && this.transfer.isOver) this.remove();
    return null;
  }
  platform(action: 'prepare' | 'undo'): Event {
    this.isTouched = action === 'prepare';
    if (action === 'undo') return { type: 'undone' };
    const isSnapshot = this.need === 'internal' || this.need === 'external';
    const disks = [{ target: 'vda', path: '/vms/frozen.qcow2' }];
    const snapshot = isSnapshot ? { name: 'casvault-x', takenAt: this.now.toISOString(), disks } : null;
    return { type: 'prepared', snapshot, isUndone: false };
  }
  /** The removal of a point's data is a transfer too; asked again, it tells its present state. */
  remove(): void {
    this.removals += 1;
    const { present, mail } = this.transfer;
    const pointId = this.present.ids.pointId as string as TransferChanged['transferId'];
    if (present)
      mail.push({ ...present, kind: 'removal', transferId: pointId, state: 'succeeded', result: null });
  }
  askAgain(): void {
    this.send({ type: 'protect', request: this.present.request, ids: sampleIds() });
  }
  stop(): void {
    this.send({ type: 'stop' });
  }
  mayFail(effect: ProtectionEffect): boolean {
    if (effect.type === 'platform' && effect.action === 'undo') this.isLeft = true;
    return true;
  }
  get phases(): string[] {
    return this.of('itemChanged').map(({ change }) => change.phase);
  }
}

describe('reserve', () => {
  it('a VM whose data store has too little free fails at once: no point, nothing asked of the platform', () => {
    const now = new Date('2026-01-01T00:00:00Z');
    const request = { ...sampleProtectVm(), reserve: { freePercent: 10, freeGiB: null } };
    const begun = protectionMachine.step(null, { type: 'protect', request, ids: sampleIds() }, now).state;
    const storages = [{ name: 'local', capacityBytes: 100, freeBytes: 9 }];
    const short = { ...facts, facts: { ...facts.facts, storages } };
    const { state, effects } = protectionMachine.step(begun, short, now);
    expect(state).toMatchObject({
      phase: 'failed',
      pointState: null,
      reasons: ['RESERVE_TOO_SMALL'],
      fault: { code: 'CAPTURE_REFUSED', details: { storageName: 'local', freeBytes: 9 } },
    });
    expect(effects.map(({ type }) => type)).toEqual(['itemChanged']);
    const enough = { ...short, facts: { ...short.facts, storages: [{ ...storages[0]!, freeBytes: 10 }] } };
    expect(protectionMachine.step(begun, enough, now).state.pointState).toBe('pending');
  });
});

describe('protection', () => {
  it('goes from the facts to an available point, and tells every state', () => {
    const world = new World();
    world.settleAll();
    expect([...new Set(world.phases)]).toEqual([
      'preparing',
      'capturing',
      'captured',
      'transferring',
      'succeeded',
    ]);
    const point = pointOf(world.present);
    expect(point).toMatchObject({ state: 'available', kind: 'full', parentPointId: null, method: 'live' });
    expect(point?.disks[0]).toMatchObject({ mapRoot: 'cd', readBytes: 2, storedBytes: 1 });
    expect(point?.reasons).toEqual(['CAPTURE_LIVE', 'FULL_FIRST_POINT']);
    expect([world.of('pointCaptured').length, world.of('pointAvailable').length]).toEqual([1, 1]);
  });

  it('stands an incremental point on the newest available one', () => {
    const world = new World('incremental');
    const { pointId, chainId } = sampleIds();
    const parent = { pointId, chainId, disks: [], pointCount: 1 };
    world.send({ ...facts, history: { ...history, parent } });
    expect(pointOf(world.present)).toMatchObject({
      kind: 'incremental',
      parentPointId: pointId,
      chainId,
      reasons: ['CAPTURE_LIVE'],
    });
  });

  it('refuses a paused VM with its reason and makes no point', () => {
    const world = new World();
    world.send({ ...facts, facts: sampleFacts({ powerState: 'paused' }) });
    expect(world.present).toMatchObject({ phase: 'failed', reasons: ['VM_PAUSED'], pointState: null });
    expect(world.present.fault?.code).toBe('VM_STATE_REFUSED');
    expect(world.of('startTransfer')).toEqual([]);
  });

  it('fails with the cause when the platform cannot be asked', () => {
    const world = new World();
    const [load] = world.performable();
    world.giveUp(load!, refusal);
    expect(world.present).toMatchObject({ phase: 'failed', fault: refusal });
  });

  it.each([
    [undefined, ['loadFacts', 'loadFacts'], null],
    [newId<ChainId>(), ['loadFacts'], 'failed'],
  ] as const)(
    'opens a new chain when a deletion holds the newest for too long; chain %s',
    (chainId, asked, phase) => {
      const world = new World('incremental', 'nothing', chainId && { chainId });
      const [load] = world.performable();
      const details = { [heldByDeletion]: newId<ChainId>() };
      world.giveUp(load!, { code: 'DEPENDENCY_UNAVAILABLE', message: 'points are being deleted', details });
      expect([...world.of('loadFacts')].map(({ type }) => type)).toEqual(asked);
      if (phase) {
        expect(world.present.phase).toBe(phase);
        return;
      }
      world.settleAll();
      expect(pointOf(world.present)).toMatchObject({ state: 'available', kind: 'full', parentPointId: null });
      expect(world.present.reasons).toContain('CHAIN_IN_DELETION');
    },
  );

  it('asks again for a transfer of which nothing is heard, and gives up in the end', () => {
    const world = new World();
    world.send(facts);
    world.pass(deadlines.askAgainMs);
    world.wakeIfDue();
    expect(world.of('startTransfer').length).toBe(2);
    world.pass(deadlines.transferSilenceMs);
    world.wakeIfDue();
    expect(world.of('stopTransfer')).toEqual([]);
    expect(world.of('startTransfer').at(-1)?.command.stopAsked).toBe(true);
    world.pass(deadlines.stopMs);
    world.wakeIfDue();
    world.pass(deadlines.cleanMs);
    world.wakeIfDue();
    expect(world.present).toMatchObject({ phase: 'failed', fault: { code: 'DEADLINE_EXCEEDED' } });
    expect(pointOf(world.present)?.state).toBe('failed');
  });

  it('keeps the point when the transfer succeeds in spite of a stop', () => {
    const world = new World();
    world.flush();
    world.flush();
    for (let i = 0; i < 3; i++) world.transfer.act(0);
    world.send({ type: 'stop' });
    world.transfer.act(3);
    world.deliverAll();
    expect(pointOf(world.present)?.state).toBe('available');
  });

  it('stops, and removes what was written', () => {
    const world = new World();
    world.flush();
    world.flush();
    for (let i = 0; i < 3; i++) world.transfer.act(0);
    world.deliverAll();
    world.send({ type: 'stop' });
    world.settleAll();
    expect(world.present).toMatchObject({
      phase: 'stopped',
      pointState: 'failed',
      fault: { code: 'STOPPED' },
    });
    expect(world.removals).toBeGreaterThan(0);
  });

  it.each([
    ['R6: shuts the VM down for the capture and starts it again', 'power-off', null],
    [
      'D4: reads from an internal snapshot, and removes it',
      'internal',
      { kind: 'internal', name: 'casvault-x' },
    ],
    [
      'R4: reads the layer that an external snapshot froze, and removes it',
      'external',
      { kind: 'external', name: 'casvault-x' },
    ],
  ] as const)('%s', (_name, need, snapshot) => {
    const world = new World('full', need);
    world.settleAll();
    expect(world.present).toMatchObject({ phase: 'succeeded', pointState: 'available' });
    expect(world.isTouched).toBe(false);
    expect(world.of('platform').map(({ action }) => action)).toEqual(['prepare', 'undo']);
    const [start] = world.of('startTransfer');
    const path = snapshot ? '/vms/frozen.qcow2' : '/vms/db.qcow2';
    expect(start?.command.spec).toMatchObject({ snapshot, disks: [{ path }] });
    expect(world.phases).toContain('finishing');
  });

  it('R6: a guest that does not shut down fails with its reason, and is started if it goes down late', () => {
    const world = new World('full', 'power-off');
    world.flush();
    const refusedToStop = new Fault('VM_STATE_REFUSED', 'it still runs after 300 s').toJSON();
    world.giveUp(
      world.performable().find(({ effect }) => effect.type === 'platform')!,
      refusedToStop,
    );
    world.settleAll();
    expect(world.present).toMatchObject({ phase: 'failed', fault: refusedToStop, pointState: 'failed' });
    expect(world.present.reasons).toContain('SHUTDOWN_FAILED');
    expect(world.of('platform').at(-1)?.action).toBe('undo');
    expect(world.of('startTransfer')).toEqual([]);
  });

  it('R6: a VM that cannot be started again fails, says so, and keeps its point', () => {
    const world = new World('full', 'power-off');
    for (let i = 0; i < 20 && world.present.stage !== 'undoing'; i++) {
      world.flush();
      world.deliverAll();
      world.transfer.act(3);
    }
    world.giveUp(
      world.performable().find(({ effect }) => effect.type === 'platform')!,
      refusal,
    );
    expect(world.present).toMatchObject({ phase: 'failed', pointState: 'available' });
    expect(world.present.fault?.message).toContain("VM 'db' could not be started again");
    expect(world.of('removeData')).toEqual([]);
  });

  it.each([
    ['skip-alert', 'failed', 'CBT_INVALID'],
    ['skip-silent', 'skipped', undefined],
  ] as const)('cbt.fallback %s: a transfer without valid CBT is %s', (fallback, phase, code) => {
    const world = new World('incremental', 'nothing', { cbt: { enable: true, fallback } });
    const { pointId, chainId } = sampleIds();
    const disks = sampleFacts().vm.disks.map(({ id: diskId }) => ({ diskId, sizeBytes: 1, suspect: false }));
    world.send({ ...facts, history: { ...history, parent: { pointId, chainId, disks, pointCount: 1 } } });
    world.settleAll();
    expect(world.present.phase).toBe(phase);
    expect(world.present.fault?.code).toBe(code);
    expect(world.present.reasons).toContain('SKIPPED_WITHOUT_CBT');
  });

  it('removes nothing when no worker ever had the transfer', () => {
    const world = new World();
    world.flush();
    world.flush();
    world.send({ type: 'stop' });
    world.settleAll();
    expect(world.present.phase).toBe('stopped');
    expect(world.removals).toBe(0);
  });
});

const rank = ['pending', 'capturing', 'captured', 'transferring', 'available', 'failed'];

const check = (before: ProtectionState, after: ProtectionState, world: World): void => {
  const final = ({ phase, pointState, fault, availableAt }: ProtectionState) => ({
    phase,
    pointState,
    fault,
    availableAt,
  });
  if (isTerminal(before.phase)) expect(final(after)).toEqual(final(before));
  const rankOf = ({ pointState }: ProtectionState) => rank.indexOf(pointState ?? 'pending');
  expect(rankOf(after)).toBeGreaterThanOrEqual(rankOf(before));
  if (after.pointState === 'available') expect(world.transfer.present?.state).toBe('succeeded');
  expect(world.wakeAt !== null).toBe(!isTerminal(after.phase));
  expect(world.transfer.ids.size).toBeLessThanOrEqual(1);
};

describe('protection, with messages lost, doubled and out of order and effects repeated', () => {
  it('keeps its invariants and always comes to an end', () => {
    const script = fc.array(fc.tuple(fc.nat(14), fc.nat(9)), { maxLength: 120 });
    const needs = fc.constantFrom<Need>('nothing', 'power-off', 'internal', 'external');
    fc.assert(
      fc.property(needs, script, (need, things) => {
        const world = new World('full', need);
        for (const [what, pick] of things) {
          const before = world.present;
          world.happen(what, pick);
          check(before, world.present, world);
        }
        world.settleAll();
        const { phase, pointState } = world.present;
        expect(isTerminal(phase)).toBe(true);
        if (phase === 'succeeded') expect(pointState).toBe('available');
        if (pointState === 'available' && !world.isLeft) expect(phase).toBe('succeeded');
        expect(world.of('pointCaptured').length).toBeLessThanOrEqual(1);
        expect(world.of('pointAvailable').length).toBe(pointState === 'available' ? 1 : 0);
        const wrote = (world.transfer.present?.epoch ?? 0) > 0;
        if (pointState !== 'available' && wrote) expect(world.of('removeData').length).toBeGreaterThan(0);
        if (!world.isLeft) expect(world.isTouched).toBe(false);
        const times = world.of('itemChanged').map(({ change }) => change.at);
        expect(times).toEqual([...new Set(times)].sort());
      }),
      { numRuns: 800 },
    );
  });
});
