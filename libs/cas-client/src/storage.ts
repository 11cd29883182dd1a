import { z } from 'zod';
import { numberOr, text } from './wire.js';

/** The CVM counts memory and storage in MB and means MiB. */
export const mib = 1024 * 1024;
const mibBytes = (size: number): number => Math.max(0, Math.round(size * mib));

/** A storage pool of a host (`GET /storage/pool`, `/storage/info`). */
export const storagePoolSchema = z
  .object({
    name: text.pipe(z.string().min(1)),
    title: text,
    type: text,
    path: text,
    totalSize: numberOr(0),
    freeSize: numberOr(0),
    status: numberOr(1),
  })
  .transform((pool) => ({
    name: pool.name,
    title: pool.title === '' ? pool.name : pool.title,
    type: pool.type,
    path: pool.path,
    capacityBytes: mibBytes(pool.totalSize),
    freeBytes: mibBytes(pool.freeSize),
    active: pool.status === 1,
  }));
export type CasStoragePool = z.output<typeof storagePoolSchema>;

/** S2: pools of these types hold block devices, on which no qcow2 file can lie. */
export const isBlockStorage = (type: string): boolean =>
  /^(iscsi|fc|fcsan|scsi|rbd|ceph|lvm|logical|mpath|disk|lun)/i.test(type);

/** A volume of a storage pool (`GET /storage/volume`). */
export const storageVolumeSchema = z
  .object({
    name: text.pipe(z.string().min(1)),
    path: text,
    size: numberOr(0),
    allocation: numberOr(0),
    format: text,
    users: text,
    level: numberOr(0),
  })
  .transform((volume) => ({
    name: volume.name,
    path: volume.path === '' ? null : volume.path,
    sizeBytes: mibBytes(volume.size),
    allocationBytes: mibBytes(volume.allocation),
    format: volume.format,
    users: volume.users,
    isBaseImage: volume.level > 0,
  }));
export type CasStorageVolume = z.output<typeof storageVolumeSchema>;
