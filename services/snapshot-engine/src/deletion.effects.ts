import { Fault, removeCheckpoints, removePoints, stopTransfer, type VmId } from '@casvault/contracts';
import { retryWithin, type Perform } from '@casvault/machine';
import { type Messenger } from '@casvault/messaging';
import { attemptLimits } from './deadlines.js';
import { type DeletionStore } from './deletion-store.js';
import { type DeletionEffect, type DeletionEvent } from './deletion.machine.js';

/** The disk service of the VM's host is asked meanwhile. */
const checkpointsDeadlineMs = 60_000;

export interface DeletionWorld {
  readonly client: Pick<Messenger, 'request' | 'send'>;
  readonly deletions: Pick<DeletionStore, 'facts' | 'chainOf' | 'get' | 'neededCheckpoints'>;
}

/** A VM that is gone has no checkpoints. */
const dropCheckpoints = async (
  { client, deletions }: DeletionWorld,
  vmId: VmId,
  signal: AbortSignal,
): Promise<void> => {
  const keep = await deletions.neededCheckpoints(vmId);
  try {
    await client.request(removeCheckpoints, { vmId, keep }, { signal, deadlineMs: checkpointsDeadlineMs });
  } catch (error) {
    const { code } = Fault.from(error);
    if (code !== 'VM_NOT_FOUND' && code !== 'NOT_FOUND') throw error;
  }
};

export const performDeletion =
  (world: DeletionWorld): Perform<DeletionEvent, DeletionEffect> =>
  async (effect, { effectId: messageId, signal }) => {
    switch (effect.type) {
      case 'removePoints':
        await world.client.send(removePoints, effect.command, { messageId });
        return null;
      case 'stopTransfer':
        await world.client.send(stopTransfer, { transferId: effect.transferId }, { messageId });
        return null;
      case 'removeCheckpoints':
        await dropCheckpoints(world, effect.vmId, signal);
        return null;
    }
  };

/** A host that is away is given up after a while: what is left on it goes with the VM's next backup. */
export const retryDeletion = retryWithin<DeletionEffect>({
  removeCheckpoints: attemptLimits.removeCheckpoints,
});
