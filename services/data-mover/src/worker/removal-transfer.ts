import { Fault, type RemovalSpec, type TransferResult } from '@casvault/contracts';
import { removePoints } from '@casvault/data-path';
import { Outage } from './outage.js';
import { locationOf, withStore } from './pool-place.js';
import { remedyFor } from './remedy.rules.js';
import { inSpan } from './spans.js';
import { type Work } from './work.js';

/** How long a pool may be away in the middle of a removal. */
const reconnectMinutes = 10;

const nothingMoved: TransferResult = {
  disks: [],
  poolBytes: 0,
  capturedAt: null,
  method: 'write',
  consistency: 'crash',
  reasons: [],
};

/** Takes points and what failed attempts at them left out of their pool, or says what would go. Done again it finds nothing to do. */
export const removeFromPool = async (work: Work<RemovalSpec>): Promise<TransferResult> => {
  const { spec, lease, tools, transferId } = work;
  const outage = new Outage(reconnectMinutes, tools.clock, tools.monotonic);
  const { chainId, pointIds, writers = [], dryRun } = spec;
  const remove = () =>
    withStore(locationOf(spec.pool, tools.unseal), (store) =>
      removePoints(store, { chainId, pointIds, writers, dryRun }, { signal: lease.signal }),
    );
  for (;;) {
    lease.throwIfEnded();
    try {
      const done = await inSpan('remove points', { 'casvault.chain': chainId }, remove);
      tools.logger.info({ transferId, dryRun, ...done }, 'points removed from their pool');
      const { freedBytes, removedObjects } = done;
      return { ...nothingMoved, removed: { freedBytes, removedObjects } };
    } catch (error) {
      lease.throwIfEnded();
      const fault = Fault.from(error);
      if (remedyFor(fault) !== 'wait') throw fault;
      tools.logger.warn({ err: fault, transferId }, 'transfer interrupted');
      await outage.wait(fault, lease.signal);
    }
  }
};
