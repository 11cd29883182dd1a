import {
  getPoolAccess,
  itemChanged,
  removePoints,
  startTransfer,
  stopTransfer,
  type PoolId,
} from '@casvault/contracts';
import { retryUnavailable, type Perform, type RetryPolicy } from '@casvault/machine';
import { type Messenger } from '@casvault/messaging';
import { type CopyStore } from './copy-store.js';
import { type CopyEffect, type CopyEvent } from './copy.machine.js';
import { attemptLimits } from './deadlines.js';

export interface CopyWorld {
  readonly client: Pick<Messenger, 'request' | 'send' | 'publish'>;
  readonly copies: Pick<CopyStore, 'place'>;
}

const placePoint = async (
  { client, copies }: CopyWorld,
  { request, ids }: Extract<CopyEffect, { type: 'placePoint' }>,
  signal: AbortSignal,
): Promise<CopyEvent> => {
  const poolOf = (poolId: PoolId) => client.request(getPoolAccess, { poolId }, { signal });
  const pool = await poolOf(request.poolId);
  const place = await copies.place(request, ids.copyId);
  if ('foundId' in place) return { type: 'pointFound', pointId: place.foundId };
  const { chainId, parentPointId, source } = place;
  const { runId, options } = request;
  const { poolId, ...from } = source;
  const spec = {
    kind: 'copy' as const,
    pointId: ids.copyId,
    chainId,
    parentPointId,
    pool,
    source: { ...from, pool: await poolOf(poolId) },
    runId,
    options,
  };
  return { type: 'pointPlaced', spec };
};

export const performCopy =
  (world: CopyWorld): Perform<CopyEvent, CopyEffect> =>
  async (effect, { effectId: messageId, signal }) => {
    switch (effect.type) {
      case 'placePoint':
        return placePoint(world, effect, signal);
      case 'startTransfer':
        await world.client.send(startTransfer, effect.command, { messageId });
        return null;
      case 'stopTransfer':
        await world.client.send(stopTransfer, { transferId: effect.transferId }, { messageId });
        return null;
      case 'removeData':
        await world.client.send(removePoints, effect.command, { messageId });
        return null;
      case 'itemChanged':
        await world.client.publish(itemChanged, effect.change, { messageId });
        return null;
    }
  };

export const retryCopy: RetryPolicy<CopyEffect> = (effect, failure) =>
  effect.type === 'placePoint' && failure.attempt >= attemptLimits.loadPoint
    ? null
    : retryUnavailable(effect, failure);
