import { z } from 'zod';
import { bytesSchema, defineQuery, instantSchema, pageOf, pageRequestSchema } from './define.js';
import { removedPointsSchema } from './data-mover.js';
import { faultSchema } from './fault.js';
import { chainIdSchema, deletionIdSchema, pointIdSchema, poolIdSchema, vmIdSchema } from './ids.js';
import { pointSchema } from './point.js';
import { reasonCodeSchema } from './reason.js';

/*
 * Deleting points and chains (G1-G3); owned by snapshot-engine.
 */

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
