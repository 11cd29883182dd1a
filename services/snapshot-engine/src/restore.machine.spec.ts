import { newId, type TransferId, type VmId } from '@casvault/contracts';
import fc from 'fast-check';
import { deadlines } from './deadlines.js';
import { isTerminal } from './item.js';
import { madeBy, type Created, type Restore, type RestoreState } from './restore.js';
import { restoreMachine, type RestoreEffect, type RestoreEvent } from './restore.machine.js';
import { ModelWorld, refusal } from './testing/model-world.js';
import {
  sampleFacts,
  sampleImage,
  samplePool,
  sampleRestoreVm,
  sampleSource,
  sampleVolume,
} from './testing/samples.js';

type Event = Exclude<RestoreEvent, { type: 'woken' | 'effectFailed' }>;
const source = sampleSource();
const loaded: Event = { type: 'pointLoaded', source, pool: samplePool };
const vm: Created = {
  diskService: sampleFacts().diskService,
  disks: [{ target: 'vda', path: '/vms/new.qcow2', format: 'qcow2', sizeBytes: 1 << 30 }],
  reasons: [],
};

class World extends ModelWorld<RestoreState, Event, RestoreEffect> {
  /** The VM or volume on the platform. */
  vm: 'none' | 'half' | 'finished' = 'none';
  readonly vmId = newId<VmId>();

  constructor(powerOn = false, request: Restore = sampleRestoreVm(source.point.id, powerOn)) {
    super(restoreMachine);
    this.send({ type: 'restore', request, transferId: newId<TransferId>() });
  }

  perform(effect: RestoreEffect): Event | null {
    switch (effect.type) {
      case 'loadPoint':
        return loaded;
      case 'createVm':
      case 'createVolume':
        if (this.vm === 'none') this.vm = 'half';
        return { type: 'vmCreated', vm };
      case 'finishVm':
        if (this.vm === 'none') throw new Error('finished a VM that is not there');
        this.vm = 'finished';
        if (madeBy(effect.request) === 'image') return { type: 'vmFinished', vmId: null, imageId: '77' };
        return { type: 'vmFinished', vmId: this.vmId, imageId: null };
      case 'removeVm':
        if (this.vm === 'half') this.vm = 'none';
        return { type: 'vmRemoved' };
      case 'startTransfer':
        this.transfer.start(effect.command);
        return null;
      case 'stopTransfer':
        this.transfer.stop();
        return null;
      case 'itemChanged':
        return null;
    }
  }
  askAgain(): void {
    this.send({ type: 'restore', request: this.present.request, transferId: newId<TransferId>() });
  }
  stop(): void {
    this.send({ type: 'stop' });
  }
  /** A VM that the platform will not remove is another test's. */
  mayFail({ type }: RestoreEffect): boolean {
    return type !== 'removeVm';
  }
  pendingOf(type: RestoreEffect['type']) {
    const found = this.pending.find(({ effect }) => effect.type === type);
    if (!found) throw new Error(`no ${type} pending`);
    return found;
  }
}

