import { z } from 'zod';
import { transferOptionsSchema } from './data-mover.js';
import { defineCommand, defineQuery, pageOf, pageRequestSchema } from './define.js';
import {
  chainIdSchema,
  pointIdSchema,
  poolIdSchema,
  runIdSchema,
  runItemIdSchema,
  vmIdSchema,
} from './ids.js';

/*
 * E7: copies of points in other pools. A copy is a point of its own, in a chain of its own, that names the point it was made of: it is listed,
 * restored, verified, held and deleted as any other. No backup extends it.
 */

/**
 * Copies a point to another pool as an item of a run. Where an available copy is there already, or the point itself, that is the result.
 * Idempotent by `itemId`: sent again, the present state is published again. While it goes on the point and the copy that it stands on are not
 * deleted. A failure or a stop leaves nothing in the pool.
 */
export const copyPoint = defineCommand('snapshot-engine', 'copy-point', 1, {
  payload: z.object({
    itemId: runItemIdSchema,
    runId: runIdSchema,
    /** A point or a copy. */
    pointId: pointIdSchema,
    /** Where the copy goes. */
    poolId: poolIdSchema,
    /** Group of backup hosts that reach both pools. */
    group: z.string(),
    options: transferOptionsSchema,
  }),
});

/** E7: the available points of a pool that another one has no copy of; chain after chain, of each the oldest first. */
export const listPointsToCopy = defineQuery('snapshot-engine', 'list-points-to-copy', 1, {
  request: pageRequestSchema.extend({
    poolId: poolIdSchema,
    targetPoolId: poolIdSchema,
    /** Absent: whatever VMs they are of. */
    vmIds: z.array(vmIdSchema).min(1).max(10_000).optional(),
    /** Of each chain the newest alone. */
    newestOnly: z.boolean(),
  }),
  reply: pageOf(
    z.object({ pointId: pointIdSchema, chainId: chainIdSchema, vmId: vmIdSchema, vmName: z.string() }),
  ),
});
