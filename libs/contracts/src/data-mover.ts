import { z } from 'zod';
import {
  bytesSchema,
  defineCommand,
  defineEvent,
  defineQuery,
  emptySchema,
  instantSchema,
} from './define.js';
import { captureDiskRequestSchema, captureMethodSchema, checkpointNameSchema } from './disk-service.js';
import { faultSchema } from './fault.js';
import { hookKindSchema, hookResultSchema, hookSpecSchema } from './hook.js';
import {
  backupHostIdSchema,
  chainIdSchema,
  diskIdSchema,
  openingIdSchema,
  pointIdSchema,
  poolIdSchema,
  readingIdSchema,
  runIdSchema,
  runItemIdSchema,
  transferIdSchema,
  vmIdSchema,
  writerIdSchema,
} from './ids.js';
import { diskServiceEndpointSchema } from './vm-actions.js';
import { poolSchema } from './pool.js';
import { reasonCodeSchema } from './reason.js';
import { speedLimitsSchema } from './speed-limit.js';

export const compressionSchema = z.discriminatedUnion('mode', [
  z.object({ mode: z.literal('none') }),
  z.object({ mode: z.literal('fast') }),
  z.object({ mode: z.literal('adjustable'), level: z.number().int().min(1).max(19) }),
]);

const reconnectSchema = z.object({
  /** A connection that breaks, to a disk or the pool, is tried again for so long after the last byte moved; then the transfer fails. */
  minutes: z.number().int().min(1).max(60).default(10),
  /**
   * What a broken connection may cost in sending again. Of a backup: bytes of packs on their way to the pool that it has not yet
   * acknowledged as durable, over all streams of the transfer. Of a restore: bytes, as stored, of what was asked of the pool and is not
   * yet acknowledged by the disk. Packs hold whole frames of up to 1 MiB: one frame is always under way, so that 1 means up to 1.1 MiB.
   */
  bufferMiB: z.number().int().min(1).max(1024).default(10),
});

const transportSchema = z.object({
  /** Size of one read from the disk service, of one write to it. Above 512, respectively 1024, it is cut into requests of that size. */
  bufferKiB: z.literal([64, 128, 256, 512, 1024, 2048, 4096, 8192]).default(1024),
  /** Lowest level written to the transfer's own log on the backup host. */
  logLevel: z.enum(['info', 'warn', 'error']).default('info'),
  /** So long a transfer tries to reach the host's disk service for the first time. */
  connectMinutes: z.number().int().min(1).max(10).default(10),
});

export const transferOptionsSchema = z.object({
  compression: compressionSchema.default({ mode: 'fast' }),
  disksPerVm: z.number().int().min(1).max(5).default(1),
  streamsPerDisk: z.number().int().min(1).max(5).default(1),
  reconnect: reconnectSchema.prefault({}),
  speedLimit: speedLimitsSchema.default([]),
  transport: transportSchema.prefault({}),
});
export type TransferOptions = z.infer<typeof transferOptionsSchema>;

/** Transfers of one run at one backup host share its speed limits; absent: it has them for itself. */
const runOfSpecSchema = runIdSchema.optional();

/** What the worker does about trackers (G1). */
export const trackingSchema = z.object({
  /** Checkpoint begun at the captured instant; null: none is made. */
  checkpoint: checkpointNameSchema.nullable().default(null),
  /** Checkpoints that go when the point is committed. */
  supersedes: z.array(checkpointNameSchema).max(64).default([]),
  /** `skip`: without a valid bitmap on every disk that could have one the transfer fails with CBT_INVALID (`cbt.fallback`). */
  withoutBitmap: z.enum(['compare', 'skip']).default('compare'),
  /** Blocks called unchanged that are read and compared on each tracked disk: 66 finds an omission of 10 % with p >= 0.999. */
  sampleBlocks: z.number().int().min(0).max(100_000).default(66),
  /** The slow pass: this 1/30 of each tracked disk is compared whatever the bitmap says; null: none. */
  sweepPart: z.number().int().min(0).max(29).nullable().default(null),
});
export type Tracking = z.infer<typeof trackingSchema>;

export const backupDiskSchema = captureDiskRequestSchema.extend({
  diskId: diskIdSchema,
  role: z.enum(['system', 'data']),
  bus: z.string(),
  format: z.enum(['qcow2', 'raw']),
  sizeBytes: bytesSchema,
});

