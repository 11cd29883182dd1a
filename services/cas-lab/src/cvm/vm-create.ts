import { stat } from 'node:fs/promises';
import { imageInfo, type ImageFormat, type Layout } from '../host/disk-images.js';
import {
  cacheTypes,
  diskBuses,
  type CacheType,
  type DiskBus,
  type DomainDiskSpec,
} from '../host/domain-xml.js';
import { freeTarget, type MachineSpec } from '../platform/machines.js';
import { CasError, casErrorCodes } from '../rest/cas-error.js';
import { asList, asNumber, asText, type RequestBody } from '../rest/request-body.js';
import { hostById } from './host-routes.js';
import { type Platform } from './platform.js';
import { addVolume, findPool } from './storage-routes.js';
import { poolOf } from './vm-view.js';

const refuse = (message: string): CasError => new CasError(casErrorCodes.unknown, message);
export const namePattern = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/;

const oneOf = <T extends string>(known: readonly T[], value: string | undefined, otherwise: T): T =>
  known.find((item) => item === value) ?? otherwise;

/** A request for a machine, checked; the disks are still to be made. */
export interface NewMachine {
  readonly spec: Omit<MachineSpec, 'disks' | 'independent'>;
  readonly storage: readonly RequestBody[];
}

/** Checks what can be refused at once. A host may be named by its cluster alone: the first one is taken. */
export function readNewMachine(platform: Platform, body: RequestBody): NewMachine {
  const name = asText(body['name']) ?? '';
  if (!namePattern.test(name)) throw refuse('虚拟机名称不合法。');
  if (platform.machines.all.some((vm) => vm.name === name)) {
    throw new CasError(casErrorCodes.vmExists, '虚拟机已经存在。');
  }
  const host = hostById(platform, asText(body['hostId']) ?? String([...platform.hosts.keys()][0]));
  const memoryMiB = memoryOf(body);
  const coresPerSocket = asNumber(body['cpuCores']) ?? 1;
  const cpuCount = (asNumber(body['cpuSockets']) ?? 1) * coresPerSocket;
  if (!(memoryMiB >= 64) || !(cpuCount >= 1)) throw refuse('CPU或内存不合法。');
  return {
    spec: {
      name,
      title: asText(body['title']) ?? name,
      description: asText(body['description']) ?? '',
      hostId: host.id,
      memoryMiB,
      cpuCount,
      coresPerSocket,
      nics: asList(body['network']).map((row) => nicOf(platform, row)),
      guest: 'linux',
      osVersion: asText(body['osVersion']) ?? '',
      system: asNumber(body['system']) ?? 1,
    },
    storage: asList(body['storage']).filter((row) => (asText(row['device']) ?? 'disk') === 'disk'),
  };
}

/** `memory` is in MB; `memoryInit` is counted in `memoryUnit` and must say the same. */
function memoryOf(body: RequestBody): number {
  const memory = asNumber(body['memory']) ?? 0;
  const init = asNumber(body['memoryInit']);
  const unit = asText(body['memoryUnit']) === 'GB' ? 1024 : 1;
  if (init !== undefined && init * unit !== memory) throw refuse('内存大小与初始内存不一致。');
  return memory;
}

export function nicOf(platform: Platform, row: RequestBody): MachineSpec['nics'][number] {
  const vsId = asNumber(row['vsId']);
  const vsName = asText(row['vsName']);
  const vswitch = platform.state.switches.find((one) => one.id === vsId || one.name === vsName);
  if (!vswitch) throw new CasError(casErrorCodes.noSuchSwitch, '虚拟交换机不存在。');
  return {
    mac: (asText(row['mac']) ?? '').toLowerCase(),
    model: asText(row['deviceModel']) ?? 'virtio',
    switchId: vswitch.id,
    profileId: asNumber(row['profileId']) ?? null,
  };
}

/** The disks of a new machine, in their order: files that are there are taken, the others are made empty. */
export async function makeDisks(platform: Platform, machine: NewMachine): Promise<DomainDiskSpec[]> {
  const disks: DomainDiskSpec[] = [];
  for (const row of machine.storage) {
    const taken = disks.map((disk) => disk.target);
    disks.push(await makeDisk(platform, machine.spec, row, taken));
  }
  return disks;
}

/** One disk of a request: `storeFile` (or `path`) names a file that exists, else `capacity` and `poolName` make one. */
export async function makeDisk(
  platform: Platform,
  machine: { name: string; hostId: number },
  row: RequestBody,
  taken: readonly string[],
): Promise<DomainDiskSpec> {
  const bus = oneOf<DiskBus>(diskBuses, asText(row['targetBus']), 'virtio');
  const wished = oneOf<CacheType>(cacheTypes, asText(row['cacheType']), 'directsync');
  const cache = platform.machines.host(machine.hostId).cacheMode(wished);
  const wanted: ImageFormat = formatText(row) === 'raw' ? 'raw' : 'qcow2';
  const file = asText(row['storeFile']) ?? asText(row['path']);
  const target = freeTarget(bus, taken);
  if (file !== undefined) {
    const { path, format } = await takeFile(platform, machine.hostId, file, formatText(row));
    return { target, path, format, bus, cache };
  }
  const pool = findPool(platform, String(machine.hostId), asText(row['poolName']));
  const path = await addVolume(platform, pool, {
    name: await freeVolumeName(pool.path, machine.name),
    sizeMiB: asNumber(row['capacity']) ?? asNumber(row['size']) ?? 0,
    format: wanted,
    layout: layoutOf(row),
  });
  return { target, path, format: wanted, bus, cache };
}

/** That `mode` is the way of provisioning is a guess of the emulation and the client alike: 0 eager zeroed, 1 lazy zeroed, 2 thin. */
const layouts: readonly Layout[] = ['full', 'falloc', 'off'];
const layoutOf = (row: RequestBody): Layout => layouts[asNumber(row['mode']) ?? 2] ?? 'off';

const formatText = (row: RequestBody): string | undefined =>
  asText(row['driveType']) ?? asText(row['format']);

async function takeFile(platform: Platform, hostId: number, path: string, format: string | undefined) {
  if (!poolOf(platform, hostId, path) || path.includes('/../'))
    throw refuse(`文件 ${path} 不在任何存储池中。`);
  const info = await imageInfo(path).catch(() => null);
  if (info === null) throw refuse(`文件 ${path} 不存在。`);
  for (const vm of platform.machines.all.filter((one) => one.hostId === hostId)) {
    const { disks } = await platform.machines.facts(vm);
    if (disks.some((disk) => disk.path === path)) throw refuse(`文件正在被虚拟机 ${vm.name} 使用。`);
  }
  const known: ImageFormat = format === 'raw' || info.format === 'raw' ? 'raw' : 'qcow2';
  return { path, format: known };
}

/** `name`, `name-1` ...: the first that the pool does not have. */
async function freeVolumeName(dir: string, name: string): Promise<string> {
  for (let index = 0; ; index++) {
    const candidate = index === 0 ? name : `${name}-${String(index)}`;
    const there = await stat(`${dir}/${candidate}`).catch(() => null);
    if (there === null) return candidate;
  }
}
