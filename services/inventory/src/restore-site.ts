import { type CasClient } from '@casvault/cas-client';
import { Fault, type Host, type VmId } from '@casvault/contracts';
import { type RestoreSite, type RestoreVmPlanRequest } from './restore-vm.rules.js';
import { type VmStore } from './vm-store.js';

/** The host of a restore as the CVM tells it now, without its volumes. */
export const readSite = async (
  client: CasClient,
  { externalId }: Pick<Host, 'externalId'>,
  signal: AbortSignal,
): Promise<RestoreSite> => {
  const [host, storages, switches, profiles] = await Promise.all([
    client.host(externalId, signal),
    client.storagePools(externalId, signal),
    client.virtualSwitches(externalId, signal),
    client.networkProfiles(signal),
  ]);
  return { host, storages, switches, profiles, volumes: [] };
};

/** With the volumes of the storage pool that the request names, if it names volumes (S3). */
export const withVolumes = async (
  client: CasClient,
  site: RestoreSite,
  { storageName, volumes }: Pick<RestoreVmPlanRequest, 'storageName' | 'volumes'>,
  signal: AbortSignal,
): Promise<RestoreSite> =>
  volumes.length === 0
    ? site
    : { ...site, volumes: await client.storageVolumes(site.host.externalId, storageName, signal) };

/** S6: whether the VM of a point is still there, as last synchronised. */
export const stillExists = async (vms: VmStore, vmId: VmId | undefined): Promise<boolean> => {
  if (vmId === undefined) return false;
  try {
    await vms.get(vmId);
    return true;
  } catch (error) {
    if (Fault.is(error) && error.code === 'VM_NOT_FOUND') return false;
    throw error;
  }
};
