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

/** Takes a point and what failed attempts at it left out of its pool. Done again it finds nothing to do. */
export const removePoint = async (work: Work<RemovalSpec>): Promise<TransferResult> => {
  const { spec, lease, tools, transferId } = work;
  const outage = new Outage(reconnectMinutes, tools.clock, tools.monotonic);
  const { chainId, pointId, writers = [] } = spec;
  const remove = () =>
    withStore(locationOf(spec.pool, tools.unseal), (store) =>
      removePoints(store, { chainId, pointIds: [pointId], writers }, { signal: lease.signal }),
    );
  for (;;) {
    lease.throwIfEnded();
    try {
      const removed = await inSpan('remove point', { 'casvault.point': pointId }, remove);
      tools.logger.info({ transferId, ...removed }, 'point removed from its pool');
      return nothingMoved;
    } catch (error) {
      lease.throwIfEnded();
      const fault = Fault.from(error);
      // Where no repository is, there is nothing of the point.
      if (fault.code === 'POOL_OBJECT_MISSING') return nothingMoved;
      if (remedyFor(fault) !== 'wait') throw fault;
      tools.logger.warn({ err: fault, transferId }, 'transfer interrupted');
      await outage.wait(fault, lease.signal);
    }
  }
};
