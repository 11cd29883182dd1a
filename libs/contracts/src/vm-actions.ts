import { z } from 'zod';
import { defineQuery, emptySchema, instantSchema, sealedSchema } from './define.js';
import { checkpointNameSchema } from './disk-service.js';
import { platformIdSchema, runItemIdSchema, vmIdSchema } from './ids.js';
import { preferredNetworkSchema, storageSchema, vmSchema } from './inventory.js';
import { reasonCodeSchema } from './reason.js';

/*
 * What inventory answers to those who protect a VM: present facts, power, snapshots, checkpoints; and what it clears away that nobody
 * alive owns.
 */

/** Address and sealed token of the disk service on one host. */
export const diskServiceEndpointSchema = z.object({ url: z.url(), token: sealedSchema });
export type DiskServiceEndpoint = z.infer<typeof diskServiceEndpointSchema>;

const storageFactsSchema = storageSchema.pick({ name: true, capacityBytes: true, freeBytes: true });

/** The VM as the CVM tells it now (not as last synchronised), with its whole configuration for the manifest. */
export const getVmFacts = defineQuery('inventory', 'get-vm-facts', 1, {
  request: z.object({
    vmId: vmIdSchema,
    /** R16: where `diskService` is looked for; absent: auto. */
    network: preferredNetworkSchema.optional(),
    /** With what is free where its disks lie. */
    withStorages: z.boolean().default(false),
  }),
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
    /** R16: the preferred network does not carry the data. */
    reasons: z.array(reasonCodeSchema).default([]),
    /** The active storage pools in which disks of the VM lie, as the CVM tells them now; empty when not asked for. */
    storages: z.array(storageFactsSchema).default([]),
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
