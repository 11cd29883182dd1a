import { listLiveItems, listNeededCheckpoints, listProtectedVms } from '@casvault/contracts';
import { type MessagingClient } from '@casvault/messaging';
import { type Owners } from './reconciliation.js';

/** snapshot-engine, asked over NATS. */
export const ownersBy = (client: MessagingClient): Owners => ({
  liveItems: (itemIds, signal) => client.request(listLiveItems, { itemIds }, { signal }),
  protectedVms: (vmIds, signal) => client.request(listProtectedVms, { vmIds }, { signal }),
  judgeCheckpoints: (names, signal) => client.request(listNeededCheckpoints, { names }, { signal }),
});
