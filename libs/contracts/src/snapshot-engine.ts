import { z } from 'zod';
import { defineCommand, defineEvent, defineQuery, instantSchema } from './define.js';
import { diskProgressSchema, transferOptionsSchema } from './data-mover.js';
import { checkpointNameSchema } from './disk-service.js';
import { faultSchema } from './fault.js';
import {
  chainIdSchema,
  diskIdSchema,
  jobIdSchema,
  pointIdSchema,
  poolIdSchema,
  runIdSchema,
  runItemIdSchema,
  vmIdSchema,
} from './ids.js';
import { imageSchema, networkOptionsSchema } from './inventory.js';
import { pointKindSchema } from './point.js';
import { reasonCodeSchema } from './reason.js';

/** D2, D6: what an incremental backup trusts, and what it does without. */
export const cbtOptionsSchema = z.object({
  enable: z.boolean().default(true),
  fallback: z.enum(['full', 'skip-alert', 'skip-silent']).default('full'),
});

/** What must be free in every data store that a VM uses, before anything is done to it; null: not asked. */
export const reserveSchema = z.object({
  freePercent: z.number().min(0).max(100).nullable().default(10),
  freeGiB: z.number().min(0).nullable().default(500),
});
export type Reserve = z.infer<typeof reserveSchema>;

/** Protects one VM once. `itemId` makes it idempotent: sent again, the present state is published again. */
export const protectVm = defineCommand('snapshot-engine', 'protect-vm', 1, {
  payload: z.object({
    itemId: runItemIdSchema,
    runId: runIdSchema,
    jobId: jobIdSchema,
    vmId: vmIdSchema,
    poolId: poolIdSchema,
    /** Group of backup hosts whose movers carry it. */
    group: z.string(),
    /** A full opens a new chain. An incremental stands on the newest point of the chain; where there is none it is a full. */
    pointKind: pointKindSchema,
    /** The chain to extend; absent: the newest of the same VM, disks and pool. */
    chainId: chainIdSchema.optional(),
    /** D1: only these disks; absent: all that the capture can hold. */
    diskIds: z.array(diskIdSchema).min(1).max(64).optional(),
    cbt: cbtOptionsSchema.prefault({}),
    /** R6: a running VM with disks that can't be captured online is shut down for the backup and started again. */
    powerOff: z.boolean().default(false),
    network: networkOptionsSchema.prefault({}),
    reserve: reserveSchema.default({ freePercent: null, freeGiB: null }),
    options: transferOptionsSchema,
  }),
});
/**
 * Which of these items still own what they did on a platform: those under way, and failed roll-backs that leave their VM off
 * because its disks are half written. An item is known here before it asks anything of a platform, and one that has ended never
 * comes to life again: whoever first looks at what is there and then asks here may remove what nobody owns.
 */
export const listLiveItems = defineQuery('snapshot-engine', 'list-live-items', 1, {
  request: z.object({ itemIds: z.array(runItemIdSchema).max(3_000) }),
  reply: z.object({ itemIds: z.array(runItemIdSchema) }),
});
/** Which of these VMs have, or had, points. */
export const listProtectedVms = defineQuery('snapshot-engine', 'list-protected-vms', 1, {
  request: z.object({ vmIds: z.array(vmIdSchema).max(1_000) }),
  reply: z.object({ vmIds: z.array(vmIdSchema) }),
});
/**
 * Judges checkpoints that were found on VMs (D6). Needed: an incremental may build on it (the newest available point of the newest
 * chain of a VM, its disks and a pool, or of a chain that is gone on with by name), or its point is in the making. Unknown: no
 * point of this installation was ever made at it; deleted ones are known.
 */
export const listNeededCheckpoints = defineQuery('snapshot-engine', 'list-needed-checkpoints', 1, {
  request: z.object({ names: z.array(checkpointNameSchema).max(1_000) }),
  reply: z.object({ needed: z.array(checkpointNameSchema), unknown: z.array(checkpointNameSchema) }),
});
/** Stops whatever item it is. */
export const stopItem = defineCommand('snapshot-engine', 'stop-item', 1, {
  payload: z.object({ itemId: runItemIdSchema }),
});

export const itemKindSchema = z.enum(['backup', 'restore', 'rollback', 'verify', 'copy']);
export type ItemKind = z.infer<typeof itemKindSchema>;

export const itemPhaseSchema = z.enum([
  'preparing',
  'capturing',
  'captured',
  'transferring',
  'finishing',
  'cleaning',
  'succeeded',
  /** Backup: no valid CBT, and the job says to pass over such VMs without an error. */
  'skipped',
  'failed',
  'stopped',
]);

/** A protection, restore, verification or copy of a run has changed, or its transfer has progressed (at most once a second). */
export const itemChanged = defineEvent('snapshot-engine', 'item-changed', 1, {
  payload: z.object({
    itemId: runItemIdSchema,
    runId: runIdSchema,
    kind: itemKindSchema,
    phase: itemPhaseSchema,
    /** The point made, or the point read; of a copy the copy, once it is known. */
    pointId: pointIdSchema.nullable(),
    /** The VM that came of a restore, or was rolled back. */
    restoredVmId: vmIdSchema.nullable(),
    /** F9: the CVM's id of the image that was made. */
    imageId: imageSchema.shape.externalId.nullable().default(null),
    capturedAt: instantSchema.nullable(),
    progress: z.array(diskProgressSchema),
    reasons: z.array(reasonCodeSchema),
    fault: faultSchema.nullable(),
    at: instantSchema,
  }),
});
export type ItemChanged = z.infer<typeof itemChanged.payload>;

/** D5: the application may go on writing; published as soon as it holds, once a point. */
export const pointCaptured = defineEvent('snapshot-engine', 'point-captured', 1, {
  payload: z.object({
    pointId: pointIdSchema,
    vmId: vmIdSchema,
    runId: runIdSchema,
    capturedAt: instantSchema,
  }),
});
/** The point is durable in the pool and can be restored. */
export const pointAvailable = defineEvent('snapshot-engine', 'point-available', 1, {
  payload: z.object({
    pointId: pointIdSchema,
    chainId: chainIdSchema,
    vmId: vmIdSchema,
    poolId: poolIdSchema,
    runId: runIdSchema,
    at: instantSchema,
  }),
});
