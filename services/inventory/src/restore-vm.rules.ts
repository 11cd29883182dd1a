import {
  type CasHost,
  type CasNetworkProfile,
  type CasStoragePool,
  type CasStorageVolume,
  type CasVirtualSwitch,
  isBlockStorage,
  type NewDisk,
  type NewNic,
} from '@casvault/cas-client';
import { type createRestoreVm, Fault, type ReasonCode, type RunItemId } from '@casvault/contracts';
import { type z } from 'zod';

export type RestoreVmRequest = z.infer<typeof createRestoreVm.request>;
/** `storageName`: where it goes, if not where the VM goes. */
type PlacedDisk = RestoreVmRequest['disks'][number] & { readonly storageName?: string };
/** What is judged of it: nothing is made for a preview, which has no restore. */
export type RestoreVmPlanRequest = Omit<RestoreVmRequest, 'restoreId' | 'disks'> & {
  readonly disks: PlacedDisk[];
};

/** The target as the CVM tells it now. */
export interface RestoreSite {
  readonly host: CasHost;
  readonly storages: readonly CasStoragePool[];
  readonly switches: readonly CasVirtualSwitch[];
  readonly profiles: readonly CasNetworkProfile[];
  /** Those of the storage pool that the request names, if it names volumes. */
  readonly volumes: readonly CasStorageVolume[];
}

const MiB = 1024 * 1024;
/** What an empty qcow2 takes: header, tables for some hundred GiB. Its data are only known as they come. */
const emptyQcow2Bytes = 16 * MiB;

/** Stands in the description of a VM that a restore has made and not yet handed over. */
export const restoreMarker = (restoreId: RunItemId): string => `casvault-restore:${restoreId}`;

/**
 * F9: what an image is described by. The marker stays in it: a template is the last step of its making, so that nothing is to be changed
 * of it once it is one. It proves whose it is until it is handed over, and tells where it came from afterwards.
 */
export const imageDescription = (description: string, restoreId: RunItemId): string =>
  `${description} [${restoreMarker(restoreId)}]`.trimStart();

/** The CVM makes volumes of whole MiB: a disk of another size gets the next larger one, its rest zero. */
export const volumeMiB = (sizeBytes: number): number => Math.max(1, Math.ceil(sizeBytes / MiB));

/** What the volume of a disk holds. */
export const volumeBytes = (sizeBytes: number): number => volumeMiB(sizeBytes) * MiB;

const refuse = (field: string, rule: string, details: Record<string, string | number> = {}): never => {
  throw new Fault('INPUT_INVALID', `${field}: ${rule}`, { details: { field, ...details } });
};

export const judgeHostState = (host: CasHost): void => {
  if (host.status !== 'normal')
    throw new Fault('CONFLICT', `host ${host.name} is not in its normal state`, {
      details: { field: 'hostId' },
    });
};

/** S7. A host that tells no numbers can't be judged. */
const judgeCpu = ({ cpuCount, coresPerSocket }: RestoreVmPlanRequest, host: CasHost): void => {
  if (host.cpuCount > 0 && cpuCount > host.cpuCount)
    refuse('cpuCount', `${cpuCount} is more than the ${host.cpuCount} of host ${host.name} (S7)`);
  if (cpuCount % coresPerSocket !== 0)
    refuse(
      'coresPerSocket',
      `${cpuCount} CPUs are no whole number of sockets of ${coresPerSocket} cores (S7)`,
    );
};

/** S7, as above. */
const judgeMemory = ({ memoryMiB }: RestoreVmPlanRequest, host: CasHost): void => {
  if (host.memoryMiB > 0 && memoryMiB > host.memoryMiB)
    refuse('memoryMiB', `${memoryMiB} is more than the ${host.memoryMiB} of host ${host.name} (S7)`);
};

type StorageRequest = Pick<RestoreVmPlanRequest, 'storageName' | 'disks' | 'volumes' | 'preallocation'>;

/** S2, S3, and room for what is made, in each storage pool by itself. */
export const judgeStorage = (request: StorageRequest, site: Pick<RestoreSite, 'host' | 'storages'>): void => {
  const poolOf = (disk: PlacedDisk): string => disk.storageName ?? request.storageName;
  for (const storageName of new Set(request.disks.map(poolOf))) {
    const disks = request.disks.filter((disk) => poolOf(disk) === storageName);
    judgePool({ ...request, storageName, disks }, site);
  }
};

