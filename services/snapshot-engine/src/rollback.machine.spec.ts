import { Fault, newId, type TransferId } from '@casvault/contracts';
import fc from 'fast-check';
import { deadlines } from './deadlines.js';
import { isTerminal } from './item.js';
import { mayHaveWritten, type RollbackFacts, type RollbackState } from './rollback.js';
import { rollbackMachine, type RollbackEffect, type RollbackEvent } from './rollback.machine.js';
import { ModelWorld, refusal } from './testing/model-world.js';
import { sampleRollbackFacts, sampleRollbackVm } from './testing/samples.js';

type Event = Exclude<RollbackEvent, { type: 'woken' | 'effectFailed' }>;

/** A platform with the VM. */
class World extends ModelWorld<RollbackState, Event, RollbackEffect> {
  power: 'running' | 'stopped';
  checkpoints = 2;
  /** Started, or off for good: nobody else's start waits for it. */
  isGivenBack = false;
  readonly facts: RollbackFacts;

  constructor(power: 'running' | 'stopped' = 'running', startAfter = false) {
    super(rollbackMachine);
    this.power = power;
    this.facts = sampleRollbackFacts(power);
    const request = sampleRollbackVm(this.facts.point.id, { startAfter });
    this.send({ type: 'rollback', request, transferId: newId<TransferId>() });
  }

  /** Whether the disks hold the old, the point's, or neither content. */
  get disks(): 'old' | 'mixed' | 'new' {
    const { present } = this.transfer;
    if (!present || present.capturedAt === null) return 'old';
    return present.state === 'succeeded' ? 'new' : 'mixed';
  }

  perform(effect: RollbackEffect): Event | null {
    switch (effect.type) {
      case 'loadFacts':
        return { type: 'factsLoaded', facts: this.facts };
      case 'shutDown': {
        const { vm } = this.facts;
        this.power = 'stopped';
        const off = { ...vm, vm: { ...vm.vm, powerState: 'stopped' as const } };
        return { type: 'vmOff', wasRunning: vm.vm.powerState === 'running', vm: off };
      }
      case 'startTransfer':
        if (this.power !== 'stopped') throw new Error('the disks of a running VM are written');
        this.transfer.start(effect.command);
        return null;
      case 'stopTransfer':
        this.transfer.stop();
        return null;
      case 'removeCheckpoints':
        this.checkpoints = 0;
        return { type: 'checkpointsRemoved' };
      case 'startVm':
        this.isGivenBack = true;
        if (effect.wasOffToo || this.facts.vm.vm.powerState === 'running') this.power = 'running';
        return { type: 'vmStarted' };
      case 'leaveOff':
        this.isGivenBack = true;
        return null;
      case 'itemChanged':
        return null;
    }
  }
  askAgain(): void {
    this.send({ type: 'rollback', request: this.present.request, transferId: newId<TransferId>() });
  }
  stop(): void {
    this.send({ type: 'stop' });
  }
  /** A VM that can't be started is another test's. */
  mayFail({ type }: RollbackEffect): boolean {
    return type !== 'startVm';
  }
  pendingOf(type: RollbackEffect['type']) {
    const found = this.pending.find(({ effect }) => effect.type === type);
    if (!found) throw new Error(`no ${type} pending`);
    return found;
  }
  /** The transfer goes `steps` steps: claimed, writing, progress, the end. */
  transferring(steps: number): this {
    for (let i = 0; i < 3; i++) this.flush();
    for (let i = 0; i < steps; i++) this.transfer.act(3);
    this.deliverAll();
    return this;
  }
}

