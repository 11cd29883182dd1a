import { mkdir } from 'node:fs/promises';
import { Fault, type FaultCode, type Pool, type PoolLocation } from '@casvault/contracts';
import { type ObjectStore, openObjectStore } from '@casvault/object-store';
import { decodeDescriptor, DESCRIPTOR_KEY, encodeDescriptor } from '@casvault/repository';
import { type PoolPlaces, type PoolUsage } from './pools.js';

/** Looked for beside the descriptor when a repository is taken up: whether objects can be written at all. */
const probeKey = 'casvault-write-probe';

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

const makeDirectory = async (path: string): Promise<void> => {
  try {
    await mkdir(path, { recursive: true, mode: 0o750 });
  } catch (error) {
    const errno = (error as NodeJS.ErrnoException).code ?? 'unknown';
    const code = codes[errno] ?? 'POOL_UNREACHABLE';
    throw new Fault(code, `location.path: the directory ${path} cannot be made (${errno})`, {
      details: { field: 'location.path', errno },
      cause: error,
    });
  }
};

/** The repositories of pools in their places, through the object store. */
export class RepositoryPlaces implements PoolPlaces {
  /** `open` opens a sealed secret. */
  constructor(private readonly open: (sealed: string) => string) {}

  async prepare(pool: Pool, signal: AbortSignal): Promise<void> {
    if (pool.location.kind === 'fs') await makeDirectory(pool.location.path);
    await this.with(pool.location, async (store) => {
      const found = await store.stat(DESCRIPTOR_KEY, { signal });
      if (found === null && (await create(store, pool, signal))) return;
      await takeUp(store, signal);
    });
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

/** The repository has the pool's id. False: somebody else made one meanwhile. */
const create = async (store: ObjectStore, pool: Pool, signal: AbortSignal): Promise<boolean> => {
  const descriptor = encodeDescriptor({
    format: 'casvault repository',
    version: 1,
    repositoryId: pool.id,
    blockBytes: 65_536,
    groupBytes: 1_048_576,
    hash: 'blake3-256',
    dedupScope: 'chain',
    encryption: { mode: 'none' },
    createdAt: pool.createdAt,
  });
  try {
    await store.put(DESCRIPTOR_KEY, descriptor, { ifAbsent: true, signal });
    return true;
  } catch (error) {
    if (Fault.is(error) && error.code === 'POOL_OBJECT_EXISTS') return false;
    throw error;
  }
};

/** A repository that is there already: of a known format, readable with what is given, and writable. */
const takeUp = async (store: ObjectStore, signal: AbortSignal): Promise<void> => {
  const descriptor = decodeDescriptor(await store.get(DESCRIPTOR_KEY, { signal }));
  if (descriptor.encryption.mode !== 'none')
    throw new Fault('POOL_KEY_WRONG', 'location: the repository there is encrypted, and no key was given');
  await store.put(probeKey, Buffer.from('written to see that it can be\n'), { signal });
  await store.delete(probeKey, { signal });
};
