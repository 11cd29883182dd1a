import { type VmId } from '@casvault/contracts';
import { type DiskServices } from './disk-services.js';
import { type PlatformStore } from './platform-store.js';
import { type VmStore } from './vm-store.js';

/** D6: what of this product counts changes in a VM, by the disk service of its host. */
export class VmCheckpoints {
  constructor(
    private readonly vms: Pick<VmStore, 'get'>,
    private readonly platforms: Pick<PlatformStore, 'get'>,
    private readonly diskServices: Pick<DiskServices, 'on'>,
  ) {}

  /** Removes all but those named, one after the other; returns what it removed. Safe to repeat. */
  async remove(vmId: VmId, keep: readonly string[], signal: AbortSignal): Promise<string[]> {
    const { platformId, uuid, hostIp } = await this.vms.get(vmId);
    const disks = this.diskServices.on(await this.platforms.get(platformId), hostIp);
    const removed: string[] = [];
    for (const { name } of await disks.checkpoints(uuid, { signal })) {
      if (keep.includes(name)) continue;
      await disks.removeCheckpoint(uuid, name, { signal });
      removed.push(name);
    }
    return removed;
  }
}
