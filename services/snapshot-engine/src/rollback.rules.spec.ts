import {
  checkpointName,
  Fault,
  newId,
  type DiskId,
  type DiskProgress,
  type PointId,
} from '@casvault/contracts';
import { type RollbackFacts } from './rollback.js';
import { interruptedFault, planRollback } from './rollback.rules.js';
import { sampleRollbackFacts, sampleRollbackVm } from './testing/samples.js';

const mib = 1 << 20;
const plan = (facts: RollbackFacts, target: Parameters<typeof sampleRollbackVm>[1] = {}) =>
  planRollback(sampleRollbackVm(facts.point.id, target), facts);
const refusal = (facts: RollbackFacts, target: Parameters<typeof sampleRollbackVm>[1] = {}): Fault => {
  try {
    plan(facts, target);
  } catch (error) {
    return Fault.from(error);
  }
  throw new Error('not refused');
};
/** The facts with something else about the VM's second disk. */
const withVdb = (
  facts: RollbackFacts,
  change: Partial<RollbackFacts['vm']['vm']['disks'][number]> | null,
): RollbackFacts => {
  const [vda, vdb] = facts.vm.vm.disks;
  const disks = change === null ? [vda!] : [vda!, { ...vdb!, ...change }];
  return { ...facts, vm: { ...facts.vm, vm: { ...facts.vm.vm, disks } } };
};

describe('what a roll-back writes (F8)', () => {
  it('is every disk of the point where the VM has it now', () => {
    const facts = sampleRollbackFacts();
    const pointId = newId<PointId>();
    const since = { pointId, chainId: facts.point.chainId, checkpoint: checkpointName(pointId) };
    expect(plan({ ...facts, since })).toMatchObject({
      kind: 'rollback',
      pointId: facts.point.id,
      since,
      disks: [
        { target: 'vda', path: '/vms/db.qcow2', format: 'qcow2' },
        { target: 'vdb', path: '/vms/db-1.qcow2' },
      ],
    });
  });

  it('is only the chosen disks, whatever became of the others', () => {
    const facts = sampleRollbackFacts();
    const diskIds = [facts.point.disks[0]!.diskId];
    expect(plan(withVdb(facts, null), { diskIds }).disks.map(({ target }) => target)).toEqual(['vda']);
  });

  it('takes a size within one MiB as the same: platforms tell whole MiB', () => {
    const facts = sampleRollbackFacts();
    expect(plan(withVdb(facts, { sizeBytes: (1 << 30) + mib - 512 })).disks).toHaveLength(2);
  });
});

describe('a roll-back is refused', () => {
  it('to a point that is not available', () => {
    const facts = sampleRollbackFacts();
    const { code, message } = refusal({ ...facts, point: { ...facts.point, state: 'deleting' } });
    expect([code, message]).toEqual(['CONFLICT', expect.stringContaining('is deleting, not available')]);
  });

  it.each(['paused', 'migrating', 'unknown'] as const)('of a VM that is %s', (powerState) => {
    expect(refusal(sampleRollbackFacts(powerState))).toMatchObject({
      code: 'VM_STATE_REFUSED',
      details: { powerState },
    });
  });

  it('of a disk that the point does not hold', () => {
    const diskId = newId<DiskId>();
    expect(refusal(sampleRollbackFacts(), { diskIds: [diskId] })).toMatchObject({
      code: 'INPUT_INVALID',
      details: { field: 'diskIds', diskId },
    });
  });

  it.each([
    ['is gone', null, 'has no disk vdb any more'],
    ['has another size', { sizeBytes: (1 << 30) + mib }, 'bytes now'],
    ['has another path', { path: '/vms/other.qcow2' }, "'/vms/db-1.qcow2' at the point"],
    ['R2: is encrypted now', { encrypted: true }, 'is encrypted'],
    ['has an unknown format', { format: 'unknown' as const }, 'cannot be written'],
  ])('when a disk %s', (_, change, message) => {
    const fault = refusal(withVdb(sampleRollbackFacts(), change));
    expect(fault.code).toBe('CONFLICT');
    expect(fault.message).toContain(message);
    expect(fault.details['target']).toBe('vdb');
  });

  it('not for another path when the request says that the disk was moved', () => {
    const moved = withVdb(sampleRollbackFacts(), { path: '/other/db-1.qcow2' });
    expect(plan(moved, { acceptMoved: true }).disks[1]?.path).toBe('/other/db-1.qcow2');
  });
});

describe('an interrupted roll-back', () => {
  it('says what each disk holds', () => {
    const progress: DiskProgress[] = [
      { target: 'vda', totalBytes: 8, doneBytes: 8, storedBytes: 0, resumedBytes: 0, durable: true },
      { target: 'vdb', totalBytes: 8 * mib, doneBytes: 3 * mib, storedBytes: 0, resumedBytes: 0 },
    ];
    const facts = sampleRollbackFacts();
    const spec = plan(facts);
    const three = { ...spec, disks: [...spec.disks, { ...spec.disks[0]!, target: 'vdc' }] };
    const fault = new Fault('POOL_OBJECT_DAMAGED', 'pack ab is damaged').toJSON();
    const told = interruptedFault(fault, three, progress);
    expect(told).toMatchObject({ code: 'POOL_OBJECT_DAMAGED', details: { unfinishedDisks: 'vdb vdc' } });
    expect(told.message).toBe(
      "pack ab is damaged; disk vda: has the point's content; disk vdb: 3145728 of 8388608 bytes rolled back, is neither the old " +
        'nor the new content; disk vdc: not touched, its content is the old; the VM is left off: roll back again to finish',
    );
  });
});
