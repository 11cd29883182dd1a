import {
  attachRestoreVolume,
  createRestoreVm,
  createRestoreVolume,
  finishRestoreImage,
  finishRestoreVm,
  getPoolAccess,
  removeRestoreVm,
  removeRestoreVolume,
  type PlatformId,
  type RunItemId,
} from '@casvault/contracts';
import { retryWithin, type Perform } from '@casvault/machine';
import { attemptLimits } from './deadlines.js';
import { type ItemWorld } from './protection.effects.js';
import { madeBy, type Restore } from './restore.js';
import { type RestoreEffect, type RestoreEvent } from './restore.machine.js';
import { performTransfer } from './transfer.effects.js';

/** The CVM makes, starts or deletes a VM meanwhile; asked again, inventory goes on from what there is. */
const platformDeadlineMs = 120_000;

const loadPoint = async (
  { client, points }: ItemWorld,
  { itemId, runId, pointId }: Restore,
  signal: AbortSignal,
): Promise<RestoreEvent> => {
  await points.use(pointId, { kind: 'restore', itemId, runId });
  const source = await points.restorable(pointId);
  const pool = await client.request(getPoolAccess, { poolId: source.point.poolId }, { signal });
  return { type: 'pointLoaded', source, pool };
};

const onPlatform = async (
  { client }: ItemWorld,
  effect: Extract<RestoreEffect, { type: 'createVm' | 'createVolume' | 'finishVm' | 'removeVm' }>,
  signal: AbortSignal,
): Promise<RestoreEvent> => {
  const options = { signal, deadlineMs: platformDeadlineMs };
  if (effect.type === 'createVm')
    return { type: 'vmCreated', vm: await client.request(createRestoreVm, effect.request, options) };
  if (effect.type === 'createVolume')
    return { type: 'vmCreated', vm: await client.request(createRestoreVolume, effect.request, options) };
  const { itemId: restoreId, target } = effect.request;
  const named = { restoreId, platformId: target.platformId };
  if (effect.type === 'finishVm') return finish(client, effect, named, options);
  const isVolume = madeBy(effect.request) === 'volume';
  await client.request(isVolume ? removeRestoreVolume : removeRestoreVm, named, options);
  return { type: 'vmRemoved' };
};

const finish = async (
  client: ItemWorld['client'],
  { request: { target }, powerOn }: Extract<RestoreEffect, { type: 'finishVm' }>,
  named: { restoreId: RunItemId; platformId: PlatformId },
  options: { signal: AbortSignal; deadlineMs: number },
): Promise<RestoreEvent> => {
  if (!('kind' in target)) {
    const { vmId } = await client.request(finishRestoreVm, { ...named, powerOn }, options);
    return { type: 'vmFinished', vmId, imageId: null };
  }
  if (target.kind === 'disk') {
    const { vmId } = await client.request(attachRestoreVolume, named, options);
    return { type: 'vmFinished', vmId, imageId: null };
  }
  const { description } = target;
  const { imageId } = await client.request(finishRestoreImage, { ...named, description }, options);
  return { type: 'vmFinished', vmId: null, imageId };
};

export const performRestore =
  (world: ItemWorld): Perform<RestoreEvent, RestoreEffect> =>
  async (effect, { effectId: messageId, signal }) => {
    switch (effect.type) {
      case 'loadPoint':
        return loadPoint(world, effect.request, signal);
      case 'createVm':
      case 'createVolume':
      case 'finishVm':
      case 'removeVm':
        return onPlatform(world, effect, signal);
      default:
        return performTransfer(world.client, effect, messageId);
    }
  };

/** What waits for the platform is given up after a while, with the platform's own message. Removing goes on longest. */
export const retryRestore = retryWithin<RestoreEffect>(attemptLimits);
