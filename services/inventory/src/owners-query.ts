import { findBackupJob, listLiveItems, listNeededCheckpoints, listProtectedVms } from '@casvault/contracts';
import { type MessagingClient } from '@casvault/messaging';
import { type Protection } from './overwriting.js';
import { type Owners } from './reconciliation.js';

/** snapshot-engine, and for its jobs the scheduler, asked over NATS. */
export const ownersBy = (client: MessagingClient): Owners & Protection['owners'] => ({
  backupJob: (vm, signal) => client.request(findBackupJob, vm, { signal }),
  liveItems: (itemIds, signal) => client.request(listLiveItems, { itemIds }, { signal }),
  protectedVms: (vmIds, signal) => client.request(listProtectedVms, { vmIds }, { signal }),
  judgeCheckpoints: (names, signal) => client.request(listNeededCheckpoints, { names }, { signal }),
});
