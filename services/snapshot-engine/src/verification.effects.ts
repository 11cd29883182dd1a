import { Fault, getPoolAccess } from '@casvault/contracts';
import { retryWithin, type Perform } from '@casvault/machine';
import { type Messenger } from '@casvault/messaging';
import { attemptLimits } from './deadlines.js';
import { type PointStore } from './point-store.js';
import { performTransfer } from './transfer.effects.js';
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
      default:
        return performTransfer(world.client, effect, messageId);
    }
  };

export const retryVerification = retryWithin<VerificationEffect>({ loadPoint: attemptLimits.loadPoint });
