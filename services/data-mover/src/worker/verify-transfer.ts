import { Fault, type TransferResult, type VerifySpec } from '@casvault/contracts';
import { verifyPoint, type VerifyRequest, type VerifyResult } from '@casvault/data-path';
import { Outage } from './outage.js';
import { poolPatience, throughOutages } from './pool-attempts.js';
import { locationOf } from './pool-place.js';
import { inSpan } from './spans.js';
import { isOfPoint, verifiedOf } from './verified.rules.js';
import { nothingMoved, type Work } from './work.js';

/** Threads that decode the blocks of a disk; one disk after the other. */
const streamsPerDisk = 2;

/** Checks what a point has in its pool. Damage is a result, not a fault; an interrupted attempt is repeated from its beginning. */
export const verifyInPool = async (work: Work<VerifySpec>): Promise<TransferResult> => {
  const { spec, lease, tools, transferId } = work;
  const { chainId, pointId, depth } = spec;
  const outage = new Outage(poolPatience, tools.clock, tools.monotonic);
  const request: VerifyRequest = {
    location: locationOf(spec.pool, tools.unseal),
    chainId,
    pointId,
    depth: depth === 'content' ? { kind: 'content', key: null, streamsPerDisk } : { kind: 'stored' },
  };
  const run = { signal: lease.signal, resting: tools.resting, onProgress: work.onProgress };
  const verify = () => verifyPoint(request, run);
  const found = await throughOutages(work, outage, () =>
    inSpan('verify point', { 'casvault.point': pointId }, () => orDamaged(verify, pointId)),
  );
  const verified = verifiedOf(found);
  const { checkedBytes, objects } = verified;
  tools.logger.info({ transferId, pointId, depth, checkedBytes, damaged: objects.length }, 'point verified');
  return { ...nothingMoved, verified };
};

/** A point without a whole manifest is damaged; nothing else of it can be checked. */
const orDamaged = async (verify: () => Promise<VerifyResult>, pointId: string): Promise<VerifyResult> => {
  try {
    return await verify();
  } catch (error) {
    const fault = Fault.from(error);
    if (!isOfPoint(fault, pointId)) throw error;
    return { faults: [fault.toJSON()], checkedBytes: 0, disks: [] };
  }
};