const judgePool = (request: StorageRequest, site: Pick<RestoreSite, 'host' | 'storages'>): void => {
  const { storageName, disks, volumes, preallocation } = request;
  const storage = site.storages.find((item) => item.name === storageName);
  if (storage === undefined)
    return refuse('storageName', `host ${site.host.name} has no storage pool "${storageName}"`);
  if (!storage.active)
    throw new Fault('CONFLICT', `storage pool ${storageName} of host ${site.host.name} is not active`, {
      details: { field: 'storageName' },
    });
  if (isBlockStorage(storage.type)) {
    if (disks.some((disk) => disk.format === 'qcow2'))
      refuse(
        'storageName',
        `qcow2 disks cannot be restored to "${storageName}", a pool of block devices (S2)`,
      );
    if (volumes.length === 0)
      refuse('volumes', `raw disks in "${storageName}", a pool of block devices, need a volume named (S3)`);
  }
  if (volumes.length > 0) return;
  const isThin = (format: string): boolean => preallocation === 'thin' && format !== 'raw';
  const needed = disks
    .map((disk) => (isThin(disk.format) ? emptyQcow2Bytes : volumeBytes(disk.sizeBytes)))
    .reduce((sum, bytes) => sum + bytes, 0);
  if (needed > storage.freeBytes) {
    const rule = `"${storageName}" has ${storage.freeBytes} bytes free, at least ${needed} are needed`;
    refuse('storageName', rule, { freeBytes: storage.freeBytes, neededBytes: needed });
  }
};

/** S3: the volume that takes the disk, or null where one is made. */
const volumeOf = (
  request: RestoreVmPlanRequest,
  index: number,
  site: RestoreSite,
): NewDisk['volume'] | null => {
  const { storageName, volumes, disks } = request;
  const disk = disks[index];
  if (volumes.length === 0 || disk === undefined) return null;
  const named = volumes.find(({ target }) => target === disk.target);
  if (named === undefined) return refuse('volumes', `none is named for disk ${disk.target} (S3)`);
  const { volume, override } = named;
  if (disk.format !== 'raw')
    return refuse(
      'volumes',
      `disk ${disk.target} is ${disk.format}: only raw disks take a named volume (S3)`,
    );
  const found = site.volumes.find(({ name }) => name === volume);
  if (!found?.path) return refuse('volumes', `"${storageName}" has no volume "${volume}" (S3)`);
  if (found.sizeBytes < disk.sizeBytes)
    return refuse(
      'volumes',
      `"${volume}" has ${found.sizeBytes} bytes, disk ${disk.target} ${disk.sizeBytes} (S3)`,
    );
  if (found.users !== '' && !override)
    throw new Fault(
      'CONFLICT',
      `volumes: "${volume}" is used by ${found.users}; override if it is meant (S3)`,
      {
        details: { field: 'volumes', volume, users: found.users },
      },
    );
  const { type = '' } = site.storages.find(({ name }) => name === storageName) ?? {};
  return { path: found.path, fileType: isBlockStorage(type) ? 'block' : 'file' };
};

const judgeVolumes = ({ volumes, disks }: RestoreVmPlanRequest): void => {
  if (volumes.length === 0) return;
  const unknown = volumes.find(({ target }) => !disks.some((disk) => disk.target === target));
  if (unknown !== undefined) refuse('volumes', `the point has no disk ${unknown.target}`);
  if (new Set(volumes.map(({ volume }) => volume)).size !== volumes.length)
    refuse('volumes', 'each volume may stand once');
  if (new Set(volumes.map(({ target }) => target)).size !== volumes.length)
    refuse('volumes', 'each target may stand once');
};

const diskOf = (request: RestoreVmPlanRequest, index: number, site: RestoreSite): NewDisk => {
  const disk = request.disks[index];
  if (disk === undefined || disk.bus === 'unknown')
    return refuse(`disks.${index}.bus`, 'must be one of virtio, scsi, ide, usb');
  const volume = volumeOf(request, index, site);
  return {
    sizeMiB: volumeMiB(disk.sizeBytes),
    format: disk.format,
    bus: disk.bus,
    storageName: disk.storageName ?? request.storageName,
    preallocation: request.preallocation,
    ...(volume && { volume }),
  };
};

const nicOf = (nic: RestoreVmPlanRequest['nics'][number], index: number, site: RestoreSite): NewNic => {
  const found = site.switches.find((item) => item.name === nic.switchName);
  if (found === undefined)
    return refuse(
      `nics.${index}.switchName`,
      `host ${site.host.name} has no virtual switch "${nic.switchName}"`,
    );
  const profile = site.profiles.find((item) => item.name === nic.profileName);
  if (nic.profileName !== null && profile === undefined)
    return refuse(`nics.${index}.profileName`, `there is no network policy template "${nic.profileName}"`);
  return {
    switchExternalId: found.externalId,
    switchName: found.name,
    profileExternalId: profile?.externalId ?? null,
    model: nic.model,
    ...(nic.mac !== undefined && { mac: nic.mac }),
  };
};

/** F9: an image's disk is made anew, as a file. */
const judgeImage = ({ becomesImage, storageName }: RestoreVmPlanRequest, { storages }: RestoreSite): void => {
  const storage = storages.find((item) => item.name === storageName);
  if (becomesImage && storage !== undefined && isBlockStorage(storage.type))
    refuse('storageName', `an image is a file, "${storageName}" a pool of block devices (S2, S3)`);
};

