import { getPool, listPointsToVerify, type JobDefinition, type PointId } from '@casvault/contracts';
import { type MessagingClient } from '@casvault/messaging';
import { type z } from 'zod';
import { inField } from './references.js';
import { type NewItem } from './run-item.js';

type Verified = Pick<
  Extract<JobDefinition, { kind: 'verify' }>,
  'poolId' | 'vmIds' | 'points' | 'mostPoints'
>;

/** Points of one reply. */
const pageSize = 500;

/** E8: the points of one run of a verify job, those first that were verified longest ago. Memory: an item for each of at most 10,000 points. */
export const verifyItems = async (
  client: MessagingClient,
  { poolId, vmIds, points, mostPoints }: Verified,
  signal: AbortSignal,
): Promise<NewItem[]> => {
  await inField('definition.poolId', client.request(getPool, { poolId }, { signal }));
  const wanted = { poolId, ...(vmIds === undefined ? {} : { vmIds }), newestOnly: points === 'newest' };
  // By id: a point that is verified meanwhile comes once more, at the end.
  const items = new Map<PointId, NewItem>();
  let from: { cursor?: string } | null = {};
  while (from !== null && items.size < mostPoints) {
    const limit = Math.min(pageSize, mostPoints - items.size);
    const page: z.output<typeof listPointsToVerify.reply> = await client.request(
      listPointsToVerify,
      { ...wanted, ...from, limit },
      { signal },
    );
    for (const { pointId, vmId, vmName } of page.items)
      items.set(pointId, {
        kind: 'verify',
        vmId,
        vmName,
        host: null,
        pointId,
        target: null,
      });
    from = page.nextCursor === null ? null : { cursor: page.nextCursor };
  }
  return [...items.values()];
};
