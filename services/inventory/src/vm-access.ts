import { type CasClient, type CasVmRow } from '@casvault/cas-client';
import { Fault, type VmId } from '@casvault/contracts';
import { type CasAccess } from './cas-access.js';
import { type RegisteredPlatform } from './platform.js';
import { type PlatformStore } from './platform-store.js';
import { type VmStore } from './vm-store.js';

/** A VM as its CVM lists it now, and a client to act on it. */
export interface PresentVm {
  readonly client: CasClient;
  readonly platform: RegisteredPlatform;
  readonly row: CasVmRow;
}

/** The way from our id of a VM to the VM. */
export class VmAccess {
  constructor(
    private readonly vms: VmStore,
    private readonly platforms: PlatformStore,
    private readonly access: CasAccess,
  ) {}

  /** Throws VM_NOT_FOUND when the platform has it no more, NOT_FOUND when the platform is not registered any more. */
  async with<T>(id: VmId, signal: AbortSignal, work: (vm: PresentVm) => Promise<T>): Promise<T> {
    const { platformId, uuid, name } = await this.vms.get(id);
    const platform = await this.platforms.get(platformId);
    return this.access.with(platform, async (client) => {
      const row = await client.vmByUuid(uuid, signal);
      if (row === null)
        throw new Fault('VM_NOT_FOUND', `platform ${platform.name} has no VM ${name} any more`, {
          details: { vmId: id },
        });
      return work({ client, platform, row });
    });
  }
}
