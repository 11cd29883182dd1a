import { lstat, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type ContentSource } from './content.js';
import { type SeededRandom } from './random.js';

/** Of larger files only the beginning is taken. */
const mostBytes = 32 * 1_048_576;
/** Folders and files that everyone may read: the same for every user of the machine. */
const enteredByAll = 0o5;
const readByAll = 0o4;

export interface RealFile {
  readonly path: string;
  readonly bytes: number;
}

/**
 * The regular files below the folders, each once, in an order that depends on their names alone. Stays on the folder's file system.
 * Memory: some 200 bytes a file.
 */
export async function findFiles(folders: readonly string[]): Promise<RealFile[]> {
  const found: RealFile[] = [];
  const seen = new Set<string>();
  for (const folder of folders) await descend(folder, (await lstat(folder)).dev, found, seen);
  return found;
}

async function descend(folder: string, dev: number, found: RealFile[], seen: Set<string>): Promise<void> {
  if (((await lstat(folder)).mode & enteredByAll) !== enteredByAll) return;
  const entries = await readdir(folder, { withFileTypes: true });
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(folder, entry.name);
    const facts = entry.isDirectory() || entry.isFile() ? await lstat(path) : null;
    if (facts === null || facts.dev !== dev) continue;
    if (facts.isDirectory()) await descend(path, dev, found, seen);
    const inode = String(facts.ino);
    if (!facts.isFile() || facts.size === 0 || (facts.mode & readByAll) === 0 || seen.has(inode)) continue;
    seen.add(inode);
    found.push({ path, bytes: Math.min(facts.size, mostBytes) });
  }
}

/**
 * The files one after the other in a shuffled order. When all were given it begins again with every byte changed by the number of the round:
 * as compressible as before, but no duplicate of what was given.
 */
export function filesInTurn(files: readonly RealFile[], random: SeededRandom): ContentSource {
  const order = random.shuffle([...files]);
  let given = 0;
  return {
    next: async () => {
      const file = order[given % order.length];
      if (file === undefined) throw new Error('no files to fill the disk with');
      const round = Math.floor(given / order.length);
      given += 1;
      const bytes = await readBeginning(file);
      if (round > 0) for (let i = 0; i < bytes.length; i += 1) bytes[i]! ^= round & 0xff;
      return bytes;
    },
  };
}

async function readBeginning({ path, bytes }: RealFile): Promise<Buffer> {
  const handle = await open(path);
  try {
    const into = Buffer.alloc(bytes);
    const { bytesRead } = await handle.read(into, 0, bytes, 0);
    return into.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}
