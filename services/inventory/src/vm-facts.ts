import { type PreferredNetwork, type Vm, type VmFacts, type VmId } from '@casvault/contracts';
import { capabilitiesOf } from './capability.rules.js';
import { type DiskServices } from './disk-services.js';
import { type PlatformStore } from './platform-store.js';
import { type PlatformSync } from './platform-sync.js';
import { type VmStore } from './vm-store.js';

/** A VM as its CVM tells it now, with all that a backup of it needs. */
export class VmFactsReader {
  constructor(
    private readonly vms: VmStore,
    private readonly platforms: PlatformStore,
    private readonly sync: PlatformSync,
    private readonly diskServices: DiskServices,
  ) {}

  /** Throws VM_NOT_FOUND when the platform has it no more, and what the CVM fails with. */
  async read(
    id: VmId,
    { network, withStorages }: { network?: PreferredNetwork | undefined; withStorages: boolean },
    signal: AbortSignal,
  ): Promise<VmFacts> {
    const known = await this.vms.get(id);
    const platform = await this.platforms.get(known.platformId);
    const placeOf = ({ hostId, hostName, hostIp }: Vm) => {
      const host = { id: hostId, name: hostName, ip: hostIp };
      return this.diskServices.dataPlace(platform, host, network, signal);
    };
    const knownPlace = placeOf(known);
    // What it fails with counts only if the VM is still there.
    knownPlace.catch(() => undefined);
    const reading = { presumedId: known.externalId, withStorages };
    const present = await this.sync.readVm(platform.id, known.uuid, signal, reading);
    const { configuration, restartNeeded } = present;
    const vm = await this.vms.get(id);
    const used = new Set(vm.disks.map(({ storageName }) => storageName));
    const isWhereItWas = vm.hostId === known.hostId && vm.hostIp === known.hostIp;
    const { url, health, reasons } = await (isWhereItWas ? knownPlace : placeOf(vm));
    return {
      vm,
      platformName: platform.name,
      platformVersion: platform.version,
      diskService: {
        url,
        token: platform.diskService.token,
      },
      configuration: { ...configuration },
      capabilities: capabilitiesOf({
        release: platform.version,
        offersLiveExport: health?.liveExport ?? null,
        disks: vm.disks,
      }),
      restartNeeded: vm.powerState === 'stopped' ? [] : restartNeeded,
      reasons,
      storages: present.storages
        .filter(({ name, active }) => active && used.has(name))
        .map(({ name, capacityBytes, freeBytes }) => ({ name, capacityBytes, freeBytes })),
    };
  }
}
