import { randomUUID } from 'node:crypto';
import { link, rename, stat, statfs, unlink } from 'node:fs/promises';
import { posix } from 'node:path';
import { Fault } from '@casvault/contracts';
import { type Body, bodyParts, existingObject, missingObject, requireGoing, requireRange } from './body.js';
import { FsDirectories, syncDirectory } from './fs-directories.js';
import { errnoOf, fsFault } from './fs-faults.js';
import { listFiles } from './fs-list.js';
import { readFile } from './fs-read.js';
import { FsRoot } from './fs-root.js';
import { FsStaging, stagingFolder } from './fs-staging.js';
import { writeNewFile } from './fs-write.js';
import { requireKeyPrefix, requireObjectKey } from './object-key.js';
import {
  type GetOptions,
  type ListedObject,
  type ObjectStore,
  type PutOptions,
  type SignalOption,
  type StoreUsage,
} from './object-store.js';

export interface FsStoreOptions {
  /** Unique among all processes that use the pool; without dots. */
  readonly nextId?: () => string;
  readonly monotonicMs?: () => number;
}

/** A put starts over when its folder or unfinished file was removed under it. Each time is a lost race with another process. */
const maxRaces = 8;

/**
 * Objects as files below a directory that exists already (its absence is POOL_UNREACHABLE: it is a mount point).
 *
 * A put writes a file in `@tmp`, makes its data durable, then its name: by rename, or by link where the name must be new.
 * Link and rename are atomic among all clients of one file system, NFS included.
 */
export class FsObjectStore implements ObjectStore {
  readonly #root: FsRoot;
  readonly #directories: FsDirectories;
  readonly #staging: FsStaging;

  constructor(path: string, options: FsStoreOptions = {}) {
    this.#root = new FsRoot(path);
    this.#directories = new FsDirectories(path);
    this.#staging = new FsStaging(path, {
      nextId: options.nextId ?? randomUUID,
      monotonicMs: options.monotonicMs ?? (() => performance.now()),
    });
  }

  async put(key: string, body: Body, { signal, ifAbsent = false }: PutOptions = {}): Promise<void> {
    requireObjectKey(key);
    requireGoing(signal);
    await this.#run(`writing object ${key}`, async () => {
      await this.#root.check();
      for (let race = 0; race < maxRaces; race += 1) {
        if (await this.#tryPut(key, bodyParts(body), ifAbsent, signal)) return;
        await this.#root.check();
        this.#directories.forget();
      }
      throw new Fault(
        'POOL_UNREACHABLE',
        `object ${key}: its folder was removed ${maxRaces} times while writing`,
      );
    });
  }

  async get(key: string, options: GetOptions = {}): Promise<Uint8Array> {
    requireObjectKey(key);
    requireRange(options);
    requireGoing(options.signal);
    return this.#run(`reading object ${key}`, async () => {
      try {
        return await readFile(this.#pathOf(key), key, options);
      } catch (error) {
        if (!isAbsent(error)) throw error;
        await this.#root.check();
        throw missingObject(key);
      }
    });
  }

  async stat(key: string, { signal }: SignalOption = {}): Promise<{ sizeBytes: number } | null> {
    requireObjectKey(key);
    requireGoing(signal);
    return this.#run(`looking at object ${key}`, async () => {
      try {
        const found = await stat(this.#pathOf(key));
        return found.isFile() ? { sizeBytes: found.size } : null;
      } catch (error) {
        if (!isAbsent(error)) throw error;
        await this.#root.check();
        return null;
      }
    });
  }

  async *list(prefix: string, { signal }: SignalOption = {}): AsyncGenerator<ListedObject> {
    requireKeyPrefix(prefix);
    requireGoing(signal);
    try {
      await this.#root.check();
      yield* listFiles(this.#root.path, prefix, signal);
    } catch (error) {
      throw fsFault(`listing the pool ${this.#root.path}`, error);
    }
  }

  async delete(key: string, { signal }: SignalOption = {}): Promise<void> {
    requireObjectKey(key);
    requireGoing(signal);
    const folder = posix.dirname(key);
    await this.#run(`deleting object ${key}`, async () => {
      try {
        await unlink(this.#pathOf(key));
        await syncDirectory(this.#pathOf(folder));
      } catch (error) {
        // A folder is no object, either.
        if (!isAbsent(error) && errnoOf(error) !== 'EISDIR') throw error;
        await this.#root.check();
      }
      await this.#directories.prune(folder);
    });
  }

  async usage({ signal }: SignalOption = {}): Promise<StoreUsage> {
    requireGoing(signal);
    return this.#run('asking for the room of the pool', async () => {
      await this.#root.check();
      const { blocks, bavail, bsize } = await statfs(this.#root.path);
      return { capacityBytes: blocks * bsize, freeBytes: bavail * bsize };
    });
  }

  async close(): Promise<void> {
    // No file stays open between calls.
  }

  /** False when another process removed a folder or the unfinished file meanwhile. */
  async #tryPut(
    key: string,
    parts: readonly Uint8Array[],
    ifAbsent: boolean,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    const folder = posix.dirname(key);
    await this.#directories.ensure(stagingFolder);
    await this.#staging.sweep();
    const unfinished = await this.#staging.newPath();
    try {
      await this.#directories.ensure(folder);
      await writeNewFile(unfinished, parts, signal);
      requireGoing(signal);
      if (ifAbsent) await this.#linkNew(unfinished, key);
      else await rename(unfinished, this.#pathOf(key));
      await syncDirectory(this.#pathOf(folder));
      return true;
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
      return false;
    } finally {
      await removeIfThere(unfinished);
    }
  }

  async #linkNew(unfinished: string, key: string): Promise<void> {
    const path = this.#pathOf(key);
    try {
      await link(unfinished, path);
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error;
      // A repeated call over NFS may be told of the link that it has made itself.
      if ((await stat(unfinished)).nlink > 1) return;
      // The winner may not have got to it yet.
      await syncDirectory(posix.dirname(path));
      throw existingObject(key);
    }
  }

  async #run<T>(what: string, action: () => Promise<T>): Promise<T> {
    try {
      return await action();
    } catch (error) {
      throw fsFault(what, error);
    }
  }

  #pathOf(key: string): string {
    return posix.join(this.#root.path, key);
  }
}

const removeIfThere = async (path: string): Promise<void> => {
  await unlink(path).catch((error: unknown) => {
    if (!isAbsent(error)) throw error;
  });
};

/** ENOTDIR: a part of the key's way is an object itself. */
const isAbsent = (error: unknown): boolean => ['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '');