describe('a roll-back (F8)', () => {
  it('shuts a running VM down, writes its disks and starts it again', () => {
    const world = new World();
    world.settleAll();
    expect(world.present).toMatchObject({ phase: 'succeeded', fault: null });
    expect([world.power, world.disks, world.checkpoints]).toEqual(['running', 'new', 0]);
    expect(world.of('itemChanged').at(-1)?.change.restoredVmId).toBe(world.facts.vm.vm.id);
    expect([...new Set(world.of('itemChanged').map(({ change }) => change.phase))]).toEqual([
      'preparing',
      'transferring',
      'finishing',
      'succeeded',
    ]);
  });

  it.each([false, true])('of a stopped VM starts it afterwards when asked: %s', (startAfter) => {
    const world = new World('stopped', startAfter);
    world.settleAll();
    expect(world.power).toBe(startAfter ? 'running' : 'stopped');
    expect(world.isGivenBack).toBe(true);
  });

  it('of a stopped VM that is stopped in time does not start it, whatever was asked', () => {
    const world = new World('stopped', true).transferring(1);
    world.stop();
    world.settleAll();
    expect(world.present.phase).toBe('stopped');
    expect([world.power, world.isGivenBack]).toEqual(['stopped', true]);
  });

  it('of a stopped VM that cannot be given back is no worse for it', () => {
    const world = new World('stopped').transferring(4);
    world.flush();
    world.deliverAll();
    world.giveUp(world.pendingOf('startVm'), refusal);
    expect(world.present).toMatchObject({ phase: 'succeeded', reasons: [] });
  });

  it('that is refused touches nothing', () => {
    const world = new World();
    const point = { ...world.facts.point, state: 'failed' as const };
    world.send({ type: 'factsLoaded', facts: { ...world.facts, point } });
    expect(world.present).toMatchObject({ phase: 'failed', fault: { code: 'CONFLICT' } });
    expect([world.of('shutDown'), world.of('startVm')]).toEqual([[], []]);
  });

  it('leaves a VM running whose guest does not shut down', () => {
    const world = new World();
    world.flush();
    world.giveUp(world.pendingOf('shutDown'), new Fault('VM_STATE_REFUSED', 'did not shut down').toJSON());
    expect(world.present).toMatchObject({ phase: 'failed', fault: { message: 'did not shut down' } });
    expect(world.of('startVm')).toEqual([]);
  });

  it('starts the VM again when its disks changed while it shut down', () => {
    const world = new World();
    world.flush();
    const { vm } = world.facts;
    const shrunk = vm.vm.disks.slice(0, 1);
    world.power = 'stopped';
    world.send({
      type: 'vmOff',
      wasRunning: true,
      vm: { ...vm, vm: { ...vm.vm, powerState: 'stopped', disks: shrunk } },
    });
    world.pending = world.pending.filter(({ effect }) => effect.type !== 'shutDown');
    world.settleAll();
    expect(world.present).toMatchObject({ phase: 'failed', fault: { code: 'CONFLICT' } });
    expect([world.power, world.transfer.ids.size]).toEqual(['running', 0]);
  });

  it('stopped before the first write starts the VM again as it was', () => {
    const world = new World().transferring(1);
    world.stop();
    world.settleAll();
    expect(world.present).toMatchObject({ phase: 'stopped', fault: { code: 'STOPPED' } });
    expect([world.power, world.disks, mayHaveWritten(world.present)]).toEqual(['running', 'old', false]);
  });

  it('stopped after the first write leaves the VM off and says what its disks hold', () => {
    const world = new World().transferring(3);
    world.stop();
    world.settleAll();
    expect(world.present.phase).toBe('stopped');
    expect(world.present.fault?.message).toContain('disk vda: 1 of 2 bytes rolled back, is neither');
    expect(world.present.fault?.message).toContain('disk vdb: not touched');
    expect([world.power, mayHaveWritten(world.present)]).toEqual(['stopped', true]);
  });

  it('R14: the VM is marked from before its first write', () => {
    const world = new World();
    expect(mayHaveWritten(world.present)).toBe(false);
    world.transferring(0);
    expect([world.disks, mayHaveWritten(world.present)]).toEqual(['old', true]);
  });

  it('succeeds though checkpoints remain and the VM does not start, and says the latter', () => {
    const world = new World().transferring(4);
    world.giveUp(world.pendingOf('removeCheckpoints'), refusal);
    world.giveUp(world.pendingOf('startVm'), refusal);
    expect(world.present).toMatchObject({ phase: 'succeeded', reasons: ['POWER_ON_FAILED'] });
  });

  it('says when a VM that was shut down for nothing could not be started again', () => {
    const world = new World().transferring(1);
    world.stop();
    world.flush();
    world.deliverAll();
    world.giveUp(world.pendingOf('startVm'), refusal);
    expect(world.present).toMatchObject({ phase: 'failed', fault: { details: { leftOff: true } } });
    expect(world.present.fault?.message).toContain(
      'its disks are as they were, but the VM could not be started',
    );
  });

  it('does not start a VM under a transfer of which nothing is heard', () => {
    const world = new World().transferring(0);
    world.pass(deadlines.transferSilenceMs);
    world.wakeIfDue();
    world.pass(deadlines.stopMs);
    world.wakeIfDue();
    expect(world.present).toMatchObject({ phase: 'failed', fault: { code: 'DEADLINE_EXCEEDED' } });
    expect([world.power, mayHaveWritten(world.present)]).toEqual(['stopped', true]);
  });
});

const final = ({ phase, fault, power }: RollbackState) => ({ phase, fault, power });

describe('a roll-back, with messages lost, doubled and out of order and effects repeated', () => {
  it.each(['running', 'stopped'] as const)(
    'of a %s VM never starts what belongs together no more',
    (power) => {
      const script = fc.array(fc.tuple(fc.nat(14), fc.nat(9)), { maxLength: 120 });
      fc.assert(
        fc.property(script, (things) => {
          const world = new World(power);
          for (const [what, pick] of things) {
            const before = world.present;
            world.happen(what, pick);
            if (isTerminal(before.phase)) expect(final(world.present)).toEqual(final(before));
            expect(world.wakeAt !== null).toBe(!isTerminal(world.present.phase));
            expect(world.transfer.ids.size).toBeLessThanOrEqual(1);
            if (world.disks === 'mixed') expect(world.power).toBe('stopped');
          }
          world.settleAll();
          const { phase, fault } = world.present;
          expect(isTerminal(phase)).toBe(true);
          expect(phase === 'succeeded').toBe(world.disks === 'new');
          const marked = mayHaveWritten(world.present);
          if (world.disks !== 'old') expect(marked).toBe(true);
          // Where nobody tells, it is taken as written.
          if (world.disks === 'mixed' || (marked && phase !== 'succeeded'))
            expect(fault?.message).toMatch(/is neither|not touched/);
          else expect(world.power).toBe(power);
          if (world.of('shutDown').length > 0) expect(world.isGivenBack).toBe(true);
        }),
        { numRuns: 500 },
      );
    },
  );
});
