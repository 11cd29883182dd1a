import { type CasStorageVolume } from '@casvault/cas-client';
import { createRestoreVolume, Fault, newId } from '@casvault/contracts';
import { type RestoreSite } from './restore-vm.rules.js';
import { busOf, judgeRestoreVolume, type RestoreVolumeRequest, writtenPath } from './restore-volume.rules.js';

const MiB = 1024 * 1024;
const host = {
  externalId: '1',
  name: 'cvk1',
  ip: '10.0.0.1',
  status: 'normal' as const,
  cpuCount: 8,
  memoryMiB: 4096,
  vmCount: 0,
  architecture: 'x86_64' as const,
};
const storage = {
  name: 'images',
  title: 'images',
  type: 'dir',
  path: '/vms/images',
  capacityBytes: 1024 * MiB,
  freeBytes: 512 * MiB,
  active: true,
};
const site = (
  type = 'dir',
  status: 'normal' | 'abnormal' = 'normal',
): Pick<RestoreSite, 'host' | 'storages'> => ({
  host: { ...host, status },
  storages: [{ ...storage, type }],
});
const request = (disk: object = {}): RestoreVolumeRequest =>
  createRestoreVolume.request.parse({
    restoreId: newId(),
    platformId: newId(),
    hostId: newId(),
    storageName: 'images',
    name: 'yesterday',
    attachTo: null,
    disk: { target: 'vdb', sizeBytes: 64 * MiB + 512, format: 'qcow2', bus: 'virtio', ...disk },
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

describe('F9: what is judged before a volume is made', () => {
  it('lets through what fits', () => {
    judgeRestoreVolume(request(), site(), null);
    judgeRestoreVolume(request(), site(), { name: 'db', hostExternalId: '1' });
  });

  it.each([
    ['S2: qcow2 on block devices', request(), site('iscsi'), /\(S2\)/],
    ['S3: raw on block devices without a volume named', request({ format: 'raw' }), site('rbd'), /\(S3\)/],
    ['no room for raw', request({ format: 'raw', sizeBytes: 600 * MiB }), site(), /at least 629145600/],
  ])('refuses: %s', (_, asked, where, message) => {
    const fault = faultOf(() => judgeRestoreVolume(asked, where, null));
    expect(fault.code).toBe('INPUT_INVALID');
    expect(fault.message).toMatch(message);
  });

  it('refuses a VM on another host, and a host that is not in its normal state', () => {
    const elsewhere = { name: 'db', hostExternalId: '2' };
    expect(faultOf(() => judgeRestoreVolume(request(), site(), elsewhere)).details['field']).toBe('attachTo');
    expect(faultOf(() => judgeRestoreVolume(request(), site('dir', 'abnormal'), null)).code).toBe('CONFLICT');
  });

  it('takes virtio for a bus that is not known', () => {
    expect([request({ bus: 'unknown' }), request({ bus: 'ide' })].map(busOf)).toEqual(['virtio', 'ide']);
  });
});

describe('F9: whether a volume is what was asked for', () => {
  const made = (fields: Partial<CasStorageVolume> = {}): CasStorageVolume => ({
    name: 'yesterday-1',
    path: '/vms/images/yesterday-1',
    sizeBytes: 65 * MiB,
    allocationBytes: 0,
    format: 'qcow2',
    users: '',
    isBaseImage: false,
    ...fields,
  });

  it('of whole MiB, where the pool says', () => {
    expect(writtenPath(request(), made())).toBe('/vms/images/yesterday-1');
  });

  it.each([
    ['size', made({ sizeBytes: 64 * MiB })],
    ['format', made({ format: 'raw' })],
    ['path', made({ path: null })],
  ])('not with another %s', (_, volume) => {
    expect(faultOf(() => writtenPath(request(), volume)).code).toBe('PLATFORM_BUSY');
  });
});
