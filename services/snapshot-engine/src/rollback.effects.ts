import {
  checkpointName,
  getPoolAccess,
  getVmFacts,
  leaveVmOff,
  removeCheckpoints,
  shutDownVm,
  startVm,
  type Point,
  type RollbackSpec,
} from '@casvault/contracts';
import { backoffMs, retryWithin, type Perform, type RetryPolicy } from '@casvault/machine';
import { attemptLimits, platformDeadlines } from './deadlines.js';
import { type PointUse } from './deletion.js';
import { type ItemWorld } from './protection.effects.js';
import { type RollbackEffect, type RollbackEvent } from './rollback.machine.js';
import { type RollbackVm } from './rollback.js';
import { performTransfer } from './transfer.effects.js';

/** The CVM is asked meanwhile. */
const platformDeadlineMs = 120_000;

/**
 * The newest point of the VM in the same pool: if a checkpoint counts since any point, it is the one. Whether it does, and whether it may
 * be trusted, is for the disk service and the mover to find.
 */
const sinceOf = async (
  { points }: ItemWorld,
  { vmId, poolId }: Point,
  use: Omit<PointUse, 'pointId'>,
): Promise<RollbackSpec['since']> => {
  const newest = await points.newestAvailable(vmId, poolId);
  if (!newest || !(await points.use(newest.pointId, use))) return null;
  return { ...newest, checkpoint: checkpointName(newest.pointId) };
};

const loadFacts = async (
  world: ItemWorld,
  { itemId, runId, pointId, network }: RollbackVm,
  signal: AbortSignal,
): Promise<RollbackEvent> => {
  const { client, points } = world;
  const use = { kind: 'rollback', itemId, runId };
  await points.use(pointId, use);
  const { point, configuration } = await points.restorable(pointId);
  const pool = await client.request(getPoolAccess, { poolId: point.poolId }, { signal });
  const deadlineMs = platformDeadlineMs;
  const asked = { vmId: point.vmId, network: network.preferred };
  const vm = await client.request(getVmFacts, asked, { signal, deadlineMs });
  return {
    type: 'factsLoaded',
    facts: { point, configuration, pool, vm, since: await sinceOf(world, point, use) },
  };
};

const shutDown = async (
  { client }: ItemWorld,
  { request: { itemId, network }, vmId }: Extract<RollbackEffect, { type: 'shutDown' }>,
  signal: AbortSignal,
): Promise<RollbackEvent> => {
  const { wasRunning } = await client.request(
    shutDownVm,
    { itemId, vmId },
    { signal, deadlineMs: platformDeadlines.shutDownMs },
  );
  const asked = { vmId, network: network.preferred };
  const vm = await client.request(getVmFacts, asked, { signal, deadlineMs: platformDeadlineMs });
  return { type: 'vmOff', wasRunning, vm };
};

export const performRollback =
  (world: ItemWorld): Perform<RollbackEvent, RollbackEffect> =>
  async (effect, { effectId: messageId, signal }) => {
    const { client } = world;
    const platform = { signal, deadlineMs: platformDeadlineMs };
    switch (effect.type) {
      case 'loadFacts':
        return loadFacts(world, effect.request, signal);
      case 'shutDown':
        return shutDown(world, effect, signal);
      case 'removeCheckpoints':
        await client.request(removeCheckpoints, { vmId: effect.vmId, keep: [] }, platform);
        return { type: 'checkpointsRemoved' };
      case 'startVm': {
        const { request, vmId, wasOffToo } = effect;
        await client.request(startVm, { itemId: request.itemId, vmId, wasOffToo }, platform);
        return { type: 'vmStarted' };
      }
      case 'leaveOff':
        await client.request(leaveVmOff, { itemId: effect.request.itemId, vmId: effect.vmId }, { signal });
        return null;
      default:
        return performTransfer(client, effect, messageId);
    }
  };

const withinLimits = retryWithin<RollbackEffect>(attemptLimits);

/**
 * What waits for the platform is given up after a while, with the platform's own message. R6: a VM that ran is to run again, and what a
 * platform refuses now (an image that something has open for a moment), it may do a moment later.
 */
export const retryRollback: RetryPolicy<RollbackEffect> = (effect, failure) => {
  if (effect.type !== 'startVm') return withinLimits(effect, failure);
  return failure.attempt >= attemptLimits.startVm ? null : backoffMs(failure.attempt);
};
