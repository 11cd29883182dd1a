import { randomBytes } from 'node:crypto';
import { Fault } from '@casvault/contracts';
import { type ObjectStore } from '@casvault/object-store';
import {
  decodeDescriptor,
  DESCRIPTOR_KEY,
  encodeDescriptor,
  FORMAT_VERSION,
  BLOCK_BYTES,
  GROUP_BYTES,
  openDigest,
  openSuite,
  packFolder,
  unwrapMasterKey,
  wrapMasterKey,
  type DedupScope,
  type Descriptor,
  type Digest,
  type HashName,
  type RepositoryKey,
  type Suite,
} from '@casvault/repository';

/** A repository as anybody who reaches its store may read it: no key, so no content where it is encrypted. */
export interface LockedRepository {
  readonly store: ObjectStore;
  readonly descriptor: Descriptor;
  readonly checksum: Digest;
}

/** A repository whose content can be read and written. Its suite belongs to one thread. */
export interface Repository extends LockedRepository {
  readonly suite: Suite;
  /** Null in a repository without encryption. */
  readonly masterKey: Uint8Array | null;
}

/** The folder under `packs/` of a chain. */
export function folderOf(repository: LockedRepository, chainId: string): string {
  return packFolder(repository.descriptor.dedupScope, chainId);
}

/** Faults: POOL_OBJECT_MISSING where no repository is, POOL_OBJECT_DAMAGED, POOL_FORMAT_UNSUPPORTED. */
export async function openLocked(
  store: ObjectStore,
  options: { signal?: AbortSignal } = {},
): Promise<LockedRepository> {
  const descriptor = decodeDescriptor(await store.get(DESCRIPTOR_KEY, options));
  return { store, descriptor, checksum: openDigest(descriptor.hash, null) };
}

/** As `openLocked`; POOL_KEY_WRONG when it is encrypted and `key` does not open it. */
export async function openRepository(
  store: ObjectStore,
  options: { key?: RepositoryKey | null; signal?: AbortSignal } = {},
): Promise<Repository> {
  const locked = await openLocked(store, options);
  return unlock(locked, unwrapMasterKey(locked.descriptor, options.key ?? null));
}

/** A repository whose master key is at hand already, as in a worker thread. */
export function unlock(locked: LockedRepository, masterKey: Uint8Array | null): Repository {
  const { repositoryId, hash } = locked.descriptor;
  return { ...locked, masterKey, suite: openSuite({ repositoryId, hash, masterKey }) };
}

export interface NewRepository {
  readonly repositoryId: string;
  readonly createdAt: Date;
  readonly hash?: HashName;
  readonly dedupScope?: DedupScope;
  /** Opens it from now on; null for a repository without encryption. */
  readonly key?: RepositoryKey | null;
  readonly signal?: AbortSignal;
}

/** Costs about 0.1 s and 128 MiB, once when a repository is opened by passphrase. */
const scryptCost = { N: 2 ** 17, r: 8, p: 1 };

/**
 * Makes a repository, or takes up the one that is there if it has the same id (with its own settings, whatever was asked).
 * Faults: ALREADY_EXISTS for a store that holds another repository; POOL_KEY_WRONG.
 */
export async function createRepository(store: ObjectStore, wanted: NewRepository): Promise<Repository> {
  const { signal, key = null } = wanted;
  try {
    const options = { ifAbsent: true, ...(signal === undefined ? {} : { signal }) };
    await store.put(DESCRIPTOR_KEY, encodeDescriptor(newDescriptor(wanted)), options);
  } catch (error) {
    if (Fault.from(error).code !== 'POOL_OBJECT_EXISTS') throw error;
  }
  const found = await openLocked(store, signal === undefined ? {} : { signal });
  const { repositoryId } = found.descriptor;
  if (repositoryId !== wanted.repositoryId.toLowerCase()) {
    throw new Fault('ALREADY_EXISTS', `the store holds the repository ${repositoryId} already`, {
      details: { repositoryId },
    });
  }
  return unlock(found, unwrapMasterKey(found.descriptor, key));
}

function newDescriptor(wanted: NewRepository): Descriptor {
  const repositoryId = wanted.repositoryId.toLowerCase();
  const { key = null } = wanted;
  const scrypt = { ...scryptCost, salt: randomBytes(16) };
  return {
    format: 'casvault repository',
    version: FORMAT_VERSION,
    repositoryId,
    blockBytes: BLOCK_BYTES,
    groupBytes: GROUP_BYTES,
    hash: wanted.hash ?? 'blake3-256',
    dedupScope: wanted.dedupScope ?? 'chain',
    encryption:
      key === null
        ? { mode: 'none' }
        : {
            mode: 'aes-256-gcm',
            masterKeys: [wrapMasterKey(repositoryId, randomBytes(32), key, scrypt)],
          },
    createdAt: wanted.createdAt.toISOString(),
  };
}
