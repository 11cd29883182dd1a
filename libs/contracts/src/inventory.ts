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
import {
  backupHostIdSchema,
  diskIdSchema,
  hostIdSchema,
  platformIdSchema,
  poolIdSchema,
  runItemIdSchema,
  vmIdSchema,
  type RunItemId,
} from './ids.js';
import { checkpointNameSchema } from './disk-service.js';
import { reasonCodeSchema } from './reason.js';
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

/** How the disk services on this platform's hosts are reached. */
export const diskServiceAccessSchema = z.object({
  /** R16: which network carries the data; a host that does not answer there is reached by the address that it is registered with. */
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

// ---- what snapshot-engine asks for: present facts and platform objects

/** Address and sealed token of the disk service on one host. */
export const diskServiceEndpointSchema = z.object({ url: z.url(), token: sealedSchema });
export type DiskServiceEndpoint = z.infer<typeof diskServiceEndpointSchema>;

/** The VM as the CVM tells it now (not as last synchronised), with its whole configuration for the manifest. */
export const getVmFacts = defineQuery('inventory', 'get-vm-facts', 1, {
  request: z.object({ vmId: vmIdSchema }),
  reply: z.object({
    vm: vmSchema,
    platformVersion: z.string(),
    platformName: z.string(),
    diskService: diskServiceEndpointSchema,
    configuration: z.record(z.string(), z.unknown()),
    /** What the platform's release and the VM's host can do for it now (R1, R8, R9). */
    capabilities: z
      .object({
        /** The disk service of the host offers the live point-in-time export. */
        liveExport: z.boolean(),
        /** R8: incremental backup of a running VM. */
        liveIncremental: z.boolean(),
        internalSnapshot: z.boolean(),
        externalSnapshot: z.boolean(),
        /** R9: external snapshots of this release can carry incrementals. */
        externalIncremental: z.boolean(),
      })
      .default({
        liveExport: true,
        liveIncremental: true,
        internalSnapshot: true,
        externalSnapshot: true,
        externalIncremental: true,
      }),
    /** R10: disks on a bus without hot plug that were added since the last boot, by target. */
    restartNeeded: z.array(z.string()).default([]),
  }),
});
export type VmFacts = z.infer<typeof getVmFacts.reply>;

/**
 * What an item asks of the platform for a capture or a roll-back. All are idempotent by `itemId`, and what they make bears
 * names that prove whose it is, so that whatever is killed, it is found and removed.
 */
export const shutDownVm = defineQuery('inventory', 'shut-down-vm', 1, {
  request: z.object({
    itemId: runItemIdSchema,
    vmId: vmIdSchema,
    /**
     * The guest is asked, again and again, never forced: VM_STATE_REFUSED when it has not shut down so long after the first call, and it is
     * left running. One call waits for 40 s at most, then PLATFORM_BUSY: to be asked again, so that a lost answer costs little.
     */
    withinSeconds: z.number().int().min(10).max(3_600).default(240),
  }),
  /** `wasRunning` of the first call for this item: whoever shut it down starts it again. */
  reply: z.object({ wasRunning: z.boolean() }),
});
export const startVm = defineQuery('inventory', 'start-vm', 1, {
  request: z.object({
    itemId: runItemIdSchema,
    vmId: vmIdSchema,
    /** Also a VM that was off when the item began. */
    wasOffToo: z.boolean().default(false),
  }),
  reply: emptySchema,
});
/** The item gives the VM back as it is, off: nobody starts it again for this item. After a roll-back that ended half-way. */
export const leaveVmOff = defineQuery('inventory', 'leave-vm-off', 1, {
  request: z.object({ itemId: runItemIdSchema, vmId: vmIdSchema }),
  reply: emptySchema,
});
/** Named `casvault-<itemId>` on the platform. */
export const createVmSnapshot = defineQuery('inventory', 'create-vm-snapshot', 1, {
  request: z.object({ itemId: runItemIdSchema, vmId: vmIdSchema, kind: z.enum(['internal', 'external']) }),
  reply: z.object({
    name: z.string(),
    takenAt: instantSchema,
    /** What a disk service reads: the image with the snapshot inside, or the layer that it froze. */
    disks: z.array(z.object({ target: z.string(), path: z.string() })),
  }),
});
/** Also when it is gone; nobody else's snapshot is ever touched. */
export const removeVmSnapshot = defineQuery('inventory', 'remove-vm-snapshot', 1, {
  request: z.object({ itemId: runItemIdSchema, vmId: vmIdSchema }),
  reply: emptySchema,
});
/** D6: removes this product's checkpoints and bitmaps from a VM but for those named. Asked through the disk service of its host. */
export const removeCheckpoints = defineQuery('inventory', 'remove-checkpoints', 1, {
  request: z.object({ vmId: vmIdSchema, keep: z.array(checkpointNameSchema).max(64) }),
  reply: z.object({ removed: z.array(checkpointNameSchema) }),
});

/** Something of this product that was found on a platform and that no live item owns. */
export const findingSchema = z.object({
  kind: z.enum(['snapshot', 'shutdown', 'restore-vm', 'restore-volume', 'checkpoint']),
  /** Empty for a volume that is no VM's. */
  vmName: z.string(),
  /** Whose it was; null for a checkpoint. */
  itemId: runItemIdSchema.nullable(),
  /** Its name on the platform. */
  name: z.string(),
  /** `left`: not proven to be ours, or the guest may still follow the request to shut down. */
  outcome: z.enum(['removed', 'started', 'gone', 'left', 'failed']),
  /** Why it was left, or what failed. */
  message: z.string().nullable(),
});
export type Finding = z.infer<typeof findingSchema>;
/**
 * Looks for what ended or killed items left on a platform, and removes or repairs it; runs by itself after every
 * synchronisation too. Only what stored intents and names prove to be ours is touched.
 */
export const reconcilePlatform = defineQuery('inventory', 'reconcile-platform', 1, {
  request: z.object({ platformId: platformIdSchema }),
  reply: z.object({ findings: z.array(findingSchema) }),
});

/** One disk of a VM to be made for a restore. */
export const restoreDiskSchema = z.object({
  target: z.string(),
  sizeBytes: bytesSchema,
  format: z.enum(['qcow2', 'raw']),
  bus: diskSchema.shape.bus,
});

/**
 * S3: a volume that is there already takes a raw disk, and is overwritten. One that somebody uses is refused unless `override` says that
 * it is meant.
 */
export const restoreVolumeSchema = z.object({
  target: restoreDiskSchema.shape.target,
  volume: z.string().min(1).max(128),
  override: z.boolean().default(false),
});

/**
 * Makes the VM of a restore with empty volumes, powered off (F4). Idempotent by `restoreId`: it finds the VM that an
 * earlier try made. Replies with the paths to write.
 */
export const createRestoreVm = defineQuery('inventory', 'create-restore-vm', 1, {
  request: z.object({
    restoreId: runItemIdSchema,
    platformId: platformIdSchema,
    hostId: hostIdSchema,
    storageName: z.string().min(1),
    vmName: z
      .string()
      .regex(
        /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/,
        "letters, digits, '-', '_' and '.', not beginning with '-' or '.', at most 64",
      ),
    cpuCount: z.number().int().min(1),
    memoryMiB: z.number().int().min(64),
    disks: z.array(restoreDiskSchema).min(1).max(64),
    /** S3: one for each disk, or none: then volumes are made. */
    volumes: z.array(restoreVolumeSchema).max(64).default([]),
    /** F9: it is to become an image: what would hinder that is refused before anything is written. */
    becomesImage: z.boolean().default(false),
    /** Whose point it is: if it still exists, the reply says that the two may clash (S6). */
    sourceVmId: vmIdSchema.optional(),
    nics: z.array(
      z.object({ switchName: z.string(), profileName: z.string().nullable(), model: z.string() }),
    ),
    configuration: z.record(z.string(), z.unknown()),
  }),
  reply: z.object({
    externalId: z.string(),
    uuid: z.guid(),
    diskService: diskServiceEndpointSchema,
    disks: z.array(
      z.object({
        target: z.string(),
        path: z.string(),
        format: z.enum(['qcow2', 'raw']),
        sizeBytes: bytesSchema,
      }),
    ),
    /** What the user should know of the new VM (S5, S6). */
    reasons: z.array(reasonCodeSchema).default([]),
  }),
});
/**
 * Removes the VM that `createRestoreVm` made for this restore, or the image that it became, with the volumes made for it; nothing else,
 * and nothing if it is gone or handed over.
 */
export const removeRestoreVm = defineQuery('inventory', 'remove-restore-vm', 1, {
  request: z.object({ restoreId: runItemIdSchema, platformId: platformIdSchema }),
  reply: emptySchema,
});
/** Marks the restored VM as finished, powers it on if asked, and synchronises it: it is the user's from now on. */
export const finishRestoreVm = defineQuery('inventory', 'finish-restore-vm', 1, {
  request: z.object({ restoreId: runItemIdSchema, platformId: platformIdSchema, powerOn: z.boolean() }),
  reply: z.object({ vmId: vmIdSchema }),
});

/** Words of the operator for an image. */
export const imageDescriptionSchema = z.string().trim().max(200);
/**
 * F9: turns the written VM of a restore into an image of the platform, in one step, and hands it over. Safe to repeat: replies with the
 * CVM's id of the image that there is. `description` is put before the mark that tells which item made it.
 */
export const finishRestoreImage = defineQuery('inventory', 'finish-restore-image', 1, {
  request: z.object({
    restoreId: runItemIdSchema,
    platformId: platformIdSchema,
    description: imageDescriptionSchema,
  }),
  reply: z.object({ imageId: imageSchema.shape.externalId }),
});

/** What the operator calls a volume that is made from a point; the rest of its name tells which run item made it. */
export const volumeNameSchema = z
  .string()
  .regex(
    /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,49}$/,
    "letters, digits, '-', '_' and '.', not beginning with '-' or '.', at most 50",
  );
/** Its name on the platform: no volume of anybody else bears it, so it proves whose a half-made one is. */
export const restoreVolumeName = (name: string, restoreId: RunItemId): string =>
  `${name}-${restoreId.replaceAll('-', '').slice(-16)}`;

/**
 * Makes an empty volume for one disk of a point in a storage pool of a host (F9). Idempotent by `restoreId`: it finds the volume
 * that an earlier try made. Replies with the path to write. The VM that gets it must be on that host.
 */
export const createRestoreVolume = defineQuery('inventory', 'create-restore-volume', 1, {
  request: z.object({
    restoreId: runItemIdSchema,
    platformId: platformIdSchema,
    hostId: hostIdSchema,
    storageName: z.string().min(1),
    name: volumeNameSchema,
    /** Null: it stays unattached. */
    attachTo: vmIdSchema.nullable(),
    disk: restoreDiskSchema,
  }),
  reply: createRestoreVm.reply.pick({ diskService: true, disks: true, reasons: true }),
});
/** Hands the written volume over: attached to its VM, if it has one, while that runs too. Safe to repeat. */
export const attachRestoreVolume = defineQuery('inventory', 'attach-restore-volume', 1, {
  request: z.object({ restoreId: runItemIdSchema, platformId: platformIdSchema }),
  reply: z.object({ vmId: vmIdSchema.nullable() }),
});
/**
 * Removes the volume that `createRestoreVolume` made; nothing else, and nothing if it is gone or handed over. CONFLICT when a VM
 * has it by now: it is the user's then, whole, and is never asked for again.
 */
export const removeRestoreVolume = defineQuery('inventory', 'remove-restore-volume', 1, {
  request: z.object({ restoreId: runItemIdSchema, platformId: platformIdSchema }),
  reply: emptySchema,
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
