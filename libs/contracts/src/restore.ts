import { z } from 'zod';
import { defineCommand, defineQuery } from './define.js';
import { transferOptionsSchema } from './data-mover.js';
import { faultSchema } from './fault.js';
import {
  diskIdSchema,
  hostIdSchema,
  jobIdSchema,
  platformIdSchema,
  pointIdSchema,
  runIdSchema,
  runItemIdSchema,
  vmIdSchema,
} from './ids.js';
import { networkOptionsSchema, nicSchema } from './inventory.js';
import { pointDiskSchema, type Point } from './point.js';
import { reasonCodeSchema } from './reason.js';
import {
  imageDescriptionSchema,
  preallocationSchema,
  restoreDiskSchema,
  restoreVolumeSchema,
  volumeNameSchema,
} from './restore-place.js';

/*
 * What is made of a point: VMs (F3, F4), disks and images (F9), a VM brought back in place (F8); owned by snapshot-engine.
 */

/** F3: `original`: over the VM of the point, if it is still there, else made anew in its place. `new`: a VM of its own. */
export const restorePathSchema = z.enum(['original', 'new'], {
  error: "must be 'original' or 'new'",
});
export const restoreTargetSchema = z.object({
  /** Absent: `new`. With `original` all but `keepMac` and `powerOn` follows from the point and its VM. */
  path: restorePathSchema.optional(),
  platformId: platformIdSchema,
  hostId: hostIdSchema,
  storageName: z.string().min(1),
  vmName: z
    .string()
    .regex(
      /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/,
      "letters, digits, '-', '_' and '.', not beginning with '-' or '.', at most 64",
    ),
  /** Absent: as the point has them. */
  cpuCount: z.number().int().min(1).max(1024).optional(),
  /** S7: `cpuCount` is sockets x cores; it must be a multiple of this. Absent: 1. */
  coresPerSocket: z.number().int().min(1).max(256).optional(),
  memoryMiB: z.number().int().min(64).optional(),
  /** Absent: as the point has them, on the switches of the same names; empty: none (networks left disconnected). */
  nics: z
    .array(nicSchema.omit({ mac: true }).extend({ switchName: z.string() }))
    .max(32)
    .optional(),
  /** S3: volumes of `storageName` that take the disks, one for each, and are overwritten; absent: volumes are made. */
  volumes: z.array(restoreVolumeSchema).min(1).max(64).optional(),
  /** Of the volumes that are made. Absent: `thin`. */
  preallocation: preallocationSchema.optional(),
  /**
   * A VM of that name, not display name, gets the disks of the point; its own are detached and kept, its networks stay. It must be off, without
   * snapshots, on that host, and have no points here nor be of a backup job (S8). Where no VM has the name one is made. Absent: false.
   */
  overwrite: z.boolean().optional(),
  /** Original path only: the network cards have the MAC addresses that they had at the point; else the platform gives new ones. Absent: false. */
  keepMac: z.boolean().optional(),
  powerOn: z.boolean().default(false),
});
export type RestoreTarget = z.infer<typeof restoreTargetSchema>;
/**
 * Restores one VM from one point, to a new VM (F4) or over its original path (F3). Idempotent by `itemId`: sent again, the present state is
 * published again. A failure or a stop leaves no half VM behind, and a VM that is overwritten as it was, but for its snapshots once its disks
 * have begun to change places.
 */
