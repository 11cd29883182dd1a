import { attachedDiskBody } from './device.js';

describe('a volume that is attached', () => {
  it('S4: is a dependent disk, by its path', () => {
    const disk = { path: '/vms/images/a', format: 'raw', bus: 'scsi', storageName: 'images' } as const;
    const { fields } = attachedDiskBody({ id: '7', name: 'db' }, disk);
    expect(fields).toMatchObject({
      id: '7',
      name: 'db',
      storage: { path: '/vms/images/a', format: 'raw', targetBus: 'scsi', diskMode: 'subordinate' },
    });
  });
});
