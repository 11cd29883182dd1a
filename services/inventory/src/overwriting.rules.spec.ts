import { type CasDisk, type CasVmRow } from '@casvault/cas-client';
import { newId, type RunItemId } from '@casvault/contracts';
import {
  carrierName,
  keptDisks,
  refuseOriginal,
  refuseOverwriting,
  type Overwritten,
} from './overwriting.rules.js';

const disk = (target: string, fields: Partial<CasDisk> = {}): CasDisk => ({
  target,
  path: `/vms/images/${target}`,
  format: 'qcow2',
  fileType: 'file',
  bus: 'virtio',
  mode: 'dependent',
  sizeBytes: 1,
  storageName: 'images',
  encrypted: false,
  hasInternalSnapshot: false,
  backingFile: null,
  restartNeeded: false,
  ...fields,
});
const row = { name: 'db', hostExternalId: '1', powerState: 'stopped' } as CasVmRow;
const vm = (fields: Partial<Overwritten> = {}): Overwritten => ({
  row,
  disks: [disk('vda')],
  snapshots: [],
  protectedBy: null,
  ...fields,
});

describe('a VM that bears the name of a restore', () => {
  it('is overwritten when nothing of it would be lost', () => {
    expect(refuseOverwriting(vm(), '1')).toBeNull();
  });

  it.each<[string, Overwritten, string, RegExp]>([
    ['is protected', vm({ protectedBy: 'has backup points' }), 'CONFLICT', /has backup points.*\(S8\)/],
    ['is on another host', vm({ row: { ...row, hostExternalId: '2' } }), 'INPUT_INVALID', /another host/],
    [
      'runs',
      vm({ row: { ...row, powerState: 'running' } }),
      'VM_STATE_REFUSED',
      /is running: it must be off/,
    ],
    ['has a snapshot', vm({ snapshots: [{ name: 'before' }] }), 'CONFLICT', /snapshots \(before\)/],
    [
      'has an independent disk',
      vm({ disks: [disk('vdb', { mode: 'independent-persistent' })] }),
      'CONFLICT',
      /vdb/,
    ],
    [
      'has a disk of an unknown bus',
      vm({ disks: [disk('vda', { bus: 'unknown' })] }),
      'CONFLICT',
      /attached again/,
    ],
  ])('S8: is not overwritten when it %s', (_, overwritten, code, message) => {
    const fault = refuseOverwriting(overwritten, '1');
    expect(fault).toMatchObject({ code, details: { field: 'overwrite', vmName: 'db' } });
    expect(fault?.message).toMatch(message);
  });
});

describe('F3: the VM of the point, on its original path', () => {
  const place = { hostExternalId: '1', leftOut: ['vdb'] };

  it('is overwritten though it is protected and has snapshots', () => {
    const original = vm({ protectedBy: 'has backup points', snapshots: [{ name: 'before' }] });
    expect(refuseOriginal(original, place)).toBeNull();
  });

  it.each<[string, Overwritten, string, RegExp]>([
    ['runs', vm({ row: { ...row, powerState: 'running' } }), 'VM_STATE_REFUSED', /must be off/],
    [
      'sleeps',
      vm({ row: { ...row, powerState: 'unknown' } }),
      'VM_STATE_REFUSED',
      /is unknown: it must be off/,
    ],
    ['is on another host', vm({ row: { ...row, hostExternalId: '2' } }), 'INPUT_INVALID', /another host/],
    [
      'has a disk that the point left out',
      vm({ disks: [disk('vda'), disk('vdb')] }),
      'CONFLICT',
      /disk vdb, which the point does not hold/,
    ],
    [
      'has an independent disk',
      vm({ disks: [disk('vdc', { mode: 'independent-persistent' })] }),
      'CONFLICT',
      /vdc/,
    ],
  ])('is not overwritten when it %s', (_, overwritten, code, message) => {
    const fault = refuseOriginal(overwritten, place);
    expect(fault).toMatchObject({ code, details: { field: 'path', vmName: 'db' } });
    expect(fault?.message).toMatch(message);
  });
});

describe('disks that change places', () => {
  it('are plugged in by their targets in turn, so that they get them again', () => {
    const disks = [disk('vdb'), disk('vdaa'), disk('vda', { storageName: null })];
    expect(keptDisks(disks)?.map(({ path, storageName }) => [path, storageName])).toEqual([
      ['/vms/images/vda', ''],
      ['/vms/images/vdb', 'images'],
      ['/vms/images/vdaa', 'images'],
    ]);
    expect(keptDisks([disk('vda', { format: 'unknown' })])).toBeNull();
  });

  it('are carried by a VM of a name that no other restore gives', () => {
    const [one, other] = [newId<RunItemId>(), newId<RunItemId>()];
    expect(carrierName('db', one)).toMatch(/^db-[0-9a-f]{16}$/);
    expect(carrierName('db', one)).not.toBe(carrierName('db', other));
    expect(carrierName('x'.repeat(64), one)).toHaveLength(64);
  });
});
