import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Throws unless the restored image holds the generated disk byte for byte, as qemu-img reads both. */
export async function requireSameDisk(
  image: { readonly raw: string },
  restored: { readonly path: string; readonly format: 'raw' | 'qcow2' },
  who: string,
): Promise<void> {
  try {
    await run('qemu-img', [
      'compare',
      '-q',
      '-U',
      '-f',
      'raw',
      '-F',
      restored.format,
      image.raw,
      restored.path,
    ]);
  } catch (error) {
    const { code } = error as { code?: unknown };
    throw new Error(code === 1 ? `${who}: the restored disk differs` : `${who}: ${String(error)}`, {
      cause: error,
    });
  }
}