/** Everything that a worker needs to make one point of one VM. */
export const backupSpecSchema = z.object({
  kind: z.literal('backup'),
  pointId: pointIdSchema,
  chainId: chainIdSchema,
  pointKind: z.enum(['full', 'incremental']),
  /** The point whose maps are read to find sameness by position; null for the first of a chain. */
  parentPointId: pointIdSchema.nullable(),
  pool: poolSchema,
  vm: z.object({
    vmId: vmIdSchema,
    uuid: z.guid(),
    name: z.string(),
    platformName: z.string(),
    platformVersion: z.string(),
  }),
  /** The platform's configuration of the VM, kept whole in the manifest. */
  configuration: z.record(z.string(), z.unknown()),
  diskService: diskServiceEndpointSchema,
  disks: z.array(backupDiskSchema).min(1).max(64),
  /** Disks of the VM that the point does not hold, with the reason's code (R4, D1). */
  excludedDisks: z.array(z.object({ target: z.string(), reason: z.string() })).default([]),
  tracking: trackingSchema.prefault({}),
  quiesceSeconds: z.number().int().min(1).max(60).nullable().default(null),
  /** As in an open request: the instant is that of a snapshot which the platform made. */
  snapshot: z
    .object({ kind: z.enum(['internal', 'external']), name: z.string().min(1).max(64) })
    .nullable()
    .default(null),
  runId: runOfSpecSchema,
  options: transferOptionsSchema,
});
export type BackupSpec = z.infer<typeof backupSpecSchema>;

export const restoreSpecSchema = z.object({
  kind: z.literal('restore'),
  pointId: pointIdSchema,
  chainId: chainIdSchema,
  pool: poolSchema,
  diskService: diskServiceEndpointSchema,
  disks: z
    .array(
      z.object({
        target: z.string(),
        path: z.string(),
        format: z.enum(['qcow2', 'raw']),
        sizeBytes: bytesSchema,
      }),
    )
    .min(1)
    .max(64),
  /** F4: the volumes are preallocated: zeros are written without giving room back. */
  keepsRoom: z.boolean().optional(),
  runId: runOfSpecSchema,
  options: transferOptionsSchema,
});
export type RestoreSpec = z.infer<typeof restoreSpecSchema>;

/**
 * Brings disks of a stopped VM back to a point in place (F8): only blocks that differ are written. A disk is in the progress from before
 * its first write; one that is not has not been touched.
 */
export const rollbackSpecSchema = restoreSpecSchema.extend({
  kind: z.literal('rollback'),
  /** A point of the same VM and pool whose checkpoint may still be counting: what it names, and what lies between its maps and those of the point, is all that can differ. Null: everything is compared. */
  since: z
    .object({ pointId: pointIdSchema, chainId: chainIdSchema, checkpoint: checkpointNameSchema })
    .nullable()
    .default(null),
});
export type RollbackSpec = z.infer<typeof rollbackSpecSchema>;

/**
 * E7: makes a copy of a point in another pool: a point of its own there. `parentPointId` is a copy of `source.sincePointId` in the same chain:
 * what did not change since is not read. Every attempt's packs can be taken over: the source never changes.
 */
export const copySpecSchema = z.object({
  kind: z.literal('copy'),
  pointId: pointIdSchema,
  chainId: chainIdSchema,
  /** Null for the first of a chain. */
  parentPointId: pointIdSchema.nullable(),
  pool: poolSchema,
  source: z.object({
    pointId: pointIdSchema,
    chainId: chainIdSchema,
    /** Null: everything is read. */
    sincePointId: pointIdSchema.nullable(),
    pool: poolSchema,
  }),
  runId: runOfSpecSchema,
  options: transferOptionsSchema,
});
export type CopySpec = z.infer<typeof copySpecSchema>;

/** Points of one chain that are removed together. */
export const removedPointsSchema = z.array(pointIdSchema).min(1).max(2_048);

/** Removes what failed, stopped or deleted points have in their pool. A worker does it: not every pool can be reached from the controller. */
export const removalSpecSchema = z.object({
  kind: z.literal('removal'),
  pointIds: removedPointsSchema,
  chainId: chainIdSchema,
  pool: poolSchema,
  /** Only measures what would go. */
  dryRun: z.boolean().default(false),
  /** Those of all attempts at the points: packs that their manifests do not name, or for want of a manifest, are found by them. */
  writers: z.array(writerIdSchema).max(8_192).optional(),
});
export type RemovalSpec = z.infer<typeof removalSpecSchema>;

