import { type Wire } from './wire.js';
import { powerStateOf, vmDetailSchema, vmRowSchema } from './vm.js';

const MiB = 1024 * 1024;

describe('VMs as the CVM describes them', () => {
  it('reads disks of the sectioned reply: device is the kind, format the image format', () => {
    const detail = vmDetailSchema.parse({
      basic: { desc: 'casvault-restore:x' },
      cpu: { cpuSockets: '2', cpuCores: '4' },
      memory: { size: '4096' },
      storage: [
        { device: 'cdrom', deviceName: 'hda', path: '/vms/isos/a.iso', format: 'raw' },
        {
          device: 'disk',
          deviceName: 'vda',
          path: '/vms/p/a',
          format: 'qcow2',
          fileType: 'file',
          targetBus: 'virtio',
          size: '20480',
          diskMode: 'subordinate',
          snapShot: '1',
        },
        {
          device: 'disk',
          deviceName: 'sda',
          path: '/dev/disk/by-path/lun-0',
          format: 'raw',
          fileType: 'block',
          targetBus: 'scsi',
          size: 1024,
          diskMode: 'independent-persistent',
          diskSecret: 's1',
        },
      ],
      network: { mac: 'AA:BB:CC:00:11:22', vsName: 'vswitch0', profileId: '1', deviceModel: 'e1000' },
    } satisfies Wire);
    expect(detail).toMatchObject({ description: 'casvault-restore:x', cpuCount: 8, memoryMiB: 4096 });
    expect(detail.disks).toEqual([
      {
        target: 'vda',
        path: '/vms/p/a',
        format: 'qcow2',
        fileType: 'file',
        bus: 'virtio',
        mode: 'dependent',
        sizeBytes: 20480 * MiB,
        storageName: null,
        encrypted: false,
        hasInternalSnapshot: true,
        restartNeeded: false,
        backingFile: null,
      },
      expect.objectContaining({
        target: 'sda',
        format: 'raw',
        fileType: 'block',
        bus: 'scsi',
        mode: 'independent-persistent',
        encrypted: true,
      }),
    ]);
    expect(detail.nics).toEqual([
      {
        mac: 'aa:bb:cc:00:11:22',
        switchName: 'vswitch0',
        switchExternalId: null,
        profileExternalId: '1',
        profileName: null,
        model: 'e1000',
      },
    ]);
  });

  it('reads disks of the flat reply: device is the target, format the access mode', () => {
    const detail = vmDetailSchema.parse({
      description: 'd',
      cpu: '2',
      memory: '2048',
      storage: {
        device: 'vda',
        diskDevice: '磁盘',
        storeFile: '/vms/images/a',
        driveType: 'qcow2',
        format: 'Read-Write',
        capacity: '10240',
        type: 'file',
        targetBus: 'virtio',
        poolName: 'images',
      },
    });
    expect(detail).toMatchObject({ description: 'd', cpuCount: 2, memoryMiB: 2048, nics: [] });
    expect(detail.disks).toEqual([
      expect.objectContaining({
        target: 'vda',
        path: '/vms/images/a',
        format: 'qcow2',
        sizeBytes: 10240 * MiB,
        storageName: 'images',
      }),
    ]);
  });

  it.each([
    ['2', '', 'running'],
    ['3', 'shutOff', 'stopped'],
    ['4', '', 'paused'],
    ['2', 'migrating', 'migrating'],
    ['0', '', 'template'],
    ['0', 'shutOff', 'template'],
    ['1', 'unknown', 'unknown'],
    ['running', '', 'running'],
  ])('status %s, vmStatus "%s" is %s', (status, vmStatus, state) => {
    expect(powerStateOf(status, vmStatus)).toBe(state);
  });

  it('takes values as strings or as what they are', () => {
    const strings = vmRowSchema.parse({
      id: '7',
      name: 'a',
      uuid: 'ABC',
      status: '2',
      hostId: '1',
      cpu: '2',
      memory: '512',
    });
    const plain = vmRowSchema.parse({
      id: 7,
      name: 'a',
      uuid: 'abc',
      status: 2,
      hostId: 1,
      cpu: 2,
      memory: 512,
    });
    expect(strings).toEqual(plain);
    expect(() => vmRowSchema.parse({ id: '7', cpu: 'many' })).toThrow();
  });
});
