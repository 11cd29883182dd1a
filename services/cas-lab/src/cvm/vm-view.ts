import { imageInfo } from '../host/disk-images.js';
import { type DiskFacts, type DomainFacts } from '../platform/domain-facts.js';
import { type PowerState } from '../platform/machines.js';
import { type VmRecord } from '../platform/state.js';
import { casTime } from '../rest/task-board.js';
import { type Fields } from '../rest/shape.js';
import { cluster, hostPool, type Platform } from './platform.js';

const MiB = 1_048_576;

const templateStatus = 0;
/** 0 template, 1 unknown, 2 running, 3 shut off, 4 paused. */
export const statusNumbers: Readonly<Record<PowerState, number>> = {
  unknown: 1,
  running: 2,
  shutOff: 3,
  paused: 4,
};

const wholeMiB = (bytes: number): number => Math.round(bytes / MiB);

/** Rows of the lists of machines. libvirt is asked once a machine. */
export async function vmRows(platform: Platform, wanted: (vm: VmRecord) => boolean): Promise<Fields[]> {
  const rows: Fields[] = [];
  for (const vm of platform.machines.all.filter((one) => platform.hosts.has(one.hostId) && wanted(one)))
    rows.push(await vmRow(platform, vm));
  return rows;
}

export async function vmRow(platform: Platform, vm: VmRecord): Promise<Fields> {
  const { state, facts } = await platform.machines.look(vm);
  return rowOf(platform, vm, state, facts);
}

function rowOf(platform: Platform, vm: VmRecord, state: PowerState, facts: DomainFacts): Fields {
  const host = platform.machines.host(vm.hostId);
  return {
    id: vm.id,
    name: vm.name,
    title: vm.title,
    uuid: vm.uuid,
    // What a CVM says in words of a template is not known: it is off.
    status: vm.isTemplate ? templateStatus : statusNumbers[state],
    vmStatus: state,
    hostId: host.id,
    hostName: host.name,
    clusterId: cluster.id,
    clusterName: cluster.name,
    hostPoolId: hostPool.id,
    hpName: hostPool.name,
    cpu: facts.cpuCount,
    memory: facts.memoryMiB,
    osDesc: vm.osVersion,
    ipAddr: '',
    castoolsStatus: 0,
    createDate: casTime(new Date(vm.createdAt)),
    type: 0,
    flag: 0,
    existRaw: facts.disks.some((disk) => disk.format === 'raw') ? 1 : 0,
    existBlock: facts.disks.some((disk) => disk.type === 'block') ? 1 : 0,
  };
}

/** `GET /vm/{id}`: flat; a disk's `device` is its name in the guest, `format` its access mode. */
export async function vmFlat(platform: Platform, vm: VmRecord): Promise<Fields> {
  const { state, facts } = await platform.machines.look(vm);
  const row = rowOf(platform, vm, state, facts);
  const storage: Fields[] = [];
  for (const disk of facts.disks) storage.push(await flatDisk(platform, vm, disk));
  return {
    ...row,
    description: vm.description,
    osBit: 'x86_64',
    system: vm.system,
    bootingDevice: 0,
    autoBooting: 0,
    deployed: 0,
    existCdromOrFloppy: 0,
    existPciOrUsb: 0,
    network: facts.nics.map(({ mac }) => flatPort(platform, vm, mac)),
    storage,
  };
}

async function flatDisk(platform: Platform, vm: VmRecord, disk: DiskFacts): Promise<Fields> {
  const pool = poolOf(platform, vm.hostId, disk.path);
  const info = await imageInfo(disk.path);
  return {
    device: disk.target,
    storeFile: disk.path,
    capacity: wholeMiB(info.sizeBytes),
    targetBus: disk.bus,
    type: disk.type,
    diskDevice: disk.device,
    backingStore: info.backingFile ?? undefined,
    driveType: disk.format,
    cacheType: disk.cache,
    format: 'Read-Write',
    assignType: 0,
    poolName: pool?.name,
    poolType: pool?.type,
  };
}

