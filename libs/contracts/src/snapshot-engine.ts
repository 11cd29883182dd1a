import { z } from 'zod';
import {
  bytesSchema,
  defineCommand,
  defineEvent,
  defineQuery,
  emptySchema,
  instantSchema,
  pageOf,
  pageRequestSchema,
  sealedSchema,
} from './define.js';
import { diskProgressSchema, removedPointsSchema, transferOptionsSchema } from './data-mover.js';
import { captureMethodSchema, checkpointNameSchema } from './disk-service.js';
import { faultSchema } from './fault.js';
import {
  chainIdSchema,
  deletionIdSchema,
  diskIdSchema,
  hostIdSchema,
  jobIdSchema,
  platformIdSchema,
  pointIdSchema,
  poolIdSchema,
  readingIdSchema,
  runIdSchema,
  runItemIdSchema,
  vmIdSchema,
} from './ids.js';
import { imageSchema, networkOptionsSchema, nicSchema } from './inventory.js';
import { reasonCodeSchema } from './reason.js';
import {
  imageDescriptionSchema,
  preallocationSchema,
  restoreDiskSchema,
  restoreVolumeSchema,
  volumeNameSchema,
} from './restore-place.js';
import { verificationMarkSchema } from './verification.js';

/** D5. */
export const pointStateSchema = z.enum([
  'pending',
  'capturing',
  'captured',
  'transferring',
  'available',
  'failed',
  'deleting',
]);
export type PointState = z.infer<typeof pointStateSchema>;

export const pointKindSchema = z.enum(['full', 'incremental']);

export const holdReasonSchema = z.string().trim().min(1).max(500);

/** G2: a legal hold. What bears one, or is of a chain that bears one, is not deleted. */
export const holdSchema = z.object({
  reason: z.string(),
  /** Who set it. */
  by: z.string(),
  at: instantSchema,
});
export type Hold = z.infer<typeof holdSchema>;

export const chainSchema = z.object({
  id: chainIdSchema,
  vmId: vmIdSchema,
  vmName: z.string(),
  poolId: poolIdSchema,
  /** D1: the disks that it is of; null: the whole VM. */
  diskIds: z.array(diskIdSchema).nullable().default(null),
  createdAt: instantSchema,
  hold: holdSchema.nullable().default(null),
});
export type Chain = z.infer<typeof chainSchema>;

export const pointDiskSchema = z.object({
  diskId: diskIdSchema,
  target: z.string(),
  role: z.enum(['system', 'data']),
  bus: z.string(),
  format: z.enum(['qcow2', 'raw']),
  sizeBytes: bytesSchema,
  readBytes: bytesSchema,
  storedBytes: bytesSchema,
  mapRoot: z.string().nullable(),
  /** Why this disk was read as it was. */
  reasons: z.array(reasonCodeSchema).default([]),
  /** Only what its bitmap named was read, besides the sample. */
  tracked: z.boolean().default(false),
  /** A tracker that made this was found wrong later (G1). */
  suspect: z.boolean().default(false),
});

export const pointSchema = z.object({
  id: pointIdSchema,
  chainId: chainIdSchema,
  parentPointId: pointIdSchema.nullable(),
  kind: pointKindSchema,
  state: pointStateSchema,
  platformId: platformIdSchema,
  vmId: vmIdSchema,
  vmName: z.string(),
  poolId: poolIdSchema,
  runId: runIdSchema,
  createdAt: instantSchema,
  capturedAt: instantSchema.nullable(),
  availableAt: instantSchema.nullable(),
  method: captureMethodSchema.nullable(),
  consistency: z.enum(['file-system', 'crash']).default('crash'),
  disks: z.array(pointDiskSchema),
  /** Disks of the VM that the point does not hold (R4, D1). */
  excludedDisks: z.array(z.object({ target: z.string(), reason: z.string() })).default([]),
  /** Bytes of the objects that it alone brought into the pool. */
  poolBytes: bytesSchema.default(0),
  reasons: z.array(reasonCodeSchema),
  fault: faultSchema.nullable(),
  hold: holdSchema.nullable().default(null),
  /** What its newest verification found; null: it was never verified. */
  verification: verificationMarkSchema.nullable().default(null),
});
export type Point = z.infer<typeof pointSchema>;