/**
 * `stored`: every object that the point needs is there, whole, and has the hashes that it was written with. `content`: besides, every block of
 * every disk is decoded and has its id.
 */
export const verificationDepthSchema = z.enum(['stored', 'content']);

/** Checks what a point has in its pool; writes nothing. */
export const verifySpecSchema = z.object({
  kind: z.literal('verify'),
  pointId: pointIdSchema,
  chainId: chainIdSchema,
  pool: poolSchema,
  depth: verificationDepthSchema,
});
export type VerifySpec = z.infer<typeof verifySpecSchema>;

/** What a verification found. The point is sound when nothing is named. */
export const verifiedSchema = z.object({
  /** Read and checked. */
  checkedBytes: bytesSchema,
  /** With depth `content`: each disk; zeros are not counted. */
  disks: z
    .array(
      z.object({
        target: z.string(),
        sizeBytes: bytesSchema,
        checkedBytes: bytesSchema,
        /** Of the disk: what a restore could not bring back. */
        damagedBytes: bytesSchema,
        /** Where, ascending; the first ones only when there are more. */
        damaged: z.array(z.object({ offset: bytesSchema, length: bytesSchema })).max(100),
      }),
    )
    .max(64),
  /** Objects of the pool that are missing or damaged, with what is wrong; the first ones only when there are more. */
  objects: z.array(z.object({ key: z.string(), fault: faultSchema })).max(100),
});
export type Verified = z.infer<typeof verifiedSchema>;

export const transferSpecSchema = z.discriminatedUnion('kind', [
  backupSpecSchema,
  restoreSpecSchema,
  rollbackSpecSchema,
  removalSpecSchema,
  verifySpecSchema,
  copySpecSchema,
]);
export type TransferSpec = z.infer<typeof transferSpecSchema>;
/** What workers carry out: transfers, and the hooks of runs, which are queued, claimed and reported as they are. */
export const workSpecSchema = z.discriminatedUnion('kind', [...transferSpecSchema.options, hookSpecSchema]);
export type WorkSpec = z.infer<typeof workSpecSchema>;

/** Bytes of one disk so far. `totalBytes` is what the extents call data (null until they are known). */
export const diskProgressSchema = z.object({
  target: z.string(),
  totalBytes: bytesSchema.nullable(),
  /** Read from the source (backup, copy) or written to the target (restore). */
  doneBytes: bytesSchema,
  /** New in the pool, as stored (backup, copy), or read from it (restore). */
  storedBytes: bytesSchema,
  /** Taken over from an earlier attempt without reading them again. */
  resumedBytes: bytesSchema,
  /** Roll-back: all of it is written and flushed. Until then `doneBytes` were compared and, where they differed, written. */
  durable: z.boolean().optional(),
  /** Roll-back: what differed, told with `durable`. */
  writtenBytes: bytesSchema.optional(),
});
export type DiskProgress = z.infer<typeof diskProgressSchema>;

/** Bytes that an attempt has behind it: read or written by itself, or taken over. */
export const bytesBehind = (progress: readonly DiskProgress[]): number =>
  progress.reduce((sum, disk) => sum + disk.doneBytes + disk.resumedBytes, 0);

export const transferResultSchema = z.object({
  disks: z.array(
    diskProgressSchema.extend({
      sizeBytes: bytesSchema,
      mapRoot: z.string(),
      /** Why this disk was read as it was. */
      reasons: z.array(reasonCodeSchema).default([]),
      /** Only what its bitmap names was read, besides the sample. */
      tracked: z.boolean().default(false),
    }),
  ),
  /** Bytes of all objects that the point alone brought into the pool: packs and manifest. Goes with it when it is the newest. */
  poolBytes: bytesSchema.default(0),
  capturedAt: instantSchema.nullable(),
  method: z.enum([...captureMethodSchema.options, 'write']),
  consistency: z.enum(['file-system', 'crash']).default('crash'),
  reasons: z.array(reasonCodeSchema),
  /** Of a removal: what went, or with `dryRun` would go. Counted are the objects that this attempt found. */
  removed: z.object({ freedBytes: bytesSchema, removedObjects: z.number().int().min(0) }).optional(),
  /** Of a verification. */
  verified: verifiedSchema.optional(),
  /** Of a hook of a run. */
  hook: hookResultSchema.optional(),
});
export type TransferResult = z.infer<typeof transferResultSchema>;

