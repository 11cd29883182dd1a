import { getPoolAccess, removePoints, type PoolId } from '@casvault/contracts';
import { retryWithin, type Perform } from '@casvault/machine';
import { type Messenger } from '@casvault/messaging';
import { type CopyStore } from './copy-store.js';
import { type CopyEffect, type CopyEvent } from './copy.machine.js';
import { attemptLimits } from './deadlines.js';
import { performTransfer } from './transfer.effects.js';

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
      case 'removeData':
        await world.client.send(removePoints, effect.command, { messageId });
        return null;
      default:
        return performTransfer(world.client, effect, messageId);
    }
  };

export const retryCopy = retryWithin<CopyEffect>({ placePoint: attemptLimits.loadPoint });
