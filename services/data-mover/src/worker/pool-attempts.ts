import { Fault } from '@casvault/contracts';
import { type Outage, type Patience } from './outage.js';
import { remedyFor } from './remedy.rules.js';
import { type Work } from './work.js';

/** Tries what concerns only the pool until it is done, the transfer ends, or the pool is away for longer than the outage allows. */
export const throughOutages = async <T>(
  { lease, tools, transferId }: Pick<Work<unknown>, 'lease' | 'tools' | 'transferId'>,
  outage: Outage,
  attempt: () => Promise<T>,
): Promise<T> => {
  for (;;) {
    lease.throwIfEnded();
    try {
      return await attempt();
    } catch (error) {
      lease.throwIfEnded();
      const fault = Fault.from(error);
      if (remedyFor(fault) !== 'wait') throw fault;
      tools.logger.warn({ err: fault, transferId }, 'transfer interrupted');
      await outage.wait(fault, lease.signal);
    }
  }
};

/** How long a pool may be away in the middle of what has no options. */
export const poolPatience: Patience = { reconnect: { minutes: 10 }, transport: { connectMinutes: 10 } };
