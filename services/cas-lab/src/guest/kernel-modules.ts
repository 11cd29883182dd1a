import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import { runCommand } from '../process/run-command.js';

export interface KernelModule {
  readonly name: string;
  readonly content: Buffer;
}

/** The kernel takes `-` and `_` in module names as the same. */
const moduleName = (path: string): string =>
  basename(path)
    .replace(/\.ko(\.[a-z]+)?$/, '')
    .replaceAll('-', '_');

async function readModule(path: string): Promise<Buffer> {
  if (path.endsWith('.zst')) return zstdDecompressSync(await readFile(path));
  if (!path.endsWith('.xz')) return await readFile(path);
  await runCommand('xz', ['--decompress', '--keep', '--force', path]);
  return await readFile(path.slice(0, -'.xz'.length));
}

/** Names that the module's own `depends=` note lists. */
export function dependenciesOf(content: Buffer): string[] {
  const at = content.indexOf('\0depends=');
  if (at < 0) return [];
  const from = at + '\0depends='.length;
  const list = content.toString('latin1', from, content.indexOf(0, from));
  return list === '' ? [] : list.split(',').map((name) => name.replaceAll('-', '_'));
}

async function moduleFiles(dir: string): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const entry of await readdir(dir, { recursive: true, withFileTypes: true })) {
    if (entry.isFile() && /\.ko(\.[a-z]+)?$/.test(entry.name)) {
      found.set(moduleName(entry.name), join(entry.parentPath, entry.name));
    }
  }
  return found;
}

/**
 * The wanted modules of a kernel's tree with all that they depend on, in the order in which they can be loaded. A name that
 * has no file is built into that kernel and left out. Memory: the modules' sizes, some MiB.
 */
export async function collectModules(dir: string, wanted: readonly string[]): Promise<KernelModule[]> {
  const files = await moduleFiles(dir);
  const ordered = new Map<string, KernelModule>();
  const add = async (name: string): Promise<void> => {
    const path = files.get(name);
    if (path === undefined || ordered.has(name)) return;
    const content = await readModule(path);
    for (const needed of dependenciesOf(content)) await add(needed);
    ordered.set(name, { name, content });
  };
  for (const name of wanted) await add(name);
  return [...ordered.values()];
}
