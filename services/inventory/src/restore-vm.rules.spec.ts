import { type CasHost, type CasStoragePool } from '@casvault/cas-client';
import { createRestoreVm, Fault, newId } from '@casvault/contracts';
import {
  matchDisks,
  planRestoreVm,
  type RestoreSite,
  type RestoreVmRequest,
  volumeMiB,
} from './restore-vm.rules.js';

const MiB = 1024 * 1024;
const host: CasHost = {
  externalId: '1',
  name: 'cvk1',
  ip: '10.0.0.1',
  status: 'normal',
  cpuCount: 8,
  memoryMiB: 4096,
  vmCount: 0,
  architecture: 'x86_64',
};
const storage: CasStoragePool = {
  name: 'images',
  title: 'images',
  type: 'dir',
  path: '/vms/images',
  capacityBytes: 1024 * MiB,
  freeBytes: 512 * MiB,
  active: true,
};
const site = (fields: Partial<RestoreSite> = {}): RestoreSite => ({
  host,
  storages: [storage],
  switches: [{ externalId: '3', name: 'vswitch0', mode: 'veb', networkType: 'management', address: null }],
  profiles: [{ externalId: '1', name: 'Default', description: '' }],
  ...fields,
});
const request = (fields: object = {}): RestoreVmRequest =>
  createRestoreVm.request.parse({
    restoreId: newId(),
    platformId: newId(),
    hostId: newId(),
    storageName: 'images',
    vmName: 'web-restored',
    cpuCount: 2,
    memoryMiB: 1024,
    disks: [{ target: 'vda', sizeBytes: 64 * MiB + 512, format: 'qcow2', bus: 'virtio' }],
    nics: [{ switchName: 'vswitch0', profileName: 'Default', model: 'virtio' }],
    configuration: {},
    ...fields,
  });
const disk = (fields: object = {}) => ({
  target: 'vda',
  sizeBytes: 64 * MiB,
  format: 'qcow2',
  bus: 'virtio',
  ...fields,
});
const faultOf = (work: () => unknown): Fault => {
  try {
    work();
  } catch (error) {
    if (Fault.is(error)) return error;
    throw error;
  }
  throw new TypeError('no fault');
};

describe('what is judged before a VM is made', () => {
  it('plans whole MiB, switches and templates by their ids', () => {
    expect(planRestoreVm(request(), site())).toEqual({
      disks: [{ sizeMiB: 65, format: 'qcow2', bus: 'virtio', storageName: 'images' }],
      nics: [{ switchExternalId: '3', switchName: 'vswitch0', profileExternalId: '1', model: 'virtio' }],
    });
  });

  it.each([
    ['S7: CPUs', request({ cpuCount: 9 }), site(), /cpuCount: 9 is more than the 8 of host cvk1 \(S7\)/],
    ['S7: memory', request({ memoryMiB: 4097 }), site(), /memoryMiB: 4097 .* \(S7\)/],
    ['no such storage', request({ storageName: 'other' }), site(), /host cvk1 has no storage pool "other"/],
    [
      'S2: qcow2 on block devices',
      request(),
      site({ storages: [{ ...storage, type: 'iscsi' }] }),
      /qcow2 disks cannot .* \(S2\)/,
    ],
    [
      'S3: raw on block devices',
      request({ disks: [disk({ format: 'raw' })] }),
      site({ storages: [{ ...storage, type: 'rbd' }] }),
      /\(S3\)/,
    ],
    [
      'no room for raw',
      request({ disks: [disk({ format: 'raw', sizeBytes: 600 * MiB })] }),
      site(),
      /bytes free, at least 629145600 are needed/,
    ],
    [
      'no such switch',
      request(),
      site({ switches: [] }),
      /nics.0.switchName: host cvk1 has no virtual switch/,
    ],
    ['no such template', request(), site({ profiles: [] }), /no network policy template "Default"/],
    ['unknown bus', request({ disks: [disk({ bus: 'unknown' })] }), site(), /disks.0.bus/],
    ['a target twice', request({ disks: [disk(), disk()] }), site(), /each target may stand once/],
  ])('refuses: %s', (_, asked, where, message) => {
    const fault = faultOf(() => planRestoreVm(asked, where));
    expect(fault.code).toBe('INPUT_INVALID');
    expect(fault.message).toMatch(message);
  });

  it.each([
    ['an abnormal host', site({ host: { ...host, status: 'abnormal' } })],
    ['an inactive storage', site({ storages: [{ ...storage, active: false }] })],
  ])('a conflict: %s', (_, where) => {
    expect(faultOf(() => planRestoreVm(request(), where)).code).toBe('CONFLICT');
  });

  it('lets a sparse qcow2 disk be larger than the room that is there', () => {
    const big = request({ disks: [disk({ sizeBytes: 64 * 1024 * MiB })] });
    expect(planRestoreVm(big, site()).disks[0]?.sizeMiB).toBe(64 * 1024);
  });

  it('leaves networks out when none are asked for', () => {
    expect(planRestoreVm(request({ nics: [] }), site({ switches: [] })).nics).toEqual([]);
  });
});

describe('which volume takes which disk', () => {
  const made = (target: string, bus: string, sizeMiB: number, format = 'qcow2') => ({
    target,
    path: `/vms/images/${target}`,
    format,
    bus,
    sizeBytes: sizeMiB * MiB,
  });
  const asked = request({
    disks: [
      disk({ target: 'vdb', sizeBytes: 10 * MiB }),
      disk({ target: 'sda', bus: 'scsi', sizeBytes: 20 * MiB, format: 'raw' }),
      disk({ target: 'vdc', sizeBytes: 10 * MiB }),
    ],
  });

  it('pairs the n-th of a bus with the n-th of that bus', () => {
    const disks = matchDisks(asked, [
      made('vdb', 'virtio', 10),
      made('sda', 'scsi', 20, 'raw'),
      made('vda', 'virtio', 10),
    ]);
    expect(disks?.map((item) => [item.target, item.path])).toEqual([
      ['vdb', '/vms/images/vda'],
      ['sda', '/vms/images/sda'],
      ['vdc', '/vms/images/vdb'],
    ]);
  });

  it.each([
    ['too few', [made('vda', 'virtio', 10)]],
    ['another size', [made('vda', 'virtio', 11), made('sda', 'scsi', 20, 'raw'), made('vdb', 'virtio', 10)]],
    ['another format', [made('vda', 'virtio', 10), made('sda', 'scsi', 20), made('vdb', 'virtio', 10)]],
    ['another bus', [made('vda', 'virtio', 10), made('sda', 'ide', 20, 'raw'), made('vdb', 'virtio', 10)]],
  ])('is not what was asked for: %s', (_, disks) => {
    expect(matchDisks(asked, disks)).toBeNull();
  });

  it('counts sizes up to whole MiB', () => {
    expect([0, 1, MiB, MiB + 1].map(volumeMiB)).toEqual([1, 1, 1, 2]);
  });
});
