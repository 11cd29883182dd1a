import { Fault, getPoolAccess, itemChanged, startTransfer, stopTransfer } from '@casvault/contracts';
import { retryUnavailable, type Perform, type RetryPolicy } from '@casvault/machine';
import { type Messenger } from '@casvault/messaging';
import { attemptLimits } from './deadlines.js';
import { type PointStore } from './point-store.js';
import { type VerificationRequest } from './verification.js';
import {
  verificationMachine,
  type VerificationEffect,
  type VerificationEvent,
} from './verification.machine.js';

export interface VerificationWorld {
  readonly client: Pick<Messenger, 'request' | 'send' | 'publish'>;
  readonly points: Pick<PointStore, 'get' | 'use'>;
}

const loadPoint = async (
  { client, points }: VerificationWorld,
  { verificationId: itemId, pointId, runId }: VerificationRequest,
  signal: AbortSignal,
): Promise<VerificationEvent> => {
  const isUsed = await points.use(pointId, {
    kind: verificationMachine.kind,
    itemId,
    runId: runId ?? null,
  });
  if (!isUsed) throw new Fault('CONFLICT', `point ${pointId} is not available`, { details: { pointId } });
  const { chainId, poolId } = await points.get(pointId);
  const pool = await client.request(getPoolAccess, { poolId }, { signal });
  return { type: 'pointLoaded', source: { chainId, pool } };
};

export const performVerification =
  (world: VerificationWorld): Perform<VerificationEvent, VerificationEffect> =>
  async (effect, { effectId: messageId, signal }) => {
    switch (effect.type) {
      case 'loadPoint':
        return loadPoint(world, effect.request, signal);
      case 'startTransfer':
        await world.client.send(startTransfer, effect.command, { messageId });
        return null;
      case 'stopTransfer':
        await world.client.send(stopTransfer, { transferId: effect.transferId }, { messageId });
        return null;
      case 'itemChanged':
        await world.client.publish(itemChanged, effect.change, { messageId });
        return null;
    }
  };

export const retryVerification: RetryPolicy<VerificationEffect> = (effect, failure) =>
  effect.type === 'loadPoint' && failure.attempt >= attemptLimits.loadPoint
    ? null
    : retryUnavailable(effect, failure);
