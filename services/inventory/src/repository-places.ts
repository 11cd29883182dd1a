import { access, constants, mkdir, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { Fault, type FaultCode, type Pool, type PoolLocation } from '@casvault/contracts';
import { createRepository } from '@casvault/data-path';
import { type ObjectStore, openObjectStore } from '@casvault/object-store';
import { type PoolPlaces, type PoolUsage } from './pools.js';

const codes: Readonly<Record<string, FaultCode>> = {
  EACCES: 'POOL_ACCESS_DENIED',
  EPERM: 'POOL_ACCESS_DENIED',
  EROFS: 'POOL_ACCESS_DENIED',
  ENOSPC: 'POOL_FULL',
  EDQUOT: 'POOL_FULL',
  EEXIST: 'INPUT_INVALID',
  ENOTDIR: 'INPUT_INVALID',
  ENAMETOOLONG: 'INPUT_INVALID',
};

const directoryFault = (path: string, error: unknown): Fault => {
  const errno = (error as NodeJS.ErrnoException).code ?? 'unknown';
  const message = `location.path: ${path} cannot be made or written (${errno})`;
  return new Fault(codes[errno] ?? 'POOL_UNREACHABLE', message, {
    details: { field: 'location.path', errno },
    cause: error,
  });
};

/** Step by step, since a recursive mkdir hides the errno of the step that failed. */
const makeDirectory = async (path: string): Promise<void> => {
  try {
    await mkdir(path, { mode: 0o750 });
  } catch (error) {
    const errno = (error as NodeJS.ErrnoException).code;
    if (errno === 'ENOENT' && dirname(path) !== path) {
      await makeDirectory(dirname(path));
      return makeDirectory(path);
    }
    const found = await stat(path).catch(() => null);
    if (found?.isDirectory() !== true) throw directoryFault(path, error);
  }
};

/** The pool's directory, there and writable. */
const prepareDirectory = async (path: string): Promise<void> => {
  await makeDirectory(path);
  try {
    await access(path, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    throw directoryFault(path, error);
  }
};

/**
 * The repositories of pools in their places; a repository has its pool's id. One of another id that is there already is
 * refused with ALREADY_EXISTS, which names it. Writing its descriptor anew, if absent, shows whether objects can be written.
 */
export class RepositoryPlaces implements PoolPlaces {
  /** `open` opens a sealed secret. */
  constructor(private readonly open: (sealed: string) => string) {}

  async prepare(pool: Pool, signal: AbortSignal): Promise<void> {
    if (pool.location.kind === 'fs') await prepareDirectory(resolve(pool.location.path));
    const wanted = { repositoryId: pool.id, createdAt: new Date(pool.createdAt), signal };
    await this.with(pool.location, (store) => createRepository(store, wanted));
  }

  async usage(location: PoolLocation, signal: AbortSignal): Promise<PoolUsage> {
    return this.with(location, (store) => store.usage({ signal }));
  }

  private async with<T>(location: PoolLocation, work: (store: ObjectStore) => Promise<T>): Promise<T> {
    const store = openObjectStore(
      location.kind === 'fs' ? location : { ...location, secretKey: this.open(location.secretKey) },
    );
    try {
      return await work(store);
    } finally {
      await store.close();
    }
  }
}
