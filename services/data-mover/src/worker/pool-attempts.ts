import { Fault } from '@casvault/contracts';
import { type Outage, type Patience } from './outage.js';
import { remedyFor } from './remedy.rules.js';
import { type Work } from './work.js';

/**
 * Tries what concerns only pools until it is done, the transfer ends, or a pool is away for longer than the outage allows. `beforeNext` is done
 * before every attempt but the first; when it fails, so does the transfer.
 */
export const throughOutages = async <T>(
  { lease, tools, transferId }: Pick<Work<unknown>, 'lease' | 'tools' | 'transferId'>,
  outage: Outage,
  attempt: () => Promise<T>,
  beforeNext?: () => Promise<void>,
): Promise<T> => {
  for (;;) {
    lease.throwIfEnded();
    try {
      return await attempt();
    } catch (error) {
      lease.throwIfEnded();
      const fault = Fault.from(error);
      const remedy = remedyFor(fault);
      tools.logger.warn({ err: fault, transferId, remedy }, 'transfer interrupted');
      if (remedy !== 'wait') throw fault;
      await outage.wait(fault, lease.signal);
      await beforeNext?.();
    }
  }
};

/** How long a pool may be away in the middle of what has no options. */
export const poolPatience: Patience = { reconnect: { minutes: 10 }, transport: { connectMinutes: 10 } };
