import { type CallBody } from './caller.js';

/** A disk of a new VM: the CVM makes it, empty, or takes a volume that is there. */
export interface NewDisk {
  /** Whole MiB: the CVM takes no finer size. */
  readonly sizeMiB: number;
  readonly format: 'qcow2' | 'raw';
  readonly bus: 'virtio' | 'scsi' | 'ide' | 'usb';
  readonly storageName: string;
  /** Of a volume that the CVM makes. */
  readonly preallocation?: 'thin' | 'lazy-zeroed' | 'eager-zeroed';
  /** A volume that is there (S3). */
  readonly volume?: { readonly path: string; readonly fileType: 'file' | 'block' };
}

export interface NewNic {
  readonly switchExternalId: string;
  readonly switchName: string;
  readonly profileExternalId: string | null;
  readonly model: string;
  /** Absent: the CVM gives one. */
  readonly mac?: string;
}

export interface NewVm {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly hostExternalId: string;
  /** Of all sockets together: a multiple of `coresPerSocket`. */
  readonly cpuCount: number;
  /** Default 1. */
  readonly coresPerSocket?: number;
  readonly memoryMiB: number;
  readonly disks: readonly NewDisk[];
  readonly nics: readonly NewNic[];
  /** 0 Windows, 1 Linux, as the CVM counts. */
  readonly system: '0' | '1';
  readonly osVersion: string;
  readonly architecture: 'x86_64' | 'aarch64';
}

/** Cluster size of the disks that the CVM's own page makes. */
const clusterSize = 262_144;

/**
 * UNPROVEN: every disk that public clients show has `mode` 2, made thin by the CVM's own page; that it is the way of provisioning, and the
 * other two numbers, are guesses.
 */
const provisioning = { 'eager-zeroed': 0, 'lazy-zeroed': 1, thin: 2 } as const;

/** S4: whatever the source's disks were, these are dependent (`subordinate`). */
const storageOf = (disk: NewDisk) => ({
  device: 'disk',
  type: disk.volume?.fileType ?? 'file',
  ...(disk.volume && { storeFile: disk.volume.path }),
  capacity: disk.sizeMiB,
  poolName: disk.storageName,
  mode: provisioning[disk.preallocation ?? 'thin'],
  clusterSize,
  targetBus: disk.bus,
  cacheType: 'directsync',
  diskMode: 'subordinate',
  driveType: disk.format,
  assignType: 0,
});

export const networkOf = (nic: NewNic) => ({
  ...(nic.mac !== undefined && { mac: nic.mac }),
  vsId: nic.switchExternalId,
  vsName: nic.switchName,
  profileId: nic.profileExternalId ?? '1',
  deviceModel: nic.model,
  isKernelAccelerated: nic.model === 'virtio' ? 1 : 0,
  mtu: 1500,
});

/** Body of `POST /vm/add`: the fields that clients of the 7.0 line send, all of them. */
export const newVmBody = ({ coresPerSocket: cpuCores = 1, ...vm }: NewVm): CallBody => ({
  root: 'domain',
  fields: {
    name: vm.name,
    title: vm.title,
    description: vm.description,
    hostId: vm.hostExternalId,
    memory: vm.memoryMiB,
    memoryInit: vm.memoryMiB,
    memoryUnit: 'MB',
    memoryBacking: 0,
    memoryPriority: 0,
    autoMem: 0,
    hugepage: 0,
    cpuSockets: vm.cpuCount / cpuCores,
    cpuCores,
    maxCpuSocket: vm.cpuCount / cpuCores,
    cpuMode: 'custom',
    cpuShares: 512,
    blkiotune: 300,
    formatEnable: 1,
    osBit: vm.architecture,
    system: vm.system,
    osVersion: vm.osVersion,
    autoMigrate: 0,
    autoLoadVirtio: 0,
    autoTools: 0,
    priority: 1,
    osInstallMode: 'none',
    viewType: 'vnc',
    bootingDevice: 0,
    storage: vm.disks.map(storageOf),
    network: vm.nics.map(networkOf),
  },
});
