import { join } from 'node:path';
import {
  checkpointName,
  newId,
  type CaptureRequest,
  type OpeningId,
  type PointId,
} from '@casvault/contracts';
import { HypervisorHost, type TestDisk, type TestVm } from './hypervisor-host.js';

const mib = 1 << 20;

describe('captures of snapshots that the platform made', () => {
  let host: HypervisorHost;
  let vm: TestVm;

  const request = (
    snapshot: CaptureRequest['snapshot'],
    disks: readonly TestDisk[] = vm.disks,
  ): CaptureRequest => ({
    kind: 'capture',
    vm: { uuid: vm.uuid, name: vm.name },
    disks: disks.map(({ target, path }) => ({ target, path })),
    snapshot,
    leaseSeconds: 60,
  });
  const filled = (pattern: number): Buffer => Buffer.alloc(mib, pattern);
  const external = (target: string, overlay: string): string =>
    `<domainsnapshot><name>e1</name><disks>` +
    vm.disks
      .map((disk) =>
        disk.target === target
          ? `<disk name='${target}' snapshot='external'><source file='${overlay}'/></disk>`
          : `<disk name='${disk.target}' snapshot='no'/>`,
      )
      .join('') +
    `</disks></domainsnapshot>`;

  beforeAll(async () => {
    host = await HypervisorHost.start('21700-21799');
    await host.startService();
    vm = await host.defineVm('snapshots', [
      { target: 'vda', path: await host.createImage('a,1.qcow2', '16M', 'qcow2'), format: 'qcow2' },
      { target: 'vdb', path: await host.createImage('b.qcow2', '8M', 'qcow2'), format: 'qcow2' },
    ]);
    await host.libvirt.start(vm.uuid);
  });
  afterAll(async () => {
    await host.stop();
  });

  test('D4: an internal one shows its instant while the VM writes on, and when it is off', async () => {
    await host.guestWrite(vm, 'vda', 0x11, '0', '4M');
    await host.guestWrite(vm, 'vdb', 0x12, '1M', '1M');
    await host.libvirt.snapshotCreate(vm.uuid, '<domainsnapshot><name>i1</name></domainsnapshot>');
    await host.guestWrite(vm, 'vda', 0x13, '1M', '8M');
    await host.guestWrite(vm, 'vdb', 0x14, '1M', '1M');
    const id = newId<OpeningId>();
    const asked = request({ kind: 'internal', name: 'i1' });
    const since = checkpointName(newId<PointId>());
    const opening = await host.client.open(id, {
      ...asked,
      disks: asked.disks.map((disk) => ({ ...disk, incrementalFrom: since })),
      checkpoint: checkpointName(newId<PointId>()),
    });
    expect(opening).toMatchObject({
      method: 'internal-snapshot',
      checkpoint: null,
      disks: [
        { writable: false, checkpointed: false, bitmapReason: 'BITMAP_UNAVAILABLE' },
        { writable: false, checkpointed: false, bitmapReason: 'BITMAP_UNAVAILABLE' },
      ],
    });
    const then = [
      Buffer.concat([filled(0x11), filled(0x11), filled(0x11), filled(0x11), Buffer.alloc(12 * mib)]),
      Buffer.concat([filled(0), filled(0x12), Buffer.alloc(6 * mib)]),
    ];
    const isThen = async (disks: typeof opening.disks): Promise<boolean[]> => {
      const same: boolean[] = [];
      for (const [n, disk] of disks.entries()) same.push((await host.readExport(disk)).equals(then[n]!));
      return same;
    };
    expect(await isThen(opening.disks)).toEqual([true, true]);
    await host.guestWrite(vm, 'vda', 0x15, '0', '16M');
    expect(await isThen(opening.disks)).toEqual([true, true]);
    await host.libvirt.destroy(vm.uuid);
    expect(await isThen((await host.client.renew(id, 60)).disks)).toEqual([true, true]);
    await host.client.close(id);
    const off = await host.client.open(newId<OpeningId>(), asked);
    await host.libvirt.start(vm.uuid);
    await host.guestWrite(vm, 'vda', 0x16, '0', '16M');
    expect(await isThen(off.disks)).toEqual([true, true]);

    // Removed under the reader: what it served is free to be overwritten.
    await host.libvirt.snapshotDelete(vm.uuid, 'i1');
    await expect(host.client.renew(off.openingId, 60)).rejects.toMatchObject({ code: 'CAPTURE_LOST' });
    await host.libvirt.snapshotCreate(vm.uuid, '<domainsnapshot><name>i1</name></domainsnapshot>');
    await expect(host.client.get(off.openingId)).rejects.toMatchObject({ code: 'CAPTURE_LOST' });
    await host.libvirt.snapshotDelete(vm.uuid, 'i1');
    expect(await host.remains([vm])).toEqual([]);
  });

  test('D4: an external one shows the layer that it froze, until that is merged', async () => {
    await host.guestWrite(vm, 'vdb', 0x21, '0', '8M');
    const overlay = join(host.vms, 'b.overlay');
    await host.libvirt.snapshotCreate(vm.uuid, external('vdb', overlay), { diskOnly: true });
    await host.guestWrite(vm, 'vdb', 0x22, '2M', '2M');
    const frozen = request({ kind: 'external', name: 'e1' }, [vm.disks[1]!]);
    const opening = await host.client.open(newId<OpeningId>(), frozen);
    expect(opening).toMatchObject({
      method: 'external-snapshot',
      disks: [{ target: 'vdb', writable: false }],
    });
    expect((await host.readExport(opening.disks[0]!)).equals(Buffer.alloc(8 * mib, 0x21))).toBe(true);

    const active = request({ kind: 'external', name: 'e1' }, [{ ...vm.disks[1]!, path: overlay }]);
    const foreign = request({ kind: 'external', name: 'e1' }, [{ ...vm.disks[0]!, target: 'vdb' }]);
    await host.client.renew(opening.openingId, 60);
    await host.libvirt.run(['blockcommit', vm.uuid, 'vdb', '--active', '--pivot', '--wait']);
    await expect(host.client.renew(opening.openingId, 60)).rejects.toMatchObject({ code: 'CAPTURE_LOST' });
    await host.libvirt.snapshotDelete(vm.uuid, 'e1', { metadataOnly: true });
    for (const asked of [active, foreign, frozen]) {
      await expect(host.client.open(newId<OpeningId>(), asked)).rejects.toMatchObject({
        code: 'CAPTURE_REFUSED',
      });
    }
    expect(await host.remains([vm])).toEqual([]);
  });

  test('a snapshot that is not there, and disks that the VM has not, are refused', async () => {
    const refused = async (asked: CaptureRequest): Promise<void> => {
      await expect(host.client.open(newId<OpeningId>(), asked)).rejects.toMatchObject({
        code: 'CAPTURE_REFUSED',
      });
    };
    await refused(request({ kind: 'internal', name: 'none' }));
    await refused(request({ kind: 'internal', name: 'none' }, [{ ...vm.disks[0]!, target: 'vdc' }]));
    await refused(
      request({ kind: 'internal', name: 'none' }, [{ ...vm.disks[0]!, path: vm.disks[1]!.path }]),
    );
  });

  test('what nobody renews, and what a killed service left, goes', async () => {
    await host.libvirt.snapshotCreate(vm.uuid, '<domainsnapshot><name>i2</name></domainsnapshot>');
    const asked = { ...request({ kind: 'internal', name: 'i2' }), leaseSeconds: 5 };
    await host.client.open(newId<OpeningId>(), asked);
    expect(await host.remainsAfter([vm])).toEqual([]);
    await host.killServiceAt(2, 'after');
    const opening = host.client.open(newId<OpeningId>(), asked).catch(() => undefined);
    expect(await host.killedByTrap()).toBe(true);
    await opening;
    await host.disarm();
    expect(await host.imageServers()).toHaveLength(2);
    await host.startService();
    expect(await host.remainsAfter([vm])).toEqual([]);
    await host.libvirt.snapshotDelete(vm.uuid, 'i2');
  });
});