export const restoreVm = defineCommand('snapshot-engine', 'restore-vm', 1, {
  payload: z.object({
    itemId: runItemIdSchema,
    runId: runIdSchema,
    jobId: jobIdSchema,
    pointId: pointIdSchema,
    group: z.string(),
    target: restoreTargetSchema,
    network: networkOptionsSchema.prefault({}),
    options: transferOptionsSchema,
  }),
});
/** Restores judged in one query. */
export const maxPreviewedTogether = 100;
/** What a restore would make of a point, with what the request leaves to the point filled in. */
export const restoreOutlineSchema = z.object({
  cpuCount: z.number().int(),
  coresPerSocket: z.number().int(),
  memoryMiB: z.number().int(),
  /** `mac`: it keeps that address (`keepMac`); absent: the platform gives one. */
  nics: z.array(nicSchema.partial({ mac: true })),
  preallocation: preallocationSchema,
  /** S4: they come back dependent. */
  disks: z.array(restoreDiskSchema),
});
export type RestoreOutline = z.infer<typeof restoreOutlineSchema>;
/** F4: what `restore-vm` would make of these points and targets, refuse and tell of, judged now by the rules that it goes by. */
export const previewRestores = defineQuery('snapshot-engine', 'preview-restores', 1, {
  request: z.object({
    items: z
      .array(z.object({ pointId: pointIdSchema, target: restoreTargetSchema }))
      .min(1)
      .max(maxPreviewedTogether),
  }),
  reply: z.object({
    /** In the order of the request. A refusal's `field` is one of the target. */
    items: z.array(
      z.object({
        outline: restoreOutlineSchema,
        refusals: z.array(faultSchema),
        notices: z.array(reasonCodeSchema),
      }),
    ),
  }),
});
/** F9: what is made of a point besides a whole VM. */
export const creationTargetSchema = z.discriminatedUnion('kind', [
  /** One disk of the point as a new volume, attached to a VM of that host or left unattached. */
  z.object({
    kind: z.literal('disk'),
    /** The disk of the point. */
    target: pointDiskSchema.shape.target,
    platformId: platformIdSchema,
    hostId: hostIdSchema,
    storageName: z.string().min(1),
    name: volumeNameSchema,
    attachTo: vmIdSchema.nullable().default(null),
  }),
  /** The point's system disk as an image (template) of the platform, from which VMs can be deployed. */
  restoreTargetSchema
    .pick({ platformId: true, hostId: true, storageName: true, cpuCount: true, memoryMiB: true, nics: true })
    .extend({
      kind: z.literal('image'),
      name: restoreTargetSchema.shape.vmName,
      description: imageDescriptionSchema.default(''),
    }),
]);
export type CreationTarget = z.infer<typeof creationTargetSchema>;
/** F9: the disk that an image is made of; null: the point holds none to boot from. */
export const systemDiskOf = ({ disks }: Pick<Point, 'disks'>): Point['disks'][number] | null =>
  disks.find(({ role }) => role === 'system') ?? null;
/** Idempotent by `itemId` as above. Its news are those of a restore. */
export const createFromPoint = defineCommand('snapshot-engine', 'create-from-point', 1, {
  payload: restoreVm.payload.extend({ target: creationTargetSchema }),
});
/** F8: what a roll-back takes besides the point. */
export const rollbackTargetSchema = z.object({
  /** Absent: all disks that the point holds. */
  diskIds: z.array(diskIdSchema).min(1).max(64).optional(),
  /** A VM that was running is started again whatever this says. */
  startAfter: z.boolean().default(false),
  /** A disk that lies at another path than the point's did may be another volume: refused unless this says that it was only moved. */
  acceptMoved: z.boolean().default(false),
});
export type RollbackTarget = z.infer<typeof rollbackTargetSchema>;
/**
 * Brings a VM, or some of its disks, back to one of its points in place (F8). Idempotent by `itemId`. Before the first write a failure or a
 * stop leaves the VM as it was; after it the VM stays off, the fault says what each disk holds, and a roll-back asked for anew ends it.
 */
export const rollbackVm = defineCommand('snapshot-engine', 'rollback-vm', 1, {
  payload: z.object({
    itemId: runItemIdSchema,
    runId: runIdSchema,
    jobId: jobIdSchema,
    pointId: pointIdSchema,
    group: z.string(),
    target: rollbackTargetSchema,
    network: networkOptionsSchema.prefault({}),
    options: transferOptionsSchema,
  }),
});
