import { getPool, listPointsToCopy, type JobDefinition, type PointId } from '@casvault/contracts';
import { type MessagingClient } from '@casvault/messaging';
import { type z } from 'zod';
import { inField } from './references.js';
import { type NewItem } from './run-item.js';

type Copied = Pick<
  Extract<JobDefinition, { kind: 'copy' }>,
  'sourcePoolId' | 'poolId' | 'vmIds' | 'points' | 'mostPoints'
>;

/** Points of one reply. */
const pageSize = 500;

/**
 * E7: the points of one run of a copy job that the target does not have, chain after chain, of each the oldest first. The chain is their `host`:
 * of it one is copied at a time, so that the next stands on its copy. Memory: an item for each of at most 10,000 points.
 */
export const copyItems = async (
  client: MessagingClient,
  { sourcePoolId, poolId, vmIds, points, mostPoints }: Copied,
  signal: AbortSignal,
): Promise<NewItem[]> => {
  const poolAt = (field: string, id: typeof poolId) =>
    inField(`definition.${field}`, client.request(getPool, { poolId: id }, { signal }));
  await poolAt('sourcePoolId', sourcePoolId);
  await poolAt('poolId', poolId);
  const named = vmIds === undefined ? {} : { vmIds };
  const wanted = { poolId: sourcePoolId, targetPoolId: poolId, ...named, newestOnly: points === 'newest' };
  const items = new Map<PointId, NewItem>();
  let from: { cursor?: string } | null = {};
  while (from !== null && items.size < mostPoints) {
    const limit = Math.min(pageSize, mostPoints - items.size);
    const page: z.output<typeof listPointsToCopy.reply> = await client.request(
      listPointsToCopy,
      { ...wanted, ...from, limit },
      { signal },
    );
    for (const { pointId, chainId: host, vmId, vmName } of page.items)
      items.set(pointId, { kind: 'copy', vmId, vmName, host, pointId, target: null });
    from = page.nextCursor === null ? null : { cursor: page.nextCursor };
  }
  return [...items.values()];
};
