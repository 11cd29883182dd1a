import { z } from 'zod';
import { mib } from './storage.js';
import { numberOr, rows, section, text, type Wire } from './wire.js';

export type CasPowerState = 'running' | 'stopped' | 'paused' | 'migrating' | 'unknown' | 'template';

const byNumber: Record<string, CasPowerState> = {
  '0': 'template',
  '2': 'running',
  '3': 'stopped',
  '4': 'paused',
};
const byName: Record<string, CasPowerState> = {
  running: 'running',
  shutoff: 'stopped',
  paused: 'paused',
  migrating: 'migrating',
};

/**
 * `status` 0 template, 1 unknown, 2 running, 3 shut off, 4 paused; `vmStatus` in words, which also knows of a migration, yet not of
 * templates.
 */
export const powerStateOf = (status: string, vmStatus: string): CasPowerState => {
  if (byNumber[status] === 'template') return 'template';
  return byName[vmStatus.toLowerCase()] ?? byNumber[status] ?? byName[status.toLowerCase()] ?? 'unknown';
};

/** A row of `GET /vm/vmList`. */
export const vmRowSchema = z
  .object({
    id: text.pipe(z.string().min(1)),
    name: text,
    title: text,
    uuid: text,
    status: text,
    vmStatus: text,
    hostId: text,
    hostName: text,
    cpu: numberOr(0),
    memory: numberOr(0),
  })
  .transform((vm) => ({
    externalId: vm.id,
    name: vm.name,
    title: vm.title === '' ? vm.name : vm.title,
    uuid: vm.uuid.toLowerCase(),
    powerState: powerStateOf(vm.status, vm.vmStatus),
    hostExternalId: vm.hostId,
    cpuCount: Math.round(vm.cpu),
    memoryMiB: Math.round(vm.memory),
  }));
export type CasVmRow = z.output<typeof vmRowSchema>;

export type CasDiskFormat = 'qcow2' | 'raw' | 'unknown';
export type CasDiskBus = 'virtio' | 'scsi' | 'ide' | 'usb' | 'unknown';

export interface CasDisk {
  /** `vda` */
  readonly target: string;
  readonly path: string;
  readonly format: CasDiskFormat;
  readonly fileType: 'file' | 'block';
  readonly bus: CasDiskBus;
  readonly mode: 'dependent' | 'independent-persistent';
  /** As exact as the CVM tells it: whole MiB. The disk service knows the exact size. */
  readonly sizeBytes: number;
  readonly storageName: string | null;
  readonly encrypted: boolean;
  readonly hasInternalSnapshot: boolean;
  readonly backingFile: string | null;
  /** Added since the last boot on a bus without hot plug: the running guest does not have it (R10). */
  readonly restartNeeded: boolean;
}

/**
 * A row of `storage[]`, in both shapes. The trap: in `/vm/{id}` `device` is the target and `format` the access mode, in
 * `/vm/detail/{id}` `device` is the kind and `format` the image format.
 */
const storageRowSchema = z.object({
  device: text,
  deviceName: text,
  diskDevice: text,
  path: text,
  storeFile: text,
  format: text,
  driveType: text,
  fileType: text,
  type: text,
  targetBus: text,
  diskMode: text,
  size: numberOr(0),
  capacity: numberOr(0),
  poolName: text,
  encrypt: text,
  diskSecret: text,
  snapShot: text,
  backingFile: text,
  backingStore: text,
  // UNPROVEN: no public client shows by which field a CVM tells of a disk that waits for a restart.
  needRestart: text,
});
type StorageRow = z.infer<typeof storageRowSchema>;

const isDiskKind = (kind: string): boolean => kind === '' || kind === 'disk' || kind === '磁盘';

/** Both shapes as one: kind, target, path and format. */
const unify = (row: StorageRow) =>
  row.deviceName === '' && row.path === ''
    ? {
        kind: row.diskDevice,
        target: row.device,
        path: row.storeFile,
        format: row.driveType,
        fileType: row.type,
      }
    : {
        kind: row.device,
        target: row.deviceName,
        path: row.path,
        format: row.format,
        fileType: row.fileType,
      };

