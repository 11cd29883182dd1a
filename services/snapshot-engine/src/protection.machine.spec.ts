import { type TransferChanged } from '@casvault/contracts';
import fc from 'fast-check';
import { deadlines } from './deadlines.js';
import { isTerminal } from './item.js';
import { pointOf, type ProtectionState } from './protection.js';
import { type ProtectionEffect } from './protection-step.js';
import { protectionMachine, type History, type ProtectionEvent } from './protection.machine.js';
import { ModelWorld, refusal } from './testing/model-world.js';
import { sampleFacts, sampleIds, samplePool, sampleProtectVm } from './testing/samples.js';

type Event = Exclude<ProtectionEvent, { type: 'woken' | 'effectFailed' }>;
const history: History = { parent: null, whyFull: null, supersedes: [] };
const facts = { type: 'factsLoaded', facts: sampleFacts(), pool: samplePool, history } as const;

class World extends ModelWorld<ProtectionState, Event, ProtectionEffect> {
  removals = 0;

  constructor(pointKind: 'full' | 'incremental' = 'full') {
    super(protectionMachine);
    this.send({ type: 'protect', request: { ...sampleProtectVm(), pointKind }, ids: sampleIds() });
  }

  /** Performs one effect in the model world; its result is the next event. */
  perform(effect: ProtectionEffect): Event | null {
    if (effect.type === 'loadFacts') return facts;
    if (effect.type === 'startTransfer') this.transfer.start(effect.command);
    if (effect.type === 'stopTransfer') this.transfer.stop();
    if (effect.type === 'removeData' && this.transfer.isOver) this.remove();
    return null;
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
  mayFail(): boolean {
    return true;
  }
  get phases(): string[] {
    return this.of('itemChanged').map(({ change }) => change.phase);
  }
}

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
    fc.assert(
      fc.property(script, (things) => {
        const world = new World();
        for (const [what, pick] of things) {
          const before = world.present;
          world.happen(what, pick);
          check(before, world.present, world);
        }
        world.settleAll();
        const { phase, pointState } = world.present;
        expect(isTerminal(phase)).toBe(true);
        expect(phase === 'succeeded').toBe(pointState === 'available');
        expect(world.of('pointCaptured').length).toBeLessThanOrEqual(1);
        expect(world.of('pointAvailable').length).toBe(phase === 'succeeded' ? 1 : 0);
        const wrote = (world.transfer.present?.epoch ?? 0) > 0;
        if (phase !== 'succeeded' && wrote) expect(world.of('removeData').length).toBeGreaterThan(0);
        const times = world.of('itemChanged').map(({ change }) => change.at);
        expect(times).toEqual([...new Set(times)].sort());
      }),
      { numRuns: 500 },
    );
  });
});