export const transferStateSchema = z.enum(['queued', 'running', 'succeeded', 'failed', 'stopped']);

/**
 * Starts a transfer; `transferId` makes it idempotent: sent again, the controller publishes its present state again.
 * `ownerId` is the protection, restore or deletion that asked.
 */
export const startTransfer = defineCommand('data-mover', 'start-transfer', 1, {
  payload: z.object({
    transferId: transferIdSchema,
    ownerId: runItemIdSchema,
    group: z.string(),
    spec: transferSpecSchema,
    /**
     * It is not wanted any more, and nobody knows whether an earlier request for it came: it is stopped if it has begun, else
     * recorded as stopped, so that an earlier request which comes late begins nothing.
     */
    stopAsked: z.boolean().optional(),
  }),
});
/** Ends a transfer at the next block; its worker closes what it opened. Terminal state `stopped`. */
export const stopTransfer = defineCommand('data-mover', 'stop-transfer', 1, {
  payload: z.object({ transferId: transferIdSchema }),
});

/** Whether a transfer has ended, so that nobody closes any more what it opened; false also for one that is not known here. */
export const isTransferOver = defineQuery('data-mover', 'is-transfer-over', 1, {
  request: z.object({ transferId: transferIdSchema }),
  reply: z.object({ isOver: z.boolean() }),
});

/** Published at every change of state, when the capture holds, and at most once a second for progress. */
export const transferChanged = defineEvent('data-mover', 'transfer-changed', 1, {
  payload: z.object({
    transferId: transferIdSchema,
    ownerId: runItemIdSchema,
    kind: z.enum(['backup', 'restore', 'rollback', 'removal', 'verify', 'copy']),
    state: transferStateSchema,
    /** Rises by one with every claim. */
    epoch: z.number().int().min(0),
    /** Of a roll-back: since when disks may have been written; null: none was. */
    capturedAt: instantSchema.nullable(),
    progress: z.array(diskProgressSchema),
    /** What the controller decided on the way (a lost worker, a new capture). */
    reasons: z.array(reasonCodeSchema).default([]),
    result: transferResultSchema.nullable(),
    fault: faultSchema.nullable(),
    /** Strictly rising within one transfer: of two events the later `at` tells the newer state. */
    at: instantSchema,
  }),
});
export type TransferChanged = z.infer<typeof transferChanged.payload>;

/**
 * Carries out a hook of a run on a backup host of the group; idempotent by `transferId`, as `start-transfer`, also in what `stopAsked` means.
 * A precondition may be asked more than once when a backup host is lost; scripts are begun at most once.
 */
export const runHook = defineCommand('data-mover', 'run-hook', 1, {
  payload: z.object({
    transferId: transferIdSchema,
    group: z.string(),
    spec: hookSpecSchema,
    stopAsked: z.boolean().optional(),
  }),
});
/** Published at every change of state of a hook, and whenever it is asked for again. */
export const hookChanged = defineEvent('data-mover', 'hook-changed', 1, {
  payload: z.object({
    transferId: transferIdSchema,
    runId: runIdSchema,
    hook: hookKindSchema,
    state: transferStateSchema,
    /** `WAITING_FOR_WORKER`, `WORKER_LOST`. */
    reasons: z.array(reasonCodeSchema),
    result: hookResultSchema.nullable(),
    /** Why it could not be carried out, or nobody knows whether it was. */
    fault: faultSchema.nullable(),
    /** Strictly rising within one hook. */
    at: instantSchema,
  }),
});
export type HookChanged = z.infer<typeof hookChanged.payload>;

/** What a ticket says, sealed: whoever has it may read this disk once, beginning before `expiresAt`. */
export const contentTicketSchema = z.object({
  readingId: readingIdSchema,
  expiresAt: instantSchema,
  pool: poolSchema,
  chainId: chainIdSchema,
  pointId: pointIdSchema,
  target: z.string(),
  mapRoot: z.string().nullable(),
});
export type ContentTicket = z.infer<typeof contentTicketSchema>;
/** The mover's HTTP: `GET <contentUrl>?format=<this>` with the ticket as bearer token; raw with ranges (RFC 9110). */
export const contentFormatSchema = z.enum(['raw', 'qcow2']);
export type ContentFormat = z.infer<typeof contentFormatSchema>;