const oneOf = <T extends string>(known: readonly T[], value: string): T | 'unknown' =>
  known.find((item) => item === value.toLowerCase()) ?? 'unknown';

const modeOf = (mode: string): CasDisk['mode'] =>
  /independent|persist/i.test(mode) || mode.includes('独立') ? 'independent-persistent' : 'dependent';

const isSet = (value: string): boolean => value !== '' && value !== '0' && value.toLowerCase() !== 'false';

const diskOf = (row: StorageRow): CasDisk | null => {
  const { kind, target, path, format, fileType } = unify(row);
  if (!isDiskKind(kind) || target === '' || path === '') return null;
  const backing = row.backingFile || row.backingStore;
  return {
    target,
    path,
    format: oneOf(['qcow2', 'raw'], format),
    fileType: fileType === 'block' ? 'block' : 'file',
    bus: oneOf(['virtio', 'scsi', 'ide', 'usb'], row.targetBus),
    mode: modeOf(row.diskMode),
    sizeBytes: Math.round((row.size === 0 ? row.capacity : row.size) * mib),
    storageName: row.poolName === '' ? null : row.poolName,
    encrypted: isSet(row.encrypt) || isSet(row.diskSecret),
    hasInternalSnapshot: isSet(row.snapShot),
    backingFile: backing === '' ? null : backing,
    restartNeeded: isSet(row.needRestart),
  };
};

const networkRowSchema = z
  .object({
    mac: text,
    vsId: text,
    vsName: text,
    profileId: text,
    profileName: text,
    deviceModel: text,
  })
  .transform((nic) => ({
    mac: nic.mac.toLowerCase(),
    switchName: nic.vsName === '' ? null : nic.vsName,
    switchExternalId: nic.vsId === '' ? null : nic.vsId,
    profileExternalId: nic.profileId === '' ? null : nic.profileId,
    profileName: nic.profileName === '' ? null : nic.profileName,
    model: nic.deviceModel === '' ? 'virtio' : nic.deviceModel,
  }));
export type CasNic = z.output<typeof networkRowSchema>;

/** `GET /vm/detail/{id}`, sectioned; the flat fields of `GET /vm/{id}` are taken where a section is missing. */
export const vmDetailSchema = z
  .object({
    description: text,
    memory: z.unknown(),
    cpu: z.unknown(),
    basic: section(z.object({ desc: text, description: text, architecture: text })),
    storage: rows(storageRowSchema),
    network: rows(networkRowSchema),
  })
  .transform((vm) => ({
    description: vm.basic.desc || vm.basic.description || vm.description,
    disks: vm.storage.flatMap((row) => diskOf(row) ?? []),
    nics: vm.network,
    cpuCount: cpuCountOf(vm.cpu as Wire),
    coresPerSocket: coresOf(vm.cpu as Wire),
    memoryMiB: memoryOf(vm.memory as Wire),
  }));
export type CasVmDetail = z.output<typeof vmDetailSchema>;

const cpuSection = z.object({ cpuSockets: numberOr(1), cpuCores: numberOr(1) });
const scalarNumber = numberOr(0);

const cpuCountOf = (cpu: Wire | undefined): number => {
  const sectioned = cpuSection.safeParse(cpu);
  if (sectioned.success) return sectioned.data.cpuSockets * sectioned.data.cpuCores;
  const flat = scalarNumber.safeParse(cpu);
  return flat.success ? flat.data : 0;
};

/** One where the CVM tells only how many CPUs there are. */
const coresOf = (cpu: Wire | undefined): number => {
  const sectioned = cpuSection.safeParse(cpu);
  return sectioned.success ? sectioned.data.cpuCores : 1;
};

const memoryOf = (memory: Wire | undefined): number => {
  const sectioned = z.object({ size: numberOr(0) }).safeParse(memory);
  if (sectioned.success) return sectioned.data.size;
  const flat = scalarNumber.safeParse(memory);
  return flat.success ? flat.data : 0;
};
