import { z } from 'zod';
import {
  bytesSchema,
  defineQuery,
  emptySchema,
  instantSchema,
  pageOf,
  pageRequestSchema,
  sealedSchema,
} from './define.js';
import { faultSchema } from './fault.js';
import {
  backupHostIdSchema,
  diskIdSchema,
  hostIdSchema,
  platformIdSchema,
  poolIdSchema,
  vmIdSchema,
} from './ids.js';
import { poolLocationSchema, poolSchema, poolTypeSchema, poolViewSchema } from './pool.js';

const nameSchema = z.string().trim().min(1).max(128);

// ---- platforms (C1-C6)

/** Where a CVM is and who signs in. The password is sealed before it enters any message. */
export const platformConnectionSchema = z.object({
  address: z.string().min(1).max(253),
  ssl: z.boolean().default(false),
  /** With `ssl`: accept a certificate that no known authority signed. */
  sslIgnoreErrors: z.boolean().default(false),
  port: z.number().int().min(1).max(65535),
  userName: z.string().min(1).max(128),
  password: sealedSchema,
});
export type PlatformConnection = z.infer<typeof platformConnectionSchema>;

/** R16: by the type of the virtual switch that bears a host's address in it. */
export const networkTypeSchema = z.enum(['management', 'backup', 'storage', 'service']);
export type NetworkType = z.infer<typeof networkTypeSchema>;

/**
 * R16: the network that carries the data of a job. `auto` takes the first of backup, storage and management in which the host's disk service
 * answers; any other falls back to the management network, and the run says so (NETWORK_FALLBACK).
 */
export const preferredNetworkSchema = z.enum(['auto', 'backup', 'storage', 'management']);
export type PreferredNetwork = z.infer<typeof preferredNetworkSchema>;
export const networkOptionsSchema = z.object({ preferred: preferredNetworkSchema.default('auto') });

/** How the disk services on this platform's hosts are reached. */
export const diskServiceAccessSchema = z.object({
  /** R16: tried first where a job has no preference (`auto`); a host that does not answer there is reached as the job says. */
  network: networkTypeSchema.default('management'),
  port: z.number().int().min(1).max(65535).default(8192),
  token: sealedSchema,
});

export const platformSchema = z.object({
  id: platformIdSchema,
  name: nameSchema,
  type: z.literal('h3c-cas'),
  address: z.string(),
  ssl: z.boolean(),
  port: z.number().int(),
  userName: z.string(),
  /** `E0760` and the like (C2). */
  version: z.string(),
  architecture: z.enum(['x86_64', 'aarch64']),
  state: z.enum(['online', 'offline']),
  /** Why it is offline, or why the last synchronisation failed. */
  stateMessage: z.string().nullable(),
  lastSyncAt: instantSchema.nullable(),
  createdAt: instantSchema,
});
export type Platform = z.infer<typeof platformSchema>;

export const hostSchema = z.object({
  id: hostIdSchema,
  platformId: platformIdSchema,
  /** The CVM's own id. */
  externalId: z.string(),
  name: z.string(),
  ip: z.string(),
  status: z.enum(['normal', 'abnormal']),
  cpuCount: z.number().int(),
  memoryMiB: z.number().int(),
  vmCount: z.number().int(),
});
export type Host = z.infer<typeof hostSchema>;

export const diskSchema = z.object({
  id: diskIdSchema,
  /** `vda` */
  target: z.string(),
  path: z.string(),
  format: z.enum(['qcow2', 'raw', 'unknown']),
  fileType: z.enum(['file', 'block']),
  bus: z.enum(['virtio', 'scsi', 'ide', 'usb', 'unknown']),
  role: z.enum(['system', 'data']),
  mode: z.enum(['dependent', 'independent-persistent']),
  sizeBytes: bytesSchema,
  storageName: z.string().nullable(),
  cbtCapable: z.boolean(),
  encrypted: z.boolean(),
});
export type Disk = z.infer<typeof diskSchema>;

export const powerStateSchema = z.enum(['running', 'stopped', 'paused', 'migrating', 'unknown']);