export const listPoints = defineQuery('snapshot-engine', 'list-points', 1, {
  request: pageRequestSchema.extend({
    vmId: vmIdSchema.optional(),
    chainId: chainIdSchema.optional(),
    state: pointStateSchema.optional(),
  }),
  reply: pageOf(pointSchema),
});
export const getPoint = defineQuery('snapshot-engine', 'get-point', 1, {
  request: z.object({ pointId: pointIdSchema }),
  reply: pointSchema,
});
export const listChains = defineQuery('snapshot-engine', 'list-chains', 1, {
  request: pageRequestSchema.extend({
    vmId: vmIdSchema.optional(),
    poolId: poolIdSchema.optional(),
    /** Chains that this disk was chosen for (D1). */
    diskId: diskIdSchema.optional(),
  }),
  reply: pageOf(chainSchema),
});
export const getChain = defineQuery('snapshot-engine', 'get-chain', 1, {
  request: z.object({ chainId: chainIdSchema }),
  reply: chainSchema,
});

/**
 * F9: a mover that hands out the content of one disk of a point, and the ticket for one request to it. Until the reading ends the point is
 * not deleted. DEPENDENCY_UNAVAILABLE when no mover of the group is online.
 */
export const openContent = defineQuery('snapshot-engine', 'open-content', 1, {
  request: z.object({
    pointId: pointIdSchema,
    target: pointDiskSchema.shape.target,
    group: z.string().min(1).max(64).default('default'),
  }),
  reply: z.object({ url: z.url(), ticket: sealedSchema, vmName: z.string() }),
});
/** Asked by the mover each minute: a reading of which nothing is heard for three is over. */
export const keepReading = defineQuery('snapshot-engine', 'keep-reading', 1, {
  request: z.object({ readingId: readingIdSchema }),
  reply: emptySchema,
});

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
/** Restores one VM from one point to a new VM (F4). Idempotent by `itemId` as above. */
export const restoreTargetSchema = z.object({
  /** S1: networks of the original path can't be promised; what is brought back in place is rolled back (F8), which leaves them alone. */
  path: z
    .literal('new', { error: "must be 'new': over its original path a VM is rolled back, not restored (S1)" })
    .optional(),
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
  powerOn: z.boolean().default(false),
});
export type RestoreTarget = z.infer<typeof restoreTargetSchema>;
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
  nics: z.array(nicSchema.omit({ mac: true })),
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

export const itemKindSchema = z.enum(['backup', 'restore', 'rollback']);
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

