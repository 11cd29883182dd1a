import { domainXml } from '../host/domain-xml.js';
import { domainFacts } from './domain-facts.js';
import { freeTarget, macAddress } from './machines.js';

describe('a description of a machine', () => {
  it('that the lab writes, it reads', () => {
    const disks = [
      { target: 'vda', path: '/a & b', format: 'qcow2', bus: 'virtio', cache: 'directsync' },
      { target: 'sda', path: '/c', format: 'raw', bus: 'scsi', cache: 'none' },
    ] as const;
    const nics = [{ mac: '0c:da:41:00:65:00', model: 'e1000' }];
    const xml = domainXml({
      name: 'vm',
      uuid: '00000000-0000-4000-8000-000000000001',
      memoryMiB: 160,
      cpuCount: 4,
      coresPerSocket: 2,
      disks,
      nics,
      guest: { kernel: '/k', initrd: '/i' },
      consoleSocket: '/s1',
      controlSocket: '/s2',
      consoleLog: '/l',
    });
    // libvirt writes memory in KiB whatever it was given.
    const facts = domainFacts(xml.replace("unit='MiB'>160<", "unit='KiB'>163840<"));
    expect(facts).toEqual({
      memoryMiB: 160,
      cpuCount: 4,
      coresPerSocket: 2,
      disks: disks.map((disk) => ({ ...disk, device: 'disk', type: 'file', encrypted: false })),
      nics,
    });
  });
});

describe('names of devices', () => {
  it('are the first that is free on the bus', () => {
    expect(freeTarget('virtio', [])).toBe('vda');
    expect(freeTarget('virtio', ['vda', 'sdb', 'vdc'])).toBe('vdb');
    expect(freeTarget('scsi', ['vda'])).toBe('sda');
  });

  it('and addresses are never given twice', () => {
    const all = [101, 102, 357, 358].flatMap((id) => [0, 1].map((index) => macAddress(id, index)));
    expect(new Set(all).size).toBe(all.length);
    expect(macAddress(101, 0)).toBe('0c:da:41:00:65:00');
  });
});
