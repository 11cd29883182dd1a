import { open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Fault } from '@casvault/contracts';

/**
 * Content first, then the name, then the folder: after a crash the file is the old one or the new one, and perhaps `<path>.tmp` beside it.
 * Throws DEPENDENCY_UNAVAILABLE when the folder can't be written.
 */
export async function writeDurably(path: string, content: string): Promise<void> {
  const temporary = `${path}.tmp`;
  try {
    const file = await open(temporary, 'w', 0o600);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    const folder = await open(dirname(path), 'r');
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  } catch (cause) {
    const words = cause instanceof Error ? cause.message : String(cause);
    throw new Fault('DEPENDENCY_UNAVAILABLE', `the service's state can't be written: ${words}`, { cause });
  }
}