const judgeTargets = ({ disks }: RestoreVmPlanRequest): void => {
  const targets = disks.map((disk) => disk.target);
  if (new Set(targets).size !== targets.length) refuse('disks', 'each target may stand once');
};

/** Everything that can be judged before anything is made, each by itself: each throws what is wrong. */
const judgesOf = (request: RestoreVmPlanRequest, site: RestoreSite): (() => unknown)[] => [
  () => judgeHostState(site.host),
  () => judgeCpu(request, site.host),
  () => judgeMemory(request, site.host),
  () => judgeImage(request, site),
  () => judgeStorage(request, site),
  () => judgeTargets(request),
  () => judgeVolumes(request),
  ...request.disks.map((_, index) => () => diskOf(request, index, site)),
  ...request.nics.map((nic, index) => () => nicOf(nic, index, site)),
];

/** Every refusal of a request at its target; none: it can be planned. */
export const refusalsOf = (request: RestoreVmPlanRequest, site: RestoreSite): Fault[] =>
  judgesOf(request, site).flatMap((judge) => {
    try {
      judge();
      return [];
    } catch (error) {
      if (Fault.is(error)) return [error];
      throw error;
    }
  });

/** What the CVM is asked for; the first refusal, INPUT_INVALID or CONFLICT, names what is wrong. */
export const planRestoreVm = (
  request: RestoreVmPlanRequest,
  site: RestoreSite,
): { disks: NewDisk[]; nics: NewNic[] } => {
  const [refusal] = refusalsOf(request, site);
  if (refusal) throw refusal;
  return {
    disks: request.disks.map((_, index) => diskOf(request, index, site)),
    nics: request.nics.map((nic, index) => nicOf(nic, index, site)),
  };
};

/** S8: unless it is to be overwritten, what bears the name stays. */
export const nameTaken = ({ vmName }: Pick<RestoreVmRequest, 'vmName'>): Fault =>
  new Fault('ALREADY_EXISTS', `vmName: the platform has a VM or template "${vmName}" already (S8)`, {
    details: { field: 'vmName' },
  });

interface MadeDisk {
  readonly target: string;
  readonly path: string;
  readonly format: string;
  readonly bus: string;
  readonly sizeBytes: number;
}

/** UNPROVEN: no public client shows how a CVM tells of a guest's firmware; it is looked for in the fields that speak of booting. */
const firmwareField = /^(bios|boot|firmware|loader|uefi|os_?loader)/i;
const saysUefi = (value: unknown, depth = 3): boolean => {
  if (depth === 0 || typeof value !== 'object' || value === null) return false;
  return Object.entries(value).some(
    ([field, told]) =>
      (firmwareField.test(field) && typeof told === 'string' && /uefi|ovmf|^efi$/i.test(told)) ||
      saysUefi(told, depth - 1),
  );
};

/** S5. */
export const firmwareNotices = (configuration: Record<string, unknown>): ReasonCode[] =>
  saysUefi(configuration) ? ['UEFI_NOTICE'] : [];

/** What the user should know of the VM that was made (S5, S6, S8). Without a network card nothing clashes. */
export const noticesOf = (
  { configuration, nics }: Pick<RestoreVmRequest, 'configuration' | 'nics'>,
  sourceExists: boolean,
  overwrites = false,
): ReasonCode[] => [
  ...(overwrites ? (['OVERWRITES_VM'] as const) : []),
  ...firmwareNotices(configuration),
  ...(sourceExists && nics.length > 0 ? (['MAY_CLASH'] as const) : []),
];

const byTarget = (a: MadeDisk, b: MadeDisk): number =>
  a.target.length - b.target.length || (a.target < b.target ? -1 : 1);

/**
 * Which volume takes which disk. The CVM names targets anew (vda, vdb ... for a bus), in the order of the request: so the
 * n-th disk of a bus is the n-th of that bus. Null when what was made is not (yet) what was asked for.
 */
export const matchDisks = (
  request: RestoreVmRequest,
  made: readonly MadeDisk[],
): { target: string; path: string; format: 'qcow2' | 'raw'; sizeBytes: number }[] | null => {
  if (made.length !== request.disks.length) return null;
  const left = new Map<string, MadeDisk[]>();
  for (const disk of [...made].sort(byTarget)) left.set(disk.bus, [...(left.get(disk.bus) ?? []), disk]);
  const matched = request.disks.map((disk) => {
    const next = left.get(disk.bus)?.shift();
    const madeBytes = volumeBytes(disk.sizeBytes);
    if (next === undefined || next.format !== disk.format) return null;
    const isNamed = request.volumes.length > 0;
    if (isNamed ? next.sizeBytes < disk.sizeBytes : next.sizeBytes !== madeBytes) return null;
    return { target: disk.target, path: next.path, format: disk.format, sizeBytes: next.sizeBytes };
  });
  return matched.every((disk) => disk !== null) ? matched : null;
};
