import { type CasClient, type CasVmRow } from '@casvault/cas-client';
import { Fault, type getOriginalPlace, type PlatformId, type Vm, type VmId } from '@casvault/contracts';
import { type z } from 'zod';
import { type HostStore } from './host-store.js';
import {
  cardChanges,
  inOriginalPools,
  macInUse,
  wantedMacs,
  type VmHardware,
} from './original-path.rules.js';
import { refuseOriginal } from './overwriting.rules.js';
import { type RestoreVmPlanRequest } from './restore-vm.rules.js';
import { type VmStore } from './vm-store.js';

/** A restore over the original path: its VM as last seen, and as the CVM has it now; null: it is gone. */
export interface Original {
  readonly vm: Vm;
  readonly row: CasVmRow | null;
}

/** F3: null for a restore to a new path. */
export const readOriginal = async (
  vms: Pick<VmStore, 'lastSeen'>,
  client: CasClient,
  { original, sourceVmId, platformId }: RestoreVmPlanRequest,
  signal: AbortSignal,
): Promise<Original | null> => {
  if (original === undefined) return null;
  if (sourceVmId === undefined) throw new Fault('BUG', 'an original path without its VM');
  const vm = await vms.lastSeen(sourceVmId);
  if (vm.platformId !== platformId)
    throw new Fault('INPUT_INVALID', `path: VM ${vm.name} is of another platform`, {
      details: { field: 'path' },
    });
  return { vm, row: await client.vmByUuid(vm.uuid, signal) };
};

/** With the storage pool of each disk. */
export const placedAs = <T extends RestoreVmPlanRequest>(request: T, original: Original | null): T =>
  original === null ? request : inOriginalPools(request, original.vm.disks);

/** Why the VM that is there is not restored over; null: it may be. */
export const originalRefusal = async (
  client: CasClient,
  row: CasVmRow,
  place: { hostExternalId: string; leftOut: readonly string[] },
  signal: AbortSignal,
): Promise<Fault | null> => {
  const { disks } = (await client.vm(row.externalId, signal)).detail;
  return refuseOriginal({ row, disks }, place);
};

/** Addresses that another VM of the platform has, as last synchronised. */
export const macRefusals = async (
  vms: Pick<VmStore, 'macUsers'>,
  request: RestoreVmPlanRequest & { platformId: PlatformId },
): Promise<Fault[]> => {
  const macs = wantedMacs(request);
  if (macs.length === 0) return [];
  return (await vms.macUsers(request.platformId, macs, request.sourceVmId)).map(macInUse);
};

/** F3: its snapshots go, those that stand on others first: a disk with one cannot be detached. */
export const dropSnapshots = async (
  client: CasClient,
  { externalId }: CasVmRow,
  signal: AbortSignal,
): Promise<void> => {
  for (const { name } of (await client.snapshots(externalId, signal)).toReversed())
    await client.deleteSnapshot(externalId, name, signal);
};

/** Gives a VM that is off these CPUs, memory and cards, and no others. Safe to repeat; `before`: the addresses that it had. */
export const giveHardware = async (
  client: CasClient,
  { externalId: id, name }: CasVmRow,
  wanted: VmHardware,
  before: readonly string[],
  signal: AbortSignal,
): Promise<void> => {
  const { detail } = await client.vm(id, signal);
  const { cpuCount, coresPerSocket, memoryMiB } = wanted;
  const isSame =
    detail.cpuCount === cpuCount &&
    detail.coresPerSocket === coresPerSocket &&
    detail.memoryMiB === memoryMiB;
  if (!isSame) await client.resizeVm(id, { cpuCount, coresPerSocket, memoryMiB }, signal);
  const present = detail.nics.map(({ mac }) => mac);
  const { removed, added } = cardChanges(present, wanted.nics, before);
  for (const mac of removed) await client.detachNic({ id, name }, mac, signal);
  for (const nic of added) await client.attachNic({ id, name }, nic, signal);
};

/** F3: where the VM of a point is, or was. */
export class OriginalPlaces {
  constructor(
    private readonly vms: Pick<VmStore, 'lastSeen'>,
    private readonly hosts: Pick<HostStore, 'get'>,
  ) {}

  /** Throws as the query says. */
  async of(vmId: VmId): Promise<z.infer<typeof getOriginalPlace.reply>> {
    const { name: vmName, platformId, hostId, disks } = await this.vms.lastSeen(vmId);
    await this.hosts.get(platformId, hostId);
    const disk = disks.find(({ role }) => role === 'system') ?? disks[0];
    const storageName = disk?.storageName ?? null;
    if (storageName === null)
      throw new Fault('CONFLICT', `it is not known in which storage pool VM ${vmName} has its disks`, {
        details: { vmId },
      });
    return { platformId, hostId, storageName, vmName };
  }
}
