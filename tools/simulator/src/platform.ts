import { newId, type DiskId, type HostId, type VmId } from '@casvault/contracts';
import { type Content } from './pool.js';
import { type World } from './world.js';

export const blockBytes = 65_536;
/** When every simulation begins. */
export const epoch = Date.parse('2026-01-01T00:00:00Z');

export interface ModelDisk {
  readonly diskId: DiskId;
  readonly target: string;
  /** Of the active layer. */
  path: string;
  /** Those below it, the lowest first. */
  layers: readonly string[];
  readonly format: 'qcow2' | 'raw';
  readonly mode: 'dependent' | 'independent-persistent';
  readonly role: 'system' | 'data';
  readonly blocks: Content[];
  /** Bitmaps that are being written: what changed since their checkpoint, by its name. */
  readonly bitmaps: Map<string, Bitmap>;
}
export interface Bitmap {
  readonly dirty: Set<number>;
  readonly madeBy: string;
  /** It leaves out some of what changes. */
  readonly lies: boolean;
}
export interface ModelSnapshot {
  readonly name: string;
  readonly description: string;
  readonly kind: 'internal' | 'external';
  readonly takenAt: string;
  /** Frozen blocks by target. */
  readonly disks: ReadonlyMap<string, readonly Content[]>;
  /** The layers that hold them. */
  readonly paths: ReadonlyMap<string, string>;
  /** Of a task that came to it only when the item's own had been made and removed: the reconciler's to find. */
  readonly isBelated: boolean;
}
export interface ModelVm {
  readonly vmId: VmId;
  readonly uuid: string;
  readonly name: string;
  readonly host: ModelHost;
  power: 'running' | 'stopped';
  /** Its guest was asked to shut down. */
  isGoingDown: boolean;
  /** Null: a roll-back left it off half written. */
  wantedPower: 'running' | 'stopped' | null;
  /** Counts the starts of QEMU: a bitmap of an earlier one is known by it. */
  generation: number;
  disks: ModelDisk[];
  snapshots: ModelSnapshot[];
  /** The restore that is making it. */
  marker: string | null;
}
export interface ModelHost {
  readonly hostId: HostId;
  readonly name: string;
  readonly ip: string;
  readonly aheadMs: number;
  /** Its disk service offers the live export. */
  readonly exportsLive: boolean;
  /** Its disk service does not answer until then. */
  awayUntil: number;
}

/** Hosts, virtual machines and their disks: what the platform has and keeps, whatever happens to ours. */
export class ModelPlatform {
  readonly hosts: ModelHost[] = [];
  readonly vms: ModelVm[] = [];
  #writes = 0;
  #paths = 0;
  readonly #world: World;

  constructor(
    world: World,
    /** `E0760` */
    readonly release: string,
  ) {
    this.#world = world;
  }

  addHost(aheadMs: number, exportsLive: boolean): ModelHost {
    const number = this.hosts.length + 1;
    const host = {
      hostId: newId<HostId>(),
      name: `cvk${number}`,
      ip: `10.0.0.${number}`,
      aheadMs,
      exportsLive,
      awayUntil: 0,
    };
    this.hosts.push(host);
    return host;
  }

  addVm(host: ModelHost, name: string, power: ModelVm['power'], marker: string | null = null): ModelVm {
    const vm: ModelVm = {
      vmId: newId<VmId>(),
      uuid: newId(),
      name,
      host,
      power,
      isGoingDown: false,
      wantedPower: power,
      generation: 1,
      disks: [],
      snapshots: [],
      marker,
    };
    this.vms.push(vm);
    return vm;
  }

  addDisk(
    vm: ModelVm,
    { target, blocks, format, mode }: Pick<ModelDisk, 'target' | 'format' | 'mode'> & { blocks: number },
  ): ModelDisk {
    this.#paths += 1;
    const disk: ModelDisk = {
      diskId: newId<DiskId>(),
      target,
      path: `/vms/${vm.name}-${target}-${this.#paths}.${format}`,
      layers: [],
      format,
      mode,
      role: vm.disks.length === 0 ? 'system' : 'data',
      blocks: Array.from({ length: blocks }, () => 0),
      bitmaps: new Map(),
    };
    vm.disks = [...vm.disks, disk];
    return disk;
  }

  /** A guest writes something that was never written before. */
  write(disk: ModelDisk, block: number): void {
    this.#writes += 1;
    disk.blocks[block] = this.#writes;
    for (const bitmap of disk.bitmaps.values())
      if (!(bitmap.lies && this.#world.random.chance(0.5))) bitmap.dirty.add(block);
  }

  removeVm(vm: ModelVm): void {
    this.vms.splice(this.vms.indexOf(vm), 1);
  }

  byId(vmId: string): ModelVm | undefined {
    return this.vms.find((vm) => vm.vmId === vmId);
  }
  byName(name: string): ModelVm | undefined {
    return this.vms.find((vm) => vm.name === name);
  }
  byUuid(uuid: string): ModelVm | undefined {
    return this.vms.find((vm) => vm.uuid === uuid);
  }
  diskAt(path: string): { vm: ModelVm; disk: ModelDisk } | undefined {
    for (const vm of this.vms) {
      const disk = vm.disks.find((one) => one.path === path);
      if (disk) return { vm, disk };
    }
    return undefined;
  }
}