function flatPort(platform: Platform, vm: VmRecord, mac: string): Fields {
  const { vswitch, profile } = portOf(platform, vm, mac);
  return { mac, vsName: vswitch?.name, mode: 'VEB', vlan: profile?.vlanId ?? undefined, ipAddr: '' };
}

function portOf(platform: Platform, vm: VmRecord, mac: string) {
  const port = vm.ports[mac];
  return {
    vswitch: platform.state.switches.find((one) => one.id === port?.switchId),
    profile: platform.state.profiles.find((one) => one.id === port?.profileId),
  };
}

export const poolOf = (platform: Platform, hostId: number, path: string) =>
  platform.state.storagePools.find((pool) => pool.hostId === hostId && path.startsWith(`${pool.path}/`));

/** `GET /vm/detail/{id}`: in sections; a disk's `device` is its kind, `format` its image format. */
export async function vmDetail(platform: Platform, vm: VmRecord): Promise<Fields> {
  const { state, facts, pending } = await platform.machines.look(vm);
  const storage: Fields[] = [];
  for (const disk of facts.disks) storage.push(await detailDisk(vm, disk));
  // By which field a CVM tells of a disk that waits for a restart is not known: a guess of the emulation and the client alike.
  for (const disk of pending) storage.push({ ...(await detailDisk(vm, disk)), needRestart: 1 });
  return {
    id: vm.id,
    name: vm.name,
    title: vm.title,
    uuid: vm.uuid,
    hostId: vm.hostId,
    status: state,
    basic: {
      acpi: 1,
      apic: 1,
      pae: 1,
      architecture: 'x86_64',
      blkiotune: 300,
      clock: 'utc',
      emulator: '/usr/bin/kvm',
      haManage: 0,
      timeSync: 0,
      desc: vm.description,
      osVersion: vm.osVersion,
      startPriority: 1,
      autoMigrate: 0,
      machineVersion: '7.0',
    },
    cpu: {
      cpuSockets: facts.cpuCount / facts.coresPerSocket,
      cpuCores: facts.coresPerSocket,
      cpuMode: 'custom',
      cpuArch: 'x86_64',
      cpuShares: 512,
      maxCpuNum: facts.cpuCount,
    },
    memory: {
      size: facts.memoryMiB,
      memoryInit: facts.memoryMiB,
      memoryUnit: 'MB',
      memoryBacking: 0,
      memoryPriority: 0,
      maxMemory: facts.memoryMiB,
    },
    bootDev: { autoStart: 0, bootdevs: 'hd' },
    storage,
    network: facts.nics.map(({ mac, model }) => detailPort(platform, vm, mac, model)),
  };
}

async function detailDisk(vm: VmRecord, disk: DiskFacts): Promise<Fields> {
  const info = await imageInfo(disk.path);
  return {
    device: disk.device,
    deviceName: disk.target,
    path: disk.path,
    format: disk.format,
    fileType: disk.type,
    targetBus: disk.bus,
    cacheType: disk.cache,
    size: wholeMiB(info.sizeBytes),
    allocation: wholeMiB(info.allocatedBytes),
    maxSize: wholeMiB(info.sizeBytes),
    diskMode: vm.independent.includes(disk.target) ? 'independent_persistent' : 'subordinate',
    diskSecret: disk.encrypted ? 1 : undefined,
    snapShot: info.internalSnapshots > 0 ? 1 : 0,
    backingFile: info.backingFile ?? undefined,
  };
}

function detailPort(platform: Platform, vm: VmRecord, mac: string, model: string): Fields {
  const { vswitch, profile } = portOf(platform, vm, mac);
  return {
    mac,
    deviceModel: model,
    isKernelAccelerated: model === 'virtio' ? 1 : 0,
    vsId: vswitch?.id,
    vsName: vswitch?.name,
    vsMode: 'veb',
    mode: 'veb',
    netType: 'bridge',
    profileId: profile?.id,
  };
}
