import {
  Fault,
  getPoolAccess,
  getVmFacts,
  itemChanged,
  pointAvailable,
  pointCaptured,
  removePointData,
  startTransfer,
  stopTransfer,
} from '@casvault/contracts';
import { retryUnavailable, type Perform, type RetryPolicy } from '@casvault/machine';
import { type Messenger } from '@casvault/messaging';
import { attemptLimits } from './deadlines.js';
import { type PointStore } from './point-store.js';
import { type ProtectVm } from './protection.js';
import { type ProtectionEffect, type ProtectionEvent } from './protection.machine.js';

/** The CVM is asked meanwhile. */
const factsDeadlineMs = 60_000;

export interface ItemWorld {
  readonly client: Messenger;
  readonly points: Pick<PointStore, 'newestAvailable' | 'restorable' | 'itemOf' | 'use'>;
}

const loadFacts = async (
  { client, points }: ItemWorld,
  { itemId, runId, vmId, poolId, pointKind }: ProtectVm,
  signal: AbortSignal,
): Promise<ProtectionEvent> => {
  const facts = await client.request(getVmFacts, { vmId }, { signal, deadlineMs: factsDeadlineMs });
  const pool = await client.request(getPoolAccess, { poolId }, { signal });
  const parent = pointKind === 'incremental' ? await points.newestAvailable(vmId, poolId) : null;
  if (parent && !(await points.use(parent.pointId, { kind: 'protection', itemId, runId })))
    throw new Fault('DEPENDENCY_UNAVAILABLE', `points of chain ${parent.chainId} are being deleted`);
  return { type: 'factsLoaded', facts, pool, parent };
};

export const performProtection =
  (world: ItemWorld): Perform<ProtectionEvent, ProtectionEffect> =>
  async (effect, { effectId: messageId, signal }) => {
    const { client } = world;
    switch (effect.type) {
      case 'loadFacts':
        return loadFacts(world, effect.request, signal);
      case 'startTransfer':
        await client.send(startTransfer, effect.command, { messageId });
        return null;
      case 'stopTransfer':
        await client.send(stopTransfer, { transferId: effect.transferId }, { messageId });
        return null;
      case 'removeData':
        await client.send(removePointData, effect.command, { messageId });
        return null;
      case 'itemChanged':
        await client.publish(itemChanged, effect.change, { messageId });
        return null;
      case 'pointCaptured':
        await client.publish(pointCaptured, effect.fact, { messageId });
        return null;
      case 'pointAvailable':
        await client.publish(pointAvailable, effect.fact, { messageId });
        return null;
    }
  };

/** A platform that stays silent is told to the user with its own message, before the wait's deadline. */
export const retryProtection: RetryPolicy<ProtectionEffect> = (effect, failure) => {
  const isGivenUp = failure.done || failure.attempt >= attemptLimits.loadFacts;
  return effect.type === 'loadFacts' && isGivenUp ? null : retryUnavailable(effect, failure);
};
