import {
  newId,
  type CreationTarget,
  type PlatformId,
  type HostId,
  type Point,
  type PointId,
} from '@casvault/contracts';
import { refuseSource } from './creation.rules.js';

const disk = (target: string, role: 'system' | 'data'): Point['disks'][number] => ({
  diskId: newId(),
  target,
  role,
  bus: 'virtio',
  format: 'qcow2',
  sizeBytes: 1 << 30,
  readBytes: 0,
  storedBytes: 0,
  mapRoot: null,
  reasons: [],
  tracked: false,
  suspect: false,
});
const id = newId<PointId>();
const point = (...disks: Point['disks']) => ({ id, vmName: 'db', disks });
const place = { platformId: newId<PlatformId>(), hostId: newId<HostId>(), storageName: 'local', name: 'new' };
const image: CreationTarget = { ...place, kind: 'image', description: '' };
const volume: CreationTarget = { ...place, kind: 'disk', target: 'vdb', attachTo: null };

describe('F9: what can be made of a point', () => {
  it.each([
    ['an image of a system disk', point(disk('vda', 'system')), image],
    [
      'an image where the system disk is one of several',
      point(disk('vdb', 'data'), disk('vda', 'system')),
      image,
    ],
    ['a disk that it holds', point(disk('vda', 'system'), disk('vdb', 'data')), volume],
  ])('%s', (_, source, wanted) => {
    expect(refuseSource(source, wanted)).toBeNull();
  });

  it.each([
    [
      'an image of data disks',
      point(disk('vdb', 'data'), disk('vdc', 'data')),
      image,
      'INPUT_INVALID',
      'pointId',
      /^pointId: an image is made of a system disk, point .* of VM 'db' holds vdb, vdc$/,
    ],
    ['a disk that it does not hold', point(disk('vda', 'system')), volume, 'NOT_FOUND', 'target', /vdb/],
  ] as const)('not %s', (_, source, wanted, code, field, message) => {
    const fault = refuseSource(source, wanted);
    expect(fault).toMatchObject({ code, details: { field } });
    expect(fault?.message).toMatch(message);
  });
});
