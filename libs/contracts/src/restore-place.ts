import { z } from 'zod';
import { bytesSchema, defineQuery, emptySchema } from './define.js';
import { faultSchema } from './fault.js';
import { hostIdSchema, platformIdSchema, runItemIdSchema, vmIdSchema, type RunItemId } from './ids.js';
import { diskSchema, imageSchema, preferredNetworkSchema } from './inventory.js';
import { reasonCodeSchema } from './reason.js';
import { diskServiceEndpointSchema } from './vm-actions.js';

/*
 * What inventory makes on a platform for a restore to be written into, and hands over or removes again: VMs, images (F9), volumes (F9).
 */

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
 * F4: how the platform lays a new volume out. `thin`: room is taken as data come. `lazy-zeroed`: its room is kept for it at once. `eager-zeroed`:
 * its room is kept and written with zeros. What lies on named volumes (S3) is as it is.
 */
export const preallocationSchema = z.enum(['thin', 'lazy-zeroed', 'eager-zeroed']);
export type Preallocation = z.infer<typeof preallocationSchema>;

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
    /** S7: `cpuCount` is sockets x cores. */
    coresPerSocket: z.number().int().min(1).default(1),
    memoryMiB: z.number().int().min(64),
    disks: z.array(restoreDiskSchema).min(1).max(64),
    /**
     * F3: over `sourceVmId`, if the platform has it still, else in its place under `vmName`. Each disk goes to the storage pool in which the VM
     * has it, else to `storageName`. `leftOut`: disks of the VM that the point does not hold.
     */
    original: z.object({ leftOut: z.array(z.string()).max(64) }).optional(),
    preallocation: preallocationSchema.default('thin'),
    /** S3: one for each disk, or none: then volumes are made. */
    volumes: z.array(restoreVolumeSchema).max(64).default([]),
    /** A VM of that name gets the disks, and its own are detached and kept; refused for a protected one (S8). */
    overwrite: z.boolean().default(false),
    /** F9: it is to become an image: what would hinder that is refused before anything is written. */
    becomesImage: z.boolean().default(false),
    /** Whose point it is: if it still exists, the reply says that the two may clash (S6). */
    sourceVmId: vmIdSchema.optional(),
    nics: z.array(
      z.object({
        switchName: z.string(),
        profileName: z.string().nullable(),
        model: z.string(),
        /** Absent: the platform gives one. */
        mac: z.string().optional(),
      }),
    ),
    configuration: z.record(z.string(), z.unknown()),
    /** R16: where `diskService` is looked for; absent: auto. */
    network: preferredNetworkSchema.optional(),
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
    /** What the user should know of the new VM (S5, S6), and of the way to it (R16). */
    reasons: z.array(reasonCodeSchema).default([]),
  }),
});
/**
 * F3: where a VM is, or was when it was last seen on its platform: what a restore over its original path leads to. VM_NOT_FOUND when it was
 * never known; NOT_FOUND when its host is gone (R13).
 */
export const getOriginalPlace = defineQuery('inventory', 'get-original-place', 1, {
  request: z.object({ vmId: vmIdSchema }),
  reply: createRestoreVm.request.pick({ platformId: true, hostId: true, storageName: true, vmName: true }),
});
/** Restores judged in one query: the configuration of each VM travels with it. */
export const maxJudgedTogether = 20;
/**
 * What would be said if these VMs were made now, by the rules that `create-restore-vm` goes by: every refusal, not only the first, and the
 * notices. Each is judged as if it were alone. Nothing is made.
 */
export const judgeRestoreVms = defineQuery('inventory', 'judge-restore-vms', 1, {
  request: z.object({
    requests: z
      .array(createRestoreVm.request.omit({ restoreId: true }))
      .min(1)
      .max(maxJudgedTogether),
  }),
  reply: z.object({
    /** In the order of the requests. */
    verdicts: z.array(z.object({ refusals: z.array(faultSchema), notices: z.array(reasonCodeSchema) })),
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
    /** R16: where `diskService` is looked for; absent: auto. */
    network: preferredNetworkSchema.optional(),
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
