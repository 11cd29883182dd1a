import { basename } from 'node:path';
import { type CasClient, type CasVmRow } from '@casvault/cas-client';
import { Fault, type HostId, type PlatformId, type Vm, type VmId } from '@casvault/contracts';
import {
  keptDisks,
  refuseOverwriting,
  type KeptDisk,
  type Overwritten,
  type Swap,
} from './overwriting.rules.js';
import { type VmStore } from './vm-store.js';

/** Who knows whether a VM is protected. */
export interface Protection {
  readonly vms: Pick<VmStore, 'findByUuid'>;
  readonly owners: {
    protectedVms(vmIds: VmId[], signal: AbortSignal): Promise<{ vmIds: VmId[] }>;
    backupJob(
      vm: { vmId: VmId; hostId: HostId },
      signal: AbortSignal,
    ): Promise<{ job: { name: string } | null }>;
  };
}

/** Everything that decides whether a VM may be overwritten (S8). */
const readOverwritten = async (
  { vms, owners }: Protection,
  client: CasClient,
  row: CasVmRow,
  platformId: PlatformId,
  signal: AbortSignal,
): Promise<Overwritten> => {
  const known = await vms.findByUuid(platformId, row.uuid);
  return {
    row,
    disks: (await client.vm(row.externalId, signal)).detail.disks,
    snapshots: await client.snapshots(row.externalId, signal),
    protectedBy: known ? await protectionOf(owners, known, signal) : null,
  };
};

/** Points here, or a backup job whose content has it: what would be lost if it became another VM. */
const protectionOf = async (
  owners: Protection['owners'],
  { id: vmId, hostId }: Vm,
  signal: AbortSignal,
): Promise<string | null> => {
  const { vmIds } = await owners.protectedVms([vmId], signal);
  if (vmIds.length > 0) return 'has backup points';
  const { job } = await owners.backupJob({ vmId, hostId }, signal);
  return job && `is of backup job '${job.name}'`;
};

/** Why the VM that bears the name is not overwritten; null: it may be. */
export const overwritingRefusal = async (
  protection: Protection,
  client: CasClient,
  row: CasVmRow,
  place: { platformId: PlatformId; hostExternalId: string },
  signal: AbortSignal,
): Promise<Fault | null> =>
  refuseOverwriting(
    await readOverwritten(protection, client, row, place.platformId, signal),
    place.hostExternalId,
  );

const disksOf = async (client: CasClient, { externalId, name }: CasVmRow, signal: AbortSignal) => {
  const disks = keptDisks((await client.vm(externalId, signal)).detail.disks);
  if (disks) return disks;
  throw new Fault('PLATFORM_PROTOCOL', `VM ${name} has a disk of a kind that is not known`);
};

/** The disks that change places, each with its storage pool by where its volume lies. */
export const swapOf = async (
  client: CasClient,
  { overwritten, carrier }: { overwritten: CasVmRow; carrier: CasVmRow },
  signal: AbortSignal,
): Promise<Swap> => {
  const pools = await client.storagePools(carrier.hostExternalId, signal);
  const placed = (disk: KeptDisk): KeptDisk => {
    const pool = pools.find(({ path }) => disk.path.startsWith(`${path}/`));
    return pool ? { ...disk, storageName: pool.name } : disk;
  };
  return {
    kept: (await disksOf(client, overwritten, signal)).map(placed),
    made: (await disksOf(client, carrier, signal)).map(placed),
  };
};

/** Gives a VM these disks and no others; those that it has stay. Safe to repeat, whatever was done before. */
export const giveDisks = async (
  client: CasClient,
  { externalId: id, name }: CasVmRow,
  disks: readonly KeptDisk[],
  signal: AbortSignal,
): Promise<void> => {
  const { detail } = await client.vm(id, signal);
  for (const { path, target } of detail.disks)
    if (!disks.some((disk) => disk.path === path)) await client.detachDisk({ id, name }, target, signal);
  for (const disk of disks)
    if (!detail.disks.some(({ path }) => path === disk.path))
      await client.attachDisk({ id, name }, disk, signal);
};

/** Removes volumes that belong to no VM any more; those that are gone or used are let be. */
export const removeLoose = async (
  client: CasClient,
  hostExternalId: string,
  disks: readonly KeptDisk[],
  signal: AbortSignal,
): Promise<void> => {
  for (const { path, storageName } of disks) {
    const volumes = await client.storageVolumes(hostExternalId, storageName, signal);
    const volume = volumes.find((one) => one.path === path || one.name === basename(path));
    if (volume?.users === '') await client.deleteVolume(hostExternalId, storageName, volume.name, signal);
  }
};
