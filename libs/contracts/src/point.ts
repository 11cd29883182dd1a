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
import { captureMethodSchema } from './disk-service.js';
import { faultSchema } from './fault.js';
import {
  chainIdSchema,
  diskIdSchema,
  platformIdSchema,
  pointIdSchema,
  poolIdSchema,
  readingIdSchema,
  runIdSchema,
  vmIdSchema,
} from './ids.js';
import { reasonCodeSchema } from './reason.js';
import { verificationMarkSchema } from './verification.js';

/*
 * Points and chains of points (D5, D6), as everybody sees them; owned by snapshot-engine.
 */

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
  /** E7: a chain of copies: the chain whose points they are copies of; backups do not extend it. */
  copyOf: chainIdSchema.nullable().default(null),
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
  /** E7: the point that this one is a copy of, which may be gone by now; of a copy of a copy the first. `createdAt` is that point's. */
  copyOf: pointIdSchema.nullable().default(null),
});
export type Point = z.infer<typeof pointSchema>;

export const listPoints = defineQuery('snapshot-engine', 'list-points', 1, {
  request: pageRequestSchema.extend({
    vmId: vmIdSchema.optional(),
    chainId: chainIdSchema.optional(),
    state: pointStateSchema.optional(),
    /** E7: copies of this point. */
    copyOf: pointIdSchema.optional(),
  }),
  reply: pageOf(pointSchema),
});
/** With `poolId`: the same point as that pool has it (E7): itself, or its copy, or what it is a copy of. NOT_FOUND where the pool has none. */
export const getPoint = defineQuery('snapshot-engine', 'get-point', 1, {
  request: z.object({ pointId: pointIdSchema, poolId: poolIdSchema.optional() }),
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
