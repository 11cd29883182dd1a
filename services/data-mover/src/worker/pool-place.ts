import { Fault, type Pool } from '@casvault/contracts';
import { createRepository, openLocked } from '@casvault/data-path';
import { openObjectStore, type ObjectStore, type StoreLocation } from '@casvault/object-store';

/** Opens a sealed secret. */
export type Unseal = (sealed: string) => string;

/** Where a pool is, with its secret in clear: for the engine's memory alone, never for a message. */
export const locationOf = ({ location }: Pool, unseal: Unseal): StoreLocation =>
  location.kind === 'fs' ? location : { ...location, secretKey: unseal(location.secretKey) };

/** Works with a pool's store and closes it, whatever happens. */
export const withStore = async <T>(
  location: StoreLocation,
  work: (store: ObjectStore) => Promise<T>,
): Promise<T> => {
  const store = openObjectStore(location);
  try {
    return await work(store);
  } finally {
    await store.close();
  }
};

/** Makes the pool's repository where there is none yet. ALREADY_EXISTS: the place holds another pool's. */
export const prepareRepository = async (
  pool: Pool,
  store: ObjectStore,
  signal: AbortSignal,
): Promise<void> => {
  try {
    await openLocked(store, { signal });
  } catch (error) {
    if (Fault.from(error).code !== 'POOL_OBJECT_MISSING') throw error;
    await createRepository(store, { repositoryId: pool.id, createdAt: new Date(pool.createdAt), signal });
  }
};