/** A protection or restore has changed, or its transfer has progressed (at most once a second). */
export const itemChanged = defineEvent('snapshot-engine', 'item-changed', 1, {
  payload: z.object({
    itemId: runItemIdSchema,
    runId: runIdSchema,
    kind: itemKindSchema,
    phase: itemPhaseSchema,
    /** The point made, or the point read. */
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

// ---- deleting (G1-G3)

export const deletionStateSchema = z.enum([
  /** What it frees is being measured in the pool. */
  'measuring',
  /** Waits to be confirmed, until `expiresAt`. */
  'ready',
  'deleting',
  'deleted',
  /** What it would delete is not what was shown any more: to be previewed anew. */
  'refused',
  /** Not measured, or not all could be removed: then it can be confirmed again. */
  'failed',
  'cancelled',
  'expired',
]);
export type DeletionState = z.infer<typeof deletionStateSchema>;

/** `cascade`: with every point that depends on those named, directly or not. `single`: only those named; successors stay, complete. */
export const deletionModeSchema = z.enum(['cascade', 'single']);

export const deletionPointSchema = pointSchema.pick({
  id: true,
  vmId: true,
  vmName: true,
  capturedAt: true,
  kind: true,
  poolBytes: true,
});

export const deletionSchema = z.object({
  id: deletionIdSchema,
  chainId: chainIdSchema,
  vmId: vmIdSchema,
  vmName: z.string(),
  poolId: poolIdSchema,
  mode: deletionModeSchema,
  state: deletionStateSchema,
  /** Exactly the points that go, oldest first. */
  points: z.array(deletionPointSchema),
  /** Points that stay though they stood on one that goes; each is complete by itself. */
  successorIds: z.array(pointIdSchema),
  /** The point that becomes the chain's first because the first goes; null: the first stays, or none is left. */
  newHeadPointId: pointIdSchema.nullable(),
  /** The chain goes with its last point. */
  chainGoes: z.boolean(),
  /** Bytes of the pool's objects that go, as measured there; null while that is not known. */
  freedBytes: bytesSchema.nullable(),
  requestedBy: z.string(),
  confirmedBy: z.string().nullable(),
  createdAt: instantSchema,
  expiresAt: instantSchema.nullable(),
  finishedAt: instantSchema.nullable(),
  reasons: z.array(reasonCodeSchema),
  fault: faultSchema.nullable(),
});
export type Deletion = z.infer<typeof deletionSchema>;

/** What a deletion is of. */
export const namesPointsOrChain = (wanted: { pointIds?: unknown; chainId?: unknown }): boolean =>
  (wanted.pointIds === undefined) !== (wanted.chainId === undefined);

/**
 * Previews a deletion: nothing goes before it is confirmed. Idempotent by `deletionId`. Points must be of one chain. Refused with
 * POINT_IN_USE while a run reads or extends the chain, POINT_HELD under a hold.
 */
export const createDeletion = defineQuery('snapshot-engine', 'create-deletion', 1, {
  request: z
    .object({
      deletionId: deletionIdSchema,
      pointIds: removedPointsSchema.optional(),
      chainId: chainIdSchema.optional(),
      mode: deletionModeSchema.default('cascade'),
    })
    .refine(namesPointsOrChain, 'exactly one of pointIds and chainId'),
  reply: deletionSchema,
});
export const getDeletion = defineQuery('snapshot-engine', 'get-deletion', 1, {
  request: z.object({ deletionId: deletionIdSchema }),
  reply: deletionSchema,
});
export const listDeletions = defineQuery('snapshot-engine', 'list-deletions', 1, {
  request: pageRequestSchema.extend({
    chainId: chainIdSchema.optional(),
    state: deletionStateSchema.optional(),
  }),
  reply: pageOf(deletionSchema.omit({ points: true, successorIds: true })),
});
/**
 * Deletes exactly what was previewed; asked again, it goes on. CONFLICT when a point that depends on those named has come since,
 * POINT_IN_USE and POINT_HELD as at the preview. A failed deletion that was confirmed before is begun again.
 */
export const confirmDeletion = defineQuery('snapshot-engine', 'confirm-deletion', 1, {
  request: z.object({ deletionId: deletionIdSchema }),
  reply: deletionSchema,
});
/** CONFLICT once it was confirmed. */
export const cancelDeletion = defineQuery('snapshot-engine', 'cancel-deletion', 1, {
  request: z.object({ deletionId: deletionIdSchema }),
  reply: deletionSchema,
});

/** Sets or replaces (a reason) or clears (null) the legal hold of a point. CONFLICT while it is being deleted. */
export const holdPoint = defineQuery('snapshot-engine', 'hold-point', 1, {
  request: z.object({
    pointId: pointIdSchema,
    reason: holdReasonSchema.nullable(),
  }),
  reply: pointSchema,
});
/** As `hold-point`, of a whole chain with all its points, also those to come. */
export const holdChain = defineQuery('snapshot-engine', 'hold-chain', 1, {
  request: z.object({
    chainId: chainIdSchema,
    reason: holdReasonSchema.nullable(),
  }),
  reply: chainSchema,
});