export const nicSchema = z.object({
  mac: z.string(),
  switchName: z.string().nullable(),
  profileName: z.string().nullable(),
  model: z.string(),
});

export const vmSchema = z.object({
  id: vmIdSchema,
  platformId: platformIdSchema,
  externalId: z.string(),
  /** As the platform has it: not every one is of a version that RFC 9562 knows. */
  uuid: z.guid(),
  name: z.string(),
  title: z.string(),
  hostId: hostIdSchema,
  hostName: z.string(),
  hostIp: z.string(),
  powerState: powerStateSchema,
  cpuCount: z.number().int(),
  memoryMiB: z.number().int(),
  disks: z.array(diskSchema),
  nics: z.array(nicSchema),
});
export type Vm = z.infer<typeof vmSchema>;

/** A storage pool of the platform (共享存储/本地存储), not one of ours. */
export const storageSchema = z.object({
  hostId: hostIdSchema,
  name: z.string(),
  title: z.string(),
  type: z.string(),
  path: z.string(),
  capacityBytes: bytesSchema,
  freeBytes: bytesSchema,
  active: z.boolean(),
});
export const virtualSwitchSchema = z.object({
  hostId: hostIdSchema,
  externalId: z.string(),
  name: z.string(),
  mode: z.string(),
  networkType: z.string(),
  address: z.string().nullable(),
});
export const networkProfileSchema = z.object({
  externalId: z.string(),
  name: z.string(),
  description: z.string(),
});
/** F9: an image (虚拟机模板) of the platform, as last synchronised: no VM, never started nor protected; VMs are deployed from it. */
export const imageSchema = z.object({
  /** The CVM's own id. */
  externalId: z.string(),
  name: z.string(),
  title: z.string(),
  /** Null: on a host that is not known. */
  hostId: hostIdSchema.nullable(),
  cpuCount: z.number().int(),
  memoryMiB: z.number().int(),
});

export const registerPlatform = defineQuery('inventory', 'register-platform', 1, {
  request: z.object({
    id: platformIdSchema,
    name: nameSchema,
    connection: platformConnectionSchema,
    diskService: diskServiceAccessSchema,
  }),
  reply: platformSchema,
});
export const listPlatforms = defineQuery('inventory', 'list-platforms', 1, {
  request: pageRequestSchema,
  reply: pageOf(platformSchema),
});
export const getPlatform = defineQuery('inventory', 'get-platform', 1, {
  request: z.object({ platformId: platformIdSchema }),
  reply: platformSchema,
});
export const deregisterPlatform = defineQuery('inventory', 'deregister-platform', 1, {
  request: z.object({ platformId: platformIdSchema }),
  reply: emptySchema,
});
/** Reads everything of C4 from the CVM now; replies when it is stored. */
export const syncPlatform = defineQuery('inventory', 'sync-platform', 1, {
  request: z.object({ platformId: platformIdSchema }),
  reply: platformSchema,
});
export const listHosts = defineQuery('inventory', 'list-hosts', 1, {
  request: pageRequestSchema.extend({ platformId: platformIdSchema }),
  reply: pageOf(hostSchema),
});
/** R13: NOT_FOUND also for a host that was removed from its platform, whether or not it was added again. */
export const getHost = defineQuery('inventory', 'get-host', 1, {
  request: z.object({ hostId: hostIdSchema }),
  reply: hostSchema,
});
/** C5: `search` is a substring of VM name, host name or host IP. */
export const listVms = defineQuery('inventory', 'list-vms', 1, {
  request: pageRequestSchema.extend({
    platformId: platformIdSchema.optional(),
    hostId: hostIdSchema.optional(),
    search: z.string().max(128).optional(),
  }),
  reply: pageOf(vmSchema),
});
export const getVm = defineQuery('inventory', 'get-vm', 1, {
  request: z.object({ vmId: vmIdSchema }),
  reply: vmSchema,
});
/** VMs by their ids, in no order; `gone` says why one is not there, as `get-vm` would. So many that the reply stays below 1 MiB. */
export const getVms = defineQuery('inventory', 'get-vms', 1, {
  request: z.object({ vmIds: z.array(vmIdSchema).min(1).max(100) }),
  reply: z.object({
    vms: z.array(vmSchema),
    gone: z.array(z.object({ vmId: vmIdSchema, fault: faultSchema })),
  }),
});
export const listStorages = defineQuery('inventory', 'list-storages', 1, {
  request: pageRequestSchema.extend({ platformId: platformIdSchema }),
  reply: pageOf(storageSchema),
});
export const listSwitches = defineQuery('inventory', 'list-switches', 1, {
  request: pageRequestSchema.extend({ platformId: platformIdSchema }),
  reply: pageOf(virtualSwitchSchema),
});
export const listProfiles = defineQuery('inventory', 'list-profiles', 1, {
  request: pageRequestSchema.extend({ platformId: platformIdSchema }),
  reply: pageOf(networkProfileSchema),
});
export const listImages = defineQuery('inventory', 'list-images', 1, {
  request: pageRequestSchema.extend({ platformId: platformIdSchema }),
  reply: pageOf(imageSchema),
});

