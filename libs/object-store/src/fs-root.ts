import { stat } from 'node:fs/promises';
import { Fault } from '@casvault/contracts';
import { fsFault } from './fs-faults.js';

/**
 * The pool's directory, told from its empty mount point: a missing object is damage, a missing pool is not, so whenever
 * something is not found the root is asked first. It must stay the directory that it was when first seen.
 */
export class FsRoot {
  readonly path: string;
  #seen: { readonly dev: number; readonly ino: number } | null = null;

  constructor(path: string) {
    this.path = path;
  }

  /** Refuses with POOL_UNREACHABLE when the root is gone, no directory, or another one than before. */
  async check(): Promise<void> {
    const { dev, ino } = await this.#stat();
    this.#seen ??= { dev, ino };
    if (this.#seen.dev !== dev || this.#seen.ino !== ino) {
      throw new Fault('POOL_UNREACHABLE', `pool ${this.path}: another file system is mounted there now`);
    }
  }

  async #stat(): Promise<{ dev: number; ino: number }> {
    const found = await stat(this.path).catch((error: unknown) => {
      throw fsFault(`pool ${this.path}: looking at its directory`, error);
    });
    if (!found.isDirectory()) throw new Fault('POOL_UNREACHABLE', `pool ${this.path} is no directory`);
    return found;
  }
}
