import { mkdir, open, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf } from './fs-faults.js';

/** Makes the entries of a directory durable. */
export const syncDirectory = async (path: string): Promise<void> => {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
};

/**
 * Folders under a root whose own entries are durable. What another process has just made may not be, so a folder is trusted
 * only after this process has synced the way to it. Memory: one path per folder used, at most `maxKnown`.
 */
export class FsDirectories {
  readonly #root: string;
  readonly #known = new Set<string>();

  constructor(root: string) {
    this.#root = root;
  }

  /** Makes a folder (relative to the root) and its parents, durably. */
  async ensure(folder: string): Promise<void> {
    if (folder === '.' || this.#known.has(folder)) return;
    await mkdir(join(this.#root, folder), { recursive: true });
    for (let path = folder; path !== '.'; path = dirname(path)) {
      await syncDirectory(join(this.#root, dirname(path)));
    }
    if (this.#known.size >= maxKnown) this.#known.clear();
    this.#known.add(folder);
  }

  /** Somebody removed a folder meanwhile: nothing below the root is trusted any more. */
  forget(): void {
    this.#known.clear();
  }

  /** Removes a folder and its parents as far as they are empty. A racing `ensure` makes them again. */
  async prune(folder: string): Promise<void> {
    for (let path = folder; path !== '.'; path = dirname(path)) {
      try {
        await rmdir(join(this.#root, path));
      } catch (error) {
        if (leftAlone.has(errnoOf(error) ?? '')) return;
        throw error;
      }
      this.#known.delete(path);
    }
  }
}

const maxKnown = 10_000;
/** Not empty, gone already, an object, a mount point, or not ours to remove: no harm in any. */
const leftAlone = new Set(['ENOTEMPTY', 'EEXIST', 'ENOENT', 'ENOTDIR', 'EBUSY', 'EACCES', 'EPERM', 'EROFS']);