// ---- worker -> controller. Every call carries the epoch; an outdated one is refused with LEASE_LOST.

/** The doorbell of a group's work queue (subject `work.<group>`): the row is the truth. */
export const transferNudgeSchema = z.object({ transferId: transferIdSchema });

/** An attempt that wrote packs; those with the present capture can be taken over. */
export const transferWriterSchema = z.object({ writerId: writerIdSchema, openingId: openingIdSchema });

export const claimTransfer = defineQuery('data-mover', 'claim-transfer', 1, {
  request: z.object({ transferId: transferIdSchema, workerId: backupHostIdSchema }),
  reply: z.discriminatedUnion('outcome', [
    z.object({
      outcome: z.literal('claimed'),
      /** Who asked for the transfer; absent from a controller of the release before. */
      ownerId: runItemIdSchema.optional(),
      epoch: z.number().int(),
      leaseSeconds: z.number().int(),
      /** The packs of this attempt are written under this id. */
      writerId: writerIdSchema,
      /** Openings are named by it: the next attempt takes up the same capture while its lease holds. */
      openingId: openingIdSchema,
      /** Known once the capture was reported, which comes before its first pack: an opening of another instant is another capture. */
      capturedAt: instantSchema.nullable().default(null),
      earlierWriters: z.array(transferWriterSchema),
      spec: workSpecSchema,
    }),
    /** Nothing to do: it is finished, stopped or held by a live worker. */
    z.object({ outcome: z.literal('declined'), state: transferStateSchema }),
  ]),
});
/** Renews the lease and carries progress. `verdict`: `go on`, or `stop` (end at the next block and finish as stopped). */
export const renewTransfer = defineQuery('data-mover', 'renew-transfer', 1, {
  request: z.object({
    transferId: transferIdSchema,
    epoch: z.number().int(),
    capturedAt: instantSchema.nullable(),
    method: transferResultSchema.shape.method.nullable(),
    progress: z.array(diskProgressSchema),
  }),
  reply: z.object({ verdict: z.enum(['go on', 'stop']), leaseSeconds: z.number().int() }),
});
/** A new attempt under the same claim: its packs need a writer of their own, those so far can be taken over. */
export const nextWriter = defineQuery('data-mover', 'next-writer', 1, {
  request: z.object({ transferId: transferIdSchema, epoch: z.number().int() }),
  reply: z.object({ writerId: writerIdSchema, earlierWriters: z.array(transferWriterSchema) }),
});
/**
 * The old capture is gone (its lease ran out, or its host lost it): the attempt goes on with a new opening, and no
 * earlier writer's packs may be taken over by position.
 */
export const replaceOpening = defineQuery('data-mover', 'replace-opening', 1, {
  request: z.object({
    transferId: transferIdSchema,
    epoch: z.number().int(),
    lostOpeningId: openingIdSchema,
  }),
  /** The new capture's packs are written under a new writer: packs of two instants never share one. */
  reply: z.object({ openingId: openingIdSchema, writerId: writerIdSchema }),
});
export const finishTransfer = defineQuery('data-mover', 'finish-transfer', 1, {
  request: z.object({
    transferId: transferIdSchema,
    epoch: z.number().int(),
    outcome: z.discriminatedUnion('state', [
      z.object({ state: z.literal('succeeded'), result: transferResultSchema }),
      z.object({ state: z.literal('failed'), fault: faultSchema }),
      z.object({ state: z.literal('stopped') }),
      /** Handed back at a checkpoint (drain): another worker goes on at once. */
      z.object({ state: z.literal('released') }),
    ]),
  }),
  reply: emptySchema,
});

/**
 * Removes from a pool what failed or deleted points of one chain have there: their manifests, and the packs that only they need.
 * Carried out as a transfer of kind `removal` whose `ownerId` is whoever asked; idempotent by `transferId`. Waits until no transfer
 * writes or reads the points; a `dryRun` waits for nobody and removes nothing.
 */
export const removePoints = defineCommand('data-mover', 'remove-points', 1, {
  payload: z.object({
    transferId: transferIdSchema,
    ownerId: runItemIdSchema,
    poolId: poolIdSchema,
    chainId: chainIdSchema,
    pointIds: removedPointsSchema,
    dryRun: z.boolean().default(false),
    /** Group of backup hosts that reach the pool. */
    group: z.string().min(1).max(64).default('default'),
  }),
});
