import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { requireGoing } from './body.js';
import { errnoOf } from './fs-faults.js';
import { isObjectKey } from './object-key.js';
import { type ListedObject } from './object-store.js';

/**
 * Files below a directory whose key starts with `prefix`, in byte order of their keys. A folder sorts as its name with the
 * slash that its keys have: `a-b` comes before `a/x`. Memory: the names of one folder per level.
 */
export async function* listFiles(
  root: string,
  prefix: string,
  signal?: AbortSignal,
): AsyncGenerator<ListedObject> {
  yield* listFolder(root, '', prefix, signal);
}

async function* listFolder(
  root: string,
  folder: string,
  prefix: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<ListedObject> {
  requireGoing(signal);
  for (const name of await sortedNames(join(root, folder))) {
    const path = folder + name;
    if (name.endsWith('/')) {
      const mayHold = path.startsWith(prefix) || prefix.startsWith(path);
      if (mayHold && isObjectKey(path.slice(0, -1))) yield* listFolder(root, path, prefix, signal);
    } else if (path.startsWith(prefix) && isObjectKey(path)) {
      const sizeBytes = await sizeOf(join(root, path));
      if (sizeBytes !== null) yield { key: path, sizeBytes };
    }
  }
}

/** Names of a folder's files and, with a slash, folders. A folder that has gone meanwhile is empty. */
const sortedNames = async (path: string): Promise<string[]> => {
  const entries = await readdir(path, { withFileTypes: true }).catch(whenGone([]));
  const names = entries
    .filter((entry) => entry.isFile() || entry.isDirectory())
    .map((entry) => (entry.isDirectory() ? `${entry.name}/` : entry.name));
  return names.sort((a, b) => (a < b ? -1 : 1));
};

const sizeOf = async (path: string): Promise<number | null> => {
  const found = await lstat(path).catch(whenGone(null));
  return found?.isFile() === true ? found.size : null;
};

const whenGone =
  <T>(value: T) =>
  (error: unknown): T => {
    if (errnoOf(error) === 'ENOENT') return value;
    throw error;
  };
