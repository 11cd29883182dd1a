import { type CallBody } from './caller.js';
import { type NewDisk } from './new-vm.js';

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
