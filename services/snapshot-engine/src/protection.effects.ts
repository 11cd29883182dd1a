import {
  createVmSnapshot,
  Fault,
  getPoolAccess,
  getVmFacts,
  pointAvailable,
  pointCaptured,
  removePoints,
  removeVmSnapshot,
  shutDownVm,
  startVm,
} from '@casvault/contracts';
import { backoffMs, retryUnavailable, type Perform, type RetryPolicy } from '@casvault/machine';
import { type Messenger } from '@casvault/messaging';
import { attemptLimits, platformDeadlines } from './deadlines.js';
import { type HistoryStore } from './history-store.js';
import { type PointStore } from './point-store.js';
import { heldByDeletion, type ProtectVm } from './protection.js';
import { type ProtectionEffect } from './protection-step.js';
import { asksForReserve } from './reserve.rules.js';
import { type ProtectionEvent } from './protection.machine.js';
import { performTransfer } from './transfer.effects.js';

/** The CVM is asked meanwhile. */
const factsDeadlineMs = 60_000;

export interface ItemWorld {
  readonly client: Messenger;
  readonly points: Pick<PointStore, 'newestAvailable' | 'restorable' | 'use'>;
  readonly history: Pick<HistoryStore, 'of'>;
}

const loadFacts = async (
  { client, points, history }: ItemWorld,
  request: ProtectVm,
  signal: AbortSignal,
): Promise<ProtectionEvent> => {
  const { itemId, runId, vmId, poolId, reserve } = request;
  const asked = { vmId, network: request.network.preferred, withStorages: asksForReserve(reserve) };
  const facts = await client.request(getVmFacts, asked, { signal, deadlineMs: factsDeadlineMs });
  const pool = await client.request(getPoolAccess, { poolId }, { signal });
  const past = await history.of(request);
  const { parent } = past;
  if (parent && !(await points.use(parent.pointId, { kind: 'protection', itemId, runId })))
    throw new Fault('DEPENDENCY_UNAVAILABLE', `points of chain ${parent.chainId} are being deleted`, {
      details: { [heldByDeletion]: parent.chainId },
    });
  return { type: 'factsLoaded', facts, pool, history: past };
};

const onPlatform = async (
  { client }: ItemWorld,
  { action, use, request }: Extract<ProtectionEffect, { type: 'platform' }>,
  signal: AbortSignal,
): Promise<ProtectionEvent> => {
  const { itemId, vmId } = request;
  const named = { itemId, vmId };
  const options = { signal, deadlineMs: platformDeadlines.taskMs };
  if (action === 'undo') {
    await client.request(use === 'power-off' ? startVm : removeVmSnapshot, named, options);
    return { type: 'undone' };
  }
  if (use === 'power-off') {
    const { wasRunning } = await client.request(shutDownVm, named, {
      signal,
      deadlineMs: platformDeadlines.shutDownMs,
    });
    return { type: 'prepared', snapshot: null, isUndone: !wasRunning };
  }
  const snapshot = await client.request(createVmSnapshot, { ...named, kind: use }, options);
  return { type: 'prepared', snapshot, isUndone: false };
};

export const performProtection =
  (world: ItemWorld): Perform<ProtectionEvent, ProtectionEffect> =>
  async (effect, { effectId: messageId, signal }) => {
    const { client } = world;
    switch (effect.type) {
      case 'loadFacts':
        return loadFacts(world, effect.request, signal);
      case 'platform':
        return onPlatform(world, effect, signal);
      case 'removeData':
        await client.send(removePoints, effect.command, { messageId });
        return null;
      case 'pointCaptured':
        await client.publish(pointCaptured, effect.fact, { messageId });
        return null;
      case 'pointAvailable':
        await client.publish(pointAvailable, effect.fact, { messageId });
        return null;
      default:
        return performTransfer(client, effect, messageId);
    }
  };

/**
 * A platform that stays silent is told to the user with its own message, before the wait's deadline. What undoes is tried
 * longest, and through refusals too: a VM may be locked for as long as its disks are still open.
 */
export const retryProtection: RetryPolicy<ProtectionEffect> = (effect, failure) => {
  if (effect.type === 'loadFacts')
    return failure.done || failure.attempt >= attemptLimits.loadFacts
      ? null
      : retryUnavailable(effect, failure);
  if (effect.type !== 'platform') return retryUnavailable(effect, failure);
  if (effect.action === 'prepare')
    return failure.attempt >= attemptLimits.prepare ? null : retryUnavailable(effect, failure);
  const isPointless = failure.fault.code === 'VM_NOT_FOUND' || failure.attempt >= attemptLimits.undo;
  return isPointless ? null : backoffMs(failure.attempt);
};