// ---- reachability (R17)

/** One port, tried from where inventory runs. */
export const portCheckSchema = z.object({
  role: z.enum(['cvm', 'cvk']),
  name: z.string(),
  address: z.string(),
  port: z.number().int(),
  /**
   * `refused`: the way is free, nothing listens there; for the ports of exports, which listen only while a disk is open, that is well.
   * `silent`: no answer in time, as from behind a firewall.
   */
  answer: z.enum(['open', 'refused', 'silent']),
  /** Whether backups need another answer than this one. */
  isFault: z.boolean(),
});
export type PortCheck = z.infer<typeof portCheckSchema>;
/**
 * R17: tries the ports of the CVM and of every CVK: the registered port of the CVM, the disk service, and the first and last port of
 * its exports. A refusal by a firewall can't be told from that of a host where nothing listens.
 */
export const diagnosePlatform = defineQuery('inventory', 'diagnose-platform', 1, {
  request: z.object({ platformId: platformIdSchema }),
  reply: z.object({
    checks: z.array(portCheckSchema),
    /** One sentence for each port that is closed, by name; empty: all are reachable. */
    closed: z.array(z.string()),
  }),
});

// ---- backup hosts (A4, A5)

export const backupHostSchema = z.object({
  id: backupHostIdSchema,
  name: z.string(),
  /** Transfers are dispatched to groups; a single machine is a group of one. */
  group: z.string(),
  address: z.string(),
  timeZone: z.string(),
  version: z.string(),
  /** Where its worker hands out the contents of points to the gateway; null: it does not. */
  contentUrl: z.url().nullable().default(null),
  state: z.enum(['online', 'offline']),
  lastSeenAt: instantSchema,
});
export type BackupHost = z.infer<typeof backupHostSchema>;
/** Sent by every mover each 10 s; offline after 35 s of silence. Registers the host the first time. */
export const reportBackupHost = defineQuery('inventory', 'report-backup-host', 1, {
  request: backupHostSchema.omit({ state: true, lastSeenAt: true }),
  reply: emptySchema,
});
export const listBackupHosts = defineQuery('inventory', 'list-backup-hosts', 1, {
  request: pageRequestSchema,
  reply: pageOf(backupHostSchema),
});

// ---- pools (E1, E3)

/** Creates the pool's repository where it is, or takes up one that is there; refused when the place can't be written. */
export const createPool = defineQuery('inventory', 'create-pool', 1, {
  request: z.object({
    id: poolIdSchema,
    name: nameSchema,
    type: poolTypeSchema,
    location: poolLocationSchema,
  }),
  reply: poolViewSchema,
});
export const listPools = defineQuery('inventory', 'list-pools', 1, {
  request: pageRequestSchema,
  reply: pageOf(poolViewSchema),
});
export const getPool = defineQuery('inventory', 'get-pool', 1, {
  request: z.object({ poolId: poolIdSchema }),
  reply: poolViewSchema,
});
/** For services: with the sealed secret. The gateway never forwards it. */
export const getPoolAccess = defineQuery('inventory', 'get-pool-access', 1, {
  request: z.object({ poolId: poolIdSchema }),
  reply: poolSchema,
});
