import { type Checkpoint, Fault, type Vm, type VmId } from '@casvault/contracts';
import { type DiskServices } from './disk-services.js';
import { type RegisteredPlatform } from './platform.js';
import { type PlatformStore } from './platform-store.js';
import { type PlatformSync } from './platform-sync.js';
import { type VmStore } from './vm-store.js';

export interface CheckpointsOptions {
  readonly vms: Pick<VmStore, 'get'>;
  readonly platforms: Pick<PlatformStore, 'get'>;
  readonly sync: Pick<PlatformSync, 'readVm'>;
  readonly diskServices: {
    on(
      ...host: Parameters<DiskServices['on']>
    ): Pick<ReturnType<DiskServices['on']>, 'checkpoints' | 'removeCheckpoint'>;
  };
}

/** This product's checkpoints on VMs, by the disk services of their hosts: those list and remove no other's. */
export class Checkpoints {
  constructor(private readonly options: CheckpointsOptions) {}

  /**
   * D6: removes all but those named, by the host that the VM is on now. Nothing to remove when the VM is gone. Throws
   * DISK_SERVICE_UNREACHABLE and what the host fails with; safe to repeat.
   */
  async remove(vmId: VmId, keep: readonly string[], signal: AbortSignal): Promise<string[]> {
    const { vms, platforms, sync } = this.options;
    try {
      const known = await vms.get(vmId);
      await sync.readVm(known.platformId, known.uuid, signal, { presumedId: known.externalId });
      const vm = await vms.get(vmId);
      const platform = await platforms.get(vm.platformId);
      const surplus = (await this.list(platform, vm, signal)).filter((one) => !keep.includes(one.name));
      for (const { name } of surplus) await this.removeOne(platform, vm, name, signal);
      return surplus.map((one) => one.name);
    } catch (error) {
      if (Fault.is(error) && error.code === 'VM_NOT_FOUND') return [];
      throw error;
    }
  }

  list(platform: RegisteredPlatform, vm: Vm, signal: AbortSignal): Promise<Checkpoint[]> {
    return this.options.diskServices.on(platform, vm.hostIp).checkpoints(vm.uuid, { signal });
  }

  async removeOne(platform: RegisteredPlatform, vm: Vm, name: string, signal: AbortSignal): Promise<void> {
    await this.options.diskServices.on(platform, vm.hostIp).removeCheckpoint(vm.uuid, name, { signal });
  }
}
