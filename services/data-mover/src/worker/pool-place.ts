import { Fault, type PointId, type Pool } from '@casvault/contracts';
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

/**
 * Makes the repository of a new point's pool where there is none yet. A chain that has a parent has its repository: another one in its place
 * must not be taken for it. ALREADY_EXISTS: the place holds another pool's.
 */
export const prepareRepository = async (
  { pool, parentPointId }: { readonly pool: Pool; readonly parentPointId: PointId | null },
  location: StoreLocation,
  signal: AbortSignal,
): Promise<void> => {
  if (parentPointId !== null) return;
  await withStore(location, async (store) => {
    try {
      await openLocked(store, { signal });
    } catch (error) {
      if (Fault.from(error).code !== 'POOL_OBJECT_MISSING') throw error;
      await createRepository(store, { repositoryId: pool.id, createdAt: new Date(pool.createdAt), signal });
    }
  });
};
