import { type CasHost, type CasStoragePool, type CasStorageVolume } from '@casvault/cas-client';
import { createRestoreVm, Fault, newId, type RunItemId } from '@casvault/contracts';
import {
  imageDescription,
  matchDisks,
  noticesOf,
  planRestoreVm,
  refusalsOf,
  restoreMarker,
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
  volumes: [],
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
      disks: [{ sizeMiB: 65, format: 'qcow2', bus: 'virtio', storageName: 'images', preallocation: 'thin' }],
      nics: [{ switchExternalId: '3', switchName: 'vswitch0', profileExternalId: '1', model: 'virtio' }],
    });
  });

  it('F3: judges each disk in its own storage pool, and asks for the addresses that cards keep', () => {
    const small = { ...storage, name: 'small', freeBytes: 8 * MiB };
    const asked = (storageName: string) => {
      const whole = request({ nics: [{ ...request().nics[0], mac: '0c:da:41:00:00:01' }] });
      return {
        ...whole,
        disks: [...whole.disks, { ...disk({ target: 'vdb' }), storageName }],
      } as RestoreVmRequest;
    };
    const plan = planRestoreVm(asked('images'), site({ storages: [storage, small] }));
    expect(plan.disks.map(({ storageName }) => storageName)).toEqual(['images', 'images']);
    expect(plan.nics[0]?.mac).toBe('0c:da:41:00:00:01');
    for (const [name, rule] of [
      ['small', /"small" has 8388608 bytes free/],
      ['gone', /no storage pool "gone"/],
    ] as const)
      expect(faultOf(() => planRestoreVm(asked(name), site({ storages: [storage, small] }))).message).toMatch(
        rule,
      );
  });

  it.each([
    ['S7: CPUs', request({ cpuCount: 9 }), site(), /cpuCount: 9 is more than the 8 of host cvk1 \(S7\)/],
    ['S7: memory', request({ memoryMiB: 4097 }), site(), /memoryMiB: 4097 .* \(S7\)/],
    [
      'S7: sockets that are not whole',
      request({ cpuCount: 6, coresPerSocket: 4 }),
      site(),
      /coresPerSocket: 6 CPUs are no whole number of sockets of 4 cores \(S7\)/,
    ],
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
      'S2, S3: an image on block devices',
      request({ becomesImage: true, disks: [disk({ format: 'raw' })] }),
      site({ storages: [{ ...storage, type: 'iscsi' }] }),
      /^storageName: an image is a file, "images" a pool of block devices/,
    ],
    [
      'no room for raw',
      request({ disks: [disk({ format: 'raw', sizeBytes: 600 * MiB })] }),
      site(),
      /bytes free, at least 629145600 are needed/,
    ],
    ...(['lazy-zeroed', 'eager-zeroed'] as const).map(
      (preallocation): [string, RestoreVmRequest, RestoreSite, RegExp] => [
        `no room for a ${preallocation} qcow2`,
        request({ preallocation, disks: [disk({ sizeBytes: 600 * MiB })] }),
        site(),
        /bytes free, at least 629145600 are needed/,
      ],
    ),
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

  it('F4: tells every refusal of a request, each by its field, before anything is asked of the CVM', () => {
    const wrong = request({
      cpuCount: 9,
      memoryMiB: 4097,
      storageName: 'other',
      nics: [
        { switchName: 'vswitch9', profileName: null, model: 'virtio' },
        { switchName: 'vswitch0', profileName: 'none', model: 'virtio' },
      ],
    });
    const refusals = refusalsOf(wrong, site({ host: { ...host, status: 'abnormal' } }));
    expect(refusals.map(({ details }) => details['field'])).toEqual([
      'hostId',
      'cpuCount',
      'memoryMiB',
      'storageName',
      'nics.0.switchName',
      'nics.1.profileName',
    ]);
    expect(faultOf(() => planRestoreVm(wrong, site())).message).toBe(refusalsOf(wrong, site())[0]?.message);
    expect(refusalsOf(request(), site())).toEqual([]);
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

describe('a volume that is there already', () => {
  const lun: CasStorageVolume = {
    name: 'lun1',
    path: '/dev/disk/by-id/lun1',
    sizeBytes: 64 * MiB,
    allocationBytes: 64 * MiB,
    format: 'raw',
    users: '',
    isBaseImage: false,
  };
  const blockSite = (volume: Partial<CasStorageVolume> = {}) =>
    site({ storages: [{ ...storage, type: 'iscsi' }], volumes: [{ ...lun, ...volume }] });
  const asked = (volumes: object[], format = 'raw') => request({ disks: [disk({ format })], volumes });
  const named = { target: 'vda', volume: 'lun1' };

  it('S3: takes a raw disk in a pool of block devices when it is named', () => {
    const { disks } = planRestoreVm(asked([named]), blockSite());
    expect(disks).toEqual([
      expect.objectContaining({ format: 'raw', volume: { path: lun.path, fileType: 'block' } }),
    ]);
  });

  it('S3: is refused with the name of its user, and taken when that is overridden', () => {
    const used = blockSite({ users: 'db' });
    const fault = faultOf(() => planRestoreVm(asked([named]), used));
    expect(fault).toMatchObject({ code: 'CONFLICT', details: { volume: 'lun1', users: 'db' } });
    expect(fault.message).toMatch(/"lun1" is used by db.*\(S3\)/);
    expect(planRestoreVm(asked([{ ...named, override: true }]), used).disks).toHaveLength(1);
  });

  it.each([
    ['it is not there', asked([{ ...named, volume: 'lun2' }]), blockSite(), /has no volume "lun2"/],
    ['it is too small', asked([named]), blockSite({ sizeBytes: 32 * MiB }), /"lun1" has 33554432 bytes/],
    ['its disk is not of the point', asked([{ ...named, target: 'vdb' }]), blockSite(), /no disk vdb/],
    ['the disk is qcow2', asked([named], 'qcow2'), site({ volumes: [lun] }), /only raw disks/],
    [
      'it is named twice',
      request({
        disks: [disk({ format: 'raw' }), disk({ format: 'raw', target: 'vdb' })],
        volumes: [named, { ...named, target: 'vdb' }],
      }),
      blockSite(),
      /each volume may stand once/,
    ],
  ])('S3: is refused when %s', (_, wanted, where, message) => {
    const fault = faultOf(() => planRestoreVm(wanted, where));
    expect(fault.code).toBe('INPUT_INVALID');
    expect(fault.message).toMatch(message);
  });

  it('S3: may be larger than the disk', () => {
    const made = [{ target: 'vda', path: '/dev/x', format: 'raw', bus: 'virtio', sizeBytes: 80 * MiB }];
    expect(matchDisks(asked([named]), made)).toEqual([
      { target: 'vda', path: '/dev/x', format: 'raw', sizeBytes: 80 * MiB },
    ]);
    expect(matchDisks(asked([]), made)).toBeNull();
  });
});

describe('F9: what an image is described by', () => {
  const id = newId<RunItemId>();
  it.each([
    ['', `[casvault-restore:${id}]`],
    ['as of May', `as of May [casvault-restore:${id}]`],
  ])('the words %j stand before the marker', (words, told) => {
    expect(imageDescription(words, id)).toBe(told);
    expect(told).toContain(restoreMarker(id));
  });
});

describe('what is told of the new VM', () => {
  const nics = request().nics;

  it.each([
    ['the boot section', { basic: { bootMode: 'UEFI' } }],
    ['the loader', { os: { loader: '/usr/share/OVMF/OVMF_CODE.fd' } }],
  ])('S5: a guest that boots by UEFI, as %s says, is told of', (_, configuration) => {
    expect(noticesOf({ configuration, nics }, false)).toEqual(['UEFI_NOTICE']);
  });

  it('S5: nothing is told of a guest that boots by BIOS, whatever its name', () => {
    const configuration = { name: 'uefi', basic: { bootMode: 'bios', osVersion: 'UEFI test' } };
    expect(noticesOf({ configuration, nics }, false)).toEqual([]);
  });

  it('S6: addresses may clash while the source VM exists, unless the networks are left disconnected', () => {
    expect(noticesOf({ configuration: {}, nics }, true)).toEqual(['MAY_CLASH']);
    expect(noticesOf({ configuration: {}, nics: [] }, true)).toEqual([]);
    expect(noticesOf({ configuration: {}, nics }, false)).toEqual([]);
  });
});
