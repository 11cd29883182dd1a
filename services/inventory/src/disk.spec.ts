import { type CasDisk } from '@casvault/cas-client';
import { type Disk, type DiskId, newId } from '@casvault/contracts';
import { disksOf, nicsOf } from './disk.js';

const cas = (fields: Partial<CasDisk>): CasDisk => ({
  target: 'vda',
  path: '/vms/images/a',
  format: 'qcow2',
  fileType: 'file',
  bus: 'virtio',
  mode: 'dependent',
  sizeBytes: 1024,
  storageName: null,
  encrypted: false,
  hasInternalSnapshot: false,
  restartNeeded: false,
  backingFile: null,
  ...fields,
});
const mint = () => newId<DiskId>();

describe('disks of a VM', () => {
  it('keeps the id of a disk that has moved, and mints one for a new disk', () => {
    const known: Disk[] = disksOf([cas({})], [], [], mint);
    const now = disksOf([cas({ path: '/vms/other/a' }), cas({ target: 'vdb' })], known, [], mint);
    expect(now[0]?.id).toBe(known[0]?.id);
    expect(now[1]?.id).not.toBe(known[0]?.id);
    expect(now.map((disk) => disk.role)).toEqual(['system', 'data']);
  });
  it.each([
    [{}, true],
    [{ format: 'raw' }, false],
    [{ fileType: 'block' }, false],
    [{ encrypted: true }, false],
  ] as const)('R5: CBT of %j is %s', (fields, expected) => {
    expect(disksOf([cas(fields)], [], [], mint)[0]?.cbtCapable).toBe(expected);
  });
  it('finds the storage by the deepest path that holds the disk', () => {
    const places = [
      { name: 'root', path: '/vms' },
      { name: 'images', path: '/vms/images/' },
      { name: 'image', path: '/vms/image' },
    ];
    expect(disksOf([cas({})], [], places, mint)[0]?.storageName).toBe('images');
    expect(disksOf([cas({ path: '/dev/sda' })], [], places, mint)[0]?.storageName).toBeNull();
    expect(disksOf([cas({ storageName: 'told' })], [], places, mint)[0]?.storageName).toBe('told');
  });
  it('names the policy template of a NIC by its id', () => {
    const nic = {
      mac: 'm',
      switchName: 's',
      switchExternalId: '2',
      profileExternalId: '1',
      profileName: null,
      model: 'virtio',
    };
    const profiles = [{ externalId: '1', name: 'Default', description: '' }];
    expect(nicsOf([nic], profiles)[0]?.profileName).toBe('Default');
    expect(nicsOf([nic], [])[0]?.profileName).toBeNull();
  });
});
