import { type CallBody } from './caller.js';
import { networkOf, type NewDisk, type NewNic } from './new-vm.js';

/** A volume that is there already, to be plugged into a VM. */
export interface AttachedDisk extends Omit<NewDisk, 'sizeMiB'> {
  readonly path: string;
  /** Default `file`. */
  readonly fileType?: 'file' | 'block';
}

/** Body of `PUT /vm/addDevice`: the volume as a dependent disk (S4). */
export const attachedDiskBody = (vm: { id: string; name: string }, disk: AttachedDisk): CallBody => ({
  root: 'domain',
  fields: {
    ...vm,
    storage: {
      device: 'disk',
      path: disk.path,
      format: disk.format,
      driveType: disk.format,
      fileType: disk.fileType ?? 'file',
      targetBus: disk.bus,
      cacheType: 'directsync',
      diskMode: 'subordinate',
      poolName: disk.storageName,
    },
  },
});

/** Body of `PUT /vm/addDevice`: one more network card. */
export const attachedNicBody = (vm: { id: string; name: string }, nic: NewNic): CallBody => ({
  root: 'domain',
  fields: { ...vm, network: networkOf(nic) },
});

/** UNPROVEN: public clients show how a disk is unplugged, of a network card only that the same call takes one. */
export const detachedNicBody = (vm: { id: string; name: string }, mac: string): CallBody => ({
  root: 'domain',
  fields: { ...vm, network: { mac } },
});

/** CPUs of all sockets together, of which each has so many. */
export interface Processors {
  readonly cpuCount: number;
  readonly coresPerSocket: number;
}

/** Body of `PUT /vm/modify`, which takes one section at a time. */
export const cpuBody = (id: string, { cpuCount, coresPerSocket }: Processors): CallBody => ({
  root: 'domain',
  fields: { id, cpu: { cpuSockets: cpuCount / coresPerSocket, cpuCores: coresPerSocket } },
});

export const memoryBody = (id: string, memoryMiB: number): CallBody => ({
  root: 'domain',
  fields: { id, memory: { size: memoryMiB, memoryInit: memoryMiB, memoryUnit: 'MB' } },
});
