import { Fault } from '@casvault/contracts';
import { escapeXml } from '@casvault/libvirt';
import { withTempFiles } from '../process/temp-files.js';
import { type Machines } from './machines.js';
import { type VmRecord } from './state.js';

/**
 * Moves a machine to another host, while it runs too. The hosts share their storage: the disks stay where they are. libvirt's
 * records of checkpoints stay behind, as they do between real hosts; their bitmaps go with the images.
 */
export async function migrate(machines: Machines, vm: VmRecord, hostId: number): Promise<void> {
  const from = machines.host(vm.hostId);
  const to = machines.host(hostId);
  if (from === to) throw new Fault('CONFLICT', `${vm.name} is on host ${to.name} already`);
  if ((await from.libvirt.snapshotNames(vm.uuid)).length > 0)
    throw new Fault('CONFLICT', 'libvirt moves no machine that has snapshots with memory');
  for (const name of await from.libvirt.checkpointNames(vm.uuid))
    await from.libvirt.checkpointDelete(vm.uuid, name, { metadataOnly: true });
  const moved = (xml: string): string => machines.withSocketsOf(vm, from, to, xml, escapeXml);
  const stored = moved(await from.libvirt.domainXml(vm.uuid, { inactive: true }));
  if ((await machines.powerState(vm)) === 'shutOff') {
    await to.libvirt.define(stored);
    await from.libvirt.undefine(vm.uuid);
  } else {
    const live = moved(await from.libvirt.run(['dumpxml', vm.uuid, '--migratable']));
    await withTempFiles([live, stored], async ([livePath = '', storedPath = '']) => {
      const places = ['--desturi', to.uri, '--migrateuri', `tcp://${to.address}`];
      const files = ['--xml', livePath, '--persistent-xml', storedPath];
      const how = ['--live', '--persistent', '--undefinesource', '--unsafe'];
      await from.libvirt.run(['migrate', vm.uuid, ...how, ...places, ...files], { timeoutMs: 300_000 });
    });
  }
  await machines.moved(vm, hostId);
}
