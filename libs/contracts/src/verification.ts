import { z } from 'zod';
import { verificationDepthSchema, verifiedSchema } from './data-mover.js';
import {
  bytesSchema,
  defineCommand,
  defineQuery,
  instantSchema,
  pageOf,
  pageRequestSchema,
} from './define.js';
import { faultSchema } from './fault.js';
import {
  pointIdSchema,
  poolIdSchema,
  runIdSchema,
  runItemIdSchema,
  verificationIdSchema,
  vmIdSchema,
} from './ids.js';

/** What a point bears of its verifications. One that checked less does not take back damage that a deeper one found. */
export const verificationMarkSchema = z.object({
  id: verificationIdSchema,
  depth: verificationDepthSchema,
  state: z.enum(['sound', 'damaged']),
  at: instantSchema,
});
export type VerificationMark = z.infer<typeof verificationMarkSchema>;

export const verificationSchema = z.object({
  id: verificationIdSchema,
  pointId: pointIdSchema,
  depth: verificationDepthSchema,
  /** `failed`: not all could be checked, the fault says why; nothing is said about the point. */
  state: z.enum(['running', 'sound', 'damaged', 'failed', 'stopped']),
  requestedBy: z.string(),
  createdAt: instantSchema,
  finishedAt: instantSchema.nullable(),
  /** So far, while it is running; of `stored` only at the end. */
  checkedBytes: bytesSchema,
  disks: verifiedSchema.shape.disks,
  objects: verifiedSchema.shape.objects,
  fault: faultSchema.nullable(),
});
export type Verification = z.infer<typeof verificationSchema>;

/**
 * Verifies a point in the background. Idempotent by `verificationId`. The point is not deleted meanwhile. Faults: NOT_FOUND, CONFLICT when the
 * point is not available.
 */
export const createVerification = defineQuery('snapshot-engine', 'create-verification', 1, {
  request: z.object({
    verificationId: verificationIdSchema,
    pointId: pointIdSchema,
    depth: verificationDepthSchema.default('stored'),
    /** Group of backup hosts that reach the pool. */
    group: z.string().min(1).max(64).default('default'),
  }),
  reply: verificationSchema,
});
export const getVerification = defineQuery('snapshot-engine', 'get-verification', 1, {
  request: z.object({ verificationId: verificationIdSchema }),
  reply: verificationSchema,
});
/** The newest of the point. NOT_FOUND when it was never verified. */
export const getPointVerification = defineQuery('snapshot-engine', 'get-point-verification', 1, {
  request: z.object({ pointId: pointIdSchema }),
  reply: verificationSchema,
});
/** Stops it; one that has ended stays as it is. */
export const stopVerification = defineQuery('snapshot-engine', 'stop-verification', 1, {
  request: z.object({ verificationId: verificationIdSchema }),
  reply: verificationSchema,
});

/**
 * E8: verifies a point as an item of a run, which fails when damage is found. Idempotent by `itemId`, which is also the verification's id:
 * sent again, the present state is published again.
 */
export const verifyPoint = defineCommand('snapshot-engine', 'verify-point', 1, {
  payload: z.object({
    itemId: runItemIdSchema,
    runId: runIdSchema,
    pointId: pointIdSchema,
    depth: verificationDepthSchema,
    group: z.string(),
  }),
});
/** E8: the available points of a pool: first those that were never verified, then in the order of their last verification. */
export const listPointsToVerify = defineQuery('snapshot-engine', 'list-points-to-verify', 1, {
  request: pageRequestSchema.extend({
    poolId: poolIdSchema,
    /** Absent: whatever VMs they are of. */
    vmIds: z.array(vmIdSchema).min(1).max(10_000).optional(),
    /** Of each chain the newest alone. */
    newestOnly: z.boolean(),
  }),
  reply: pageOf(z.object({ pointId: pointIdSchema, vmId: vmIdSchema, vmName: z.string() })),
});