describe('restore', () => {
  it('makes the VM, writes its disks and hands it over', () => {
    const world = new World();
    world.settleAll();
    expect(world.present).toMatchObject({ phase: 'succeeded', restoredVmId: world.vmId, fault: null });
    expect(world.vm).toBe('finished');
    expect([...new Set(world.of('itemChanged').map(({ change }) => change.phase))]).toEqual([
      'preparing',
      'transferring',
      'finishing',
      'succeeded',
    ]);
  });

  it('refuses a point that is not available and touches nothing', () => {
    const world = new World();
    const point = { ...source.point, state: 'failed' as const };
    world.send({ type: 'pointLoaded', source: { ...source, point }, pool: samplePool });
    expect(world.present).toMatchObject({ phase: 'failed', fault: { code: 'CONFLICT' } });
    expect(world.of('createVm')).toEqual([]);
  });

  it('S5, S6: the result says what the platform said of the new VM', () => {
    const world = new World();
    world.flush();
    world.send({ type: 'vmCreated', vm: { ...vm, reasons: ['UEFI_NOTICE', 'MAY_CLASH'] } });
    world.settleAll();
    expect(world.present).toMatchObject({ phase: 'succeeded', reasons: ['UEFI_NOTICE', 'MAY_CLASH'] });
  });

  it('removes what a failed creation may have left', () => {
    const world = new World();
    world.flush();
    world.vm = 'half';
    world.giveUp(world.pendingOf('createVm'), refusal);
    world.settleAll();
    expect(world.present).toMatchObject({ phase: 'failed', fault: refusal });
    expect(world.vm).toBe('none');
  });

  it('hands the VM over powered off when only its start fails, and says so', () => {
    const world = new World(true);
    while (world.present.phase !== 'finishing') {
      world.flush();
      world.transfer.act(3);
      world.deliverAll();
    }
    world.giveUp(world.pendingOf('finishVm'), refusal);
    world.settleAll();
    expect(world.present).toMatchObject({ phase: 'succeeded', reasons: ['POWER_ON_FAILED'] });
    expect(world.of('finishVm').map(({ powerOn }) => powerOn)).toEqual([true, false]);
  });

  it('waits for the creation when stopped meanwhile, then removes the VM', () => {
    const world = new World();
    world.flush();
    world.send({ type: 'stop' });
    expect(world.of('removeVm')).toEqual([]);
    world.settleAll();
    expect(world.present.phase).toBe('stopped');
    expect(world.vm).toBe('none');
  });

  it('F9: a disk is made as one volume, written and handed over', () => {
    const world = new World(false, sampleVolume(source.point.id));
    world.settleAll();
    expect(world.present).toMatchObject({ phase: 'succeeded', restoredVmId: world.vmId, fault: null });
    expect(world.of('createVm')).toEqual([]);
    expect(world.of('createVolume').map(({ request }) => request.disk.target)).toEqual(['vda']);
  });

  it('F9: a disk that the point does not hold is refused, and nothing is made', () => {
    const world = new World(false, sampleVolume(source.point.id, 'vdz'));
    world.settleAll();
    expect(world.present).toMatchObject({ phase: 'failed', fault: { code: 'NOT_FOUND' } });
    expect(world.of('createVolume')).toEqual([]);
  });

  it('F9: says which volume is left when the platform will not remove it', () => {
    const world = new World(false, sampleVolume(source.point.id));
    world.flush();
    world.vm = 'half';
    world.giveUp(world.pendingOf('createVolume'), refusal);
    world.giveUp(world.pendingOf('removeVm'), refusal);
    expect(world.present.fault?.message).toMatch(/half-made volume 'data-[0-9a-f]{16}' could not be removed/);
    expect(world.present.fault?.details['leftVolume']).toMatch(/^data-/);
  });

  it('F9: an image is made as a VM with the system disk alone, and handed over as an image', () => {
    const world = new World(false, sampleImage(source.point.id));
    world.settleAll();
    expect(world.present).toMatchObject({ phase: 'succeeded', restoredVmId: null, imageId: '77' });
    expect(world.of('itemChanged').at(-1)?.change).toMatchObject({ restoredVmId: null, imageId: '77' });
    expect(world.of('createVm').map(({ request }) => [request.vmName, request.disks.length])).toEqual([
      ['golden', 1],
    ]);
  });

  it('F9: a point without a system disk makes no image, and touches nothing', () => {
    const world = new World(false, sampleImage(source.point.id));
    const disks = source.point.disks.map((disk) => ({ ...disk, role: 'data' as const }));
    const point = { ...source.point, disks };
    world.send({ type: 'pointLoaded', source: { ...source, point }, pool: samplePool });
    expect(world.present).toMatchObject({ phase: 'failed', fault: { code: 'INPUT_INVALID' } });
    expect(world.of('createVm')).toEqual([]);
  });

  it('F9: removes an image that could not be handed over, and says so when it is left', () => {
    const world = new World(false, sampleImage(source.point.id));
    while (world.present.phase !== 'finishing') {
      world.flush();
      world.transfer.act(3);
      world.deliverAll();
    }
    world.giveUp(world.pendingOf('finishVm'), refusal);
    expect(world.of('removeVm')).toHaveLength(1);
    world.giveUp(world.pendingOf('removeVm'), refusal);
    expect(world.present).toMatchObject({ phase: 'failed', fault: { details: { leftImage: 'golden' } } });
    expect(world.present.fault?.message).toMatch(/half-made image 'golden' could not be removed/);
  });

  it('says which VM is left when the platform will not remove it', () => {
    const world = new World();
    world.flush();
    world.flush();
    world.send({ type: 'stop' });
    world.flush();
    world.flush();
    world.deliverAll();
    world.giveUp(world.pendingOf('removeVm'), refusal);
    expect(world.present.phase).toBe('failed');
    expect(world.present.fault?.message).toContain("'db-restored' could not be removed");
    expect(world.present.fault?.details['leftVm']).toBe('db-restored');
  });

  it('removes the VM even under a transfer that never ends', () => {
    const world = new World();
    world.flush();
    world.flush();
    world.pass(deadlines.transferSilenceMs);
    world.wakeIfDue();
    world.pass(deadlines.stopMs);
    world.wakeIfDue();
    expect(world.of('removeVm').length).toBe(1);
    world.pass(deadlines.removeVmMs);
    world.wakeIfDue();
    expect(world.present).toMatchObject({ phase: 'failed', fault: { code: 'DEADLINE_EXCEEDED' } });
  });
});

const final = ({ phase, fault, restoredVmId, imageId }: RestoreState) => ({
  phase,
  fault,
  restoredVmId,
  imageId,
});

describe('restore, with messages lost, doubled and out of order and effects repeated', () => {
  it.each([
    ['ends always, with a VM exactly when it succeeded', () => new World()],
    [
      'F9: ends always, with a volume exactly when it succeeded',
      () => new World(false, sampleVolume(source.point.id)),
    ],
    [
      'F9: ends always, with an image exactly when it succeeded',
      () => new World(false, sampleImage(source.point.id)),
    ],
  ])('%s', (_, begin) => {
    const script = fc.array(fc.tuple(fc.nat(14), fc.nat(9)), { maxLength: 120 });
    fc.assert(
      fc.property(script, (things) => {
        const world = begin();
        for (const [what, pick] of things) {
          const before = world.present;
          world.happen(what, pick);
          if (isTerminal(before.phase)) expect(final(world.present)).toEqual(final(before));
          expect(world.wakeAt !== null).toBe(!isTerminal(world.present.phase));
          expect(world.transfer.ids.size).toBeLessThanOrEqual(1);
          if (world.vm === 'finished') expect(world.transfer.present?.state).toBe('succeeded');
        }
        world.settleAll();
        expect(isTerminal(world.present.phase)).toBe(true);
        if (world.present.phase === 'succeeded') expect(world.vm).toBe('finished');
        else expect(world.vm).not.toBe('half');
      }),
      { numRuns: 300 },
    );
  });
});
