import { type CasVmDetail, type NewNic } from '@casvault/cas-client';
import { type Disk, Fault, type ReasonCode } from '@casvault/contracts';
import { type RestoreVmPlanRequest } from './restore-vm.rules.js';

/** What a VM is besides its disks. A card without an address gets one from the platform. */
export interface VmHardware {
  readonly cpuCount: number;
  readonly coresPerSocket: number;
  readonly memoryMiB: number;
  readonly nics: readonly NewNic[];
}

/** The VM that a restore goes over, and what it gets when the disks change places; null: it is gone, and is made anew. */
export interface OriginalPath {
  readonly vmId: string;
  readonly hardware: VmHardware | null;
}

/** F3: each disk goes where the VM has the disk of that name, else where the request says. */
export const inOriginalPools = <T extends Pick<RestoreVmPlanRequest, 'disks'>>(
  request: T,
  known: readonly Pick<Disk, 'target' | 'storageName'>[],
): T => ({
  ...request,
  disks: request.disks.map((disk) => {
    const storageName = known.find(({ target }) => target === disk.target)?.storageName ?? null;
    return storageName === null ? disk : { ...disk, storageName };
  }),
});

/** The addresses that cards are asked to have, as the CVM writes them. */
export const wantedMacs = ({ nics }: Pick<RestoreVmPlanRequest, 'nics'>): string[] =>
  nics.flatMap(({ mac }) => (mac === undefined ? [] : [mac.toLowerCase()]));

export const macInUse = ({ mac, vmName }: { mac: string; vmName: string }): Fault =>
  new Fault('CONFLICT', `keepMac: MAC address ${mac} is in use by VM ${vmName} of this platform`, {
    details: { field: 'keepMac', mac, vmName },
  });

/** F3: what the user should know of a restore over the original path. */
export const originalNotices = (
  { nics }: Pick<RestoreVmPlanRequest, 'nics'>,
  isThere: boolean,
): ReasonCode[] => {
  const macs: ReasonCode[] = nics.some(({ mac }) => mac !== undefined) ? ['MAC_KEPT'] : ['MAC_NEW'];
  return [isThere ? 'OVERWRITES_ORIGINAL' : 'ORIGINAL_MADE_ANEW', ...(nics.length > 0 ? macs : [])];
};

/** As a VM has it now: what is given back when its restore ends before it is handed over. */
export const hardwareOf = (detail: Omit<CasVmDetail, 'description' | 'disks'>): VmHardware => {
  const { cpuCount, coresPerSocket, memoryMiB, nics } = detail;
  return {
    cpuCount,
    coresPerSocket,
    memoryMiB,
    nics: nics.map(({ mac, switchExternalId, switchName, profileExternalId, model }) => ({
      mac,
      switchExternalId: switchExternalId ?? '',
      switchName: switchName ?? '',
      profileExternalId,
      model,
    })),
  };
};

/**
 * Which cards go and come so that a VM has those wanted, whatever an earlier try has done of it. Those without an address are known
 * by not having been there `before`: so many of them are there as were given.
 */
export const cardChanges = (
  present: readonly string[],
  wanted: readonly NewNic[],
  before: readonly string[],
): { removed: string[]; added: NewNic[] } => {
  const named = wanted.flatMap(({ mac }) => (mac === undefined ? [] : [mac]));
  const unnamed = wanted.filter(({ mac }) => mac === undefined);
  const isGiven = (mac: string): boolean =>
    !named.includes(mac) && !before.includes(mac) && unnamed.length > 0;
  const given = present.filter(isGiven).length;
  return {
    removed: present.filter((mac) => !named.includes(mac) && !isGiven(mac)),
    added: [
      ...wanted.filter(({ mac }) => mac !== undefined && !present.includes(mac)),
      ...unnamed.slice(given),
    ],
  };
};
