import { type RemovalSpec, type TransferResult } from '@casvault/contracts';
import { removePoints } from '@casvault/data-path';
import { Outage } from './outage.js';
import { poolPatience, throughOutages } from './pool-attempts.js';
import { locationOf, withStore } from './pool-place.js';
import { inSpan } from './spans.js';
import { nothingMoved, type Work } from './work.js';

/** Takes points and what failed attempts at them left out of their pool, or says what would go. Done again it finds nothing to do. */
export const removeFromPool = async (work: Work<RemovalSpec>): Promise<TransferResult> => {
  const { spec, lease, tools, transferId } = work;
  const outage = new Outage(poolPatience, tools.clock, tools.monotonic);
  const { chainId, pointIds, writers = [], dryRun } = spec;
  const remove = () =>
    withStore(locationOf(spec.pool, tools.unseal), (store) =>
      removePoints(store, { chainId, pointIds, writers, dryRun }, { signal: lease.signal }),
    );
  const done = await throughOutages(work, outage, () =>
    inSpan('remove points', { 'casvault.chain': chainId }, remove),
  );
  tools.logger.info({ transferId, dryRun, ...done }, 'points removed from their pool');
  const { freedBytes, removedObjects } = done;
  return { ...nothingMoved, removed: { freedBytes, removedObjects } };
};
