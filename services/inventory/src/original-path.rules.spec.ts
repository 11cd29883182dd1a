import { type NewNic } from '@casvault/cas-client';
import fc from 'fast-check';
import {
  cardChanges,
  hardwareOf,
  inOriginalPools,
  macInUse,
  originalNotices,
  wantedMacs,
} from './original-path.rules.js';

const nic = (mac?: string): NewNic => ({
  switchExternalId: '3',
  switchName: 'vswitch0',
  profileExternalId: '1',
  model: 'virtio',
  ...(mac !== undefined && { mac }),
});
const card = (mac?: string) => ({
  switchName: 'vswitch0',
  profileName: 'Default',
  model: 'virtio',
  ...(mac !== undefined && { mac }),
});

describe('F3: a restore over the original path', () => {
  it('has each disk where the VM has the one of that name, else where the request says', () => {
    const disks = ['vda', 'vdb', 'vdc'].map((target) => ({
      target,
      sizeBytes: 1,
      format: 'qcow2' as const,
      bus: 'virtio' as const,
    }));
    const known = [
      { target: 'vda', storageName: 'slow' },
      { target: 'vdc', storageName: null },
    ];
    expect(
      inOriginalPools({ disks }, known).disks.map((disk) =>
        'storageName' in disk ? disk.storageName : null,
      ),
    ).toEqual(['slow', null, null]);
  });

  it('tells whether the VM is there, and what becomes of the MAC addresses', () => {
    expect(originalNotices({ nics: [card('aa')] }, true)).toEqual(['OVERWRITES_ORIGINAL', 'MAC_KEPT']);
    expect(originalNotices({ nics: [card()] }, false)).toEqual(['ORIGINAL_MADE_ANEW', 'MAC_NEW']);
    expect(originalNotices({ nics: [] }, false)).toEqual(['ORIGINAL_MADE_ANEW']);
  });

  it('keepMac: asks for addresses as the CVM writes them, and names the VM that has one of them', () => {
    expect(wantedMacs({ nics: [card('0C:DA:41:00:00:01'), card()] })).toEqual(['0c:da:41:00:00:01']);
    expect(macInUse({ mac: '0c:da:41:00:00:01', vmName: 'web' }).toJSON()).toEqual({
      code: 'CONFLICT',
      message: 'keepMac: MAC address 0c:da:41:00:00:01 is in use by VM web of this platform',
      details: { field: 'keepMac', mac: '0c:da:41:00:00:01', vmName: 'web' },
    });
  });

  it('remembers what the VM had, with its addresses', () => {
    const nics = [
      {
        mac: 'aa',
        switchExternalId: '3',
        switchName: 'vswitch0',
        profileExternalId: null,
        profileName: null,
        model: 'e1000',
      },
    ];
    expect(hardwareOf({ cpuCount: 4, coresPerSocket: 2, memoryMiB: 512, nics })).toEqual({
      cpuCount: 4,
      coresPerSocket: 2,
      memoryMiB: 512,
      nics: [{ ...nic('aa'), profileExternalId: null, model: 'e1000' }],
    });
  });
});

describe('F3: network cards that change', () => {
  const macs = fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd'), { maxLength: 4 });
  /** What the platform has after so many of the steps; it names new cards n1, n2 ... */
  const after = (present: string[], wanted: NewNic[], before: string[], steps: number): string[] => {
    const { removed, added } = cardChanges(present, wanted, before);
    const taken = removed.slice(0, steps);
    const given = added.slice(0, Math.max(0, steps - removed.length));
    const kept = present.filter((mac) => !taken.includes(mac));
    const fresh = kept.filter((mac) => mac.startsWith('n')).length;
    return [...kept, ...given.map(({ mac }, index) => mac ?? `n${fresh + index + 1}`)];
  };

  it('end with those wanted and no others, however often they are cut off and begun again', () => {
    fc.assert(
      fc.property(
        macs,
        macs,
        fc.nat(3),
        fc.array(fc.nat(8), { maxLength: 3 }),
        (before, named, unnamed, cuts) => {
          const wanted = [...named.map((mac) => nic(mac)), ...Array.from({ length: unnamed }, () => nic())];
          const present = [...cuts, 99].reduce<string[]>(
            (now, steps) => after(now, wanted, before, steps),
            before,
          );
          expect(present.filter((mac) => !mac.startsWith('n')).sort()).toEqual([...named].sort());
          expect(present.filter((mac) => mac.startsWith('n'))).toHaveLength(unnamed);
        },
      ),
    );
  });

  it('are given back as they were', () => {
    fc.assert(
      fc.property(macs, fc.nat(3), fc.nat(8), (before, unnamed, cut) => {
        const half = after(
          before,
          Array.from({ length: unnamed }, () => nic()),
          before,
          cut,
        );
        const back = after(
          half,
          before.map((mac) => nic(mac)),
          [],
          99,
        );
        expect([...back].sort()).toEqual([...before].sort());
      }),
    );
  });
});
