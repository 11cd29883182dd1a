import { type CasDisk, type CasPowerState } from '@casvault/cas-client';
import { newId, type RunItemId } from '@casvault/contracts';
import {
  disksToRead,
  disksToTake,
  isOfSomeItem,
  isOurs,
  snapshotMarker,
  snapshotName,
} from './vm-snapshot.rules.js';

const disk = (fields: Partial<CasDisk> = {}): CasDisk => ({
  target: 'vda',
  path: '/vms/a/vda',
  format: 'qcow2',
  fileType: 'file',
  bus: 'virtio',
  mode: 'dependent',
  sizeBytes: 1 << 20,
  storageName: 'a',
  encrypted: false,
  hasInternalSnapshot: false,
  backingFile: null,
  restartNeeded: false,
  ...fields,
});
const vda = { target: 'vda', path: '/vms/a/vda' };
const independent = disk({ target: 'vdb', path: '/vms/a/vdb', mode: 'independent-persistent' });
const coded = (code: string) => expect.objectContaining({ code }) as Error;

describe('whose a snapshot is', () => {
  const [one, other] = [newId<RunItemId>(), newId<RunItemId>()];
  const ours = { name: snapshotName(one), description: snapshotMarker(one), createdAt: null };
  it("an item's own, another item's, or somebody else's", () => {
    expect([isOurs(ours, one), isOurs(ours, other), isOfSomeItem(ours)]).toEqual([true, false, true]);
    expect(isOfSomeItem({ ...ours, description: '' })).toBe(false);
    expect(isOfSomeItem({ ...ours, name: 'before the update' })).toBe(false);
  });
});

describe('which disks a snapshot takes', () => {
  it('R4: an external one the dependent, an internal one all', () => {
    expect(disksToTake('external', 'running', [disk(), independent])).toEqual([vda]);
    expect(disksToTake('internal', 'stopped', [disk(), independent])).toHaveLength(2);
  });
  it.each<[string, 'internal' | 'external', CasPowerState, CasDisk[], string]>([
    ['R1: raw', 'internal', 'running', [disk({ format: 'raw' })], 'CAPTURE_REFUSED'],
    ['R2: encrypted', 'external', 'running', [disk({ encrypted: true })], 'CAPTURE_REFUSED'],
    ['R3: a block device', 'external', 'running', [disk({ fileType: 'block' })], 'CAPTURE_REFUSED'],
    ['R4: nothing dependent', 'external', 'running', [independent], 'CAPTURE_REFUSED'],
    ['R11: paused', 'internal', 'paused', [disk()], 'VM_STATE_REFUSED'],
    ['R11: migrating', 'external', 'migrating', [disk()], 'VM_STATE_REFUSED'],
  ])('%s is refused', (_, kind, power, disks, code) => {
    expect(() => disksToTake(kind, power, disks)).toThrow(coded(code));
  });
  it('a raw file takes part in an external one', () => {
    expect(disksToTake('external', 'running', [disk({ format: 'raw' })])).toEqual([vda]);
  });
});

describe('what is read of a snapshot', () => {
  it('internal: the image; external: the layer under the new one', () => {
    expect(disksToRead('internal', [vda], [disk()])).toEqual([vda]);
    const layered = disk({ path: '/vms/a/vda.snap', backingFile: '/vms/a/vda' });
    expect(disksToRead('external', [vda], [layered, independent])).toEqual([vda]);
    expect(disksToRead('external', [vda], [disk({ path: '/vms/a/vda.snap' })])).toEqual([vda]);
  });
  it.each<[string, 'internal' | 'external', CasDisk[]]>([
    ['a disk that is gone', 'internal', []],
    ['an image elsewhere', 'internal', [disk({ path: '/vms/a/other' })]],
    ['no new layer', 'external', [disk()]],
    [
      'a layer of somebody else between',
      'external',
      [disk({ path: '/vms/a/top', backingFile: '/vms/a/between' })],
    ],
  ])('%s is not taken for ours', (_, kind, now) => {
    expect(() => disksToRead(kind, [vda], now)).toThrow(coded('PLATFORM_TASK_FAILED'));
  });
});

describe('whose a snapshot is', () => {
  const itemId = newId<RunItemId>();
  const snapshot = { name: snapshotName(itemId), description: snapshotMarker(itemId), createdAt: null };
  it('name and description prove it, and nothing less', () => {
    expect(isOurs(snapshot, itemId)).toBe(true);
    expect(isOurs({ ...snapshot, description: 'before the update' }, itemId)).toBe(false);
    expect(isOurs({ ...snapshot, name: 'nightly' }, itemId)).toBe(false);
    expect(isOurs(snapshot, newId<RunItemId>())).toBe(false);
  });
});
