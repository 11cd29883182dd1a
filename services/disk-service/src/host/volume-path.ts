import { realpath, stat } from 'node:fs/promises';
import { Fault } from '@casvault/contracts';
import { readImage } from './image.js';

/** Says whether `path` lies below one of `dirs`; both are real paths already. */
export const isBelow = (path: string, dirs: readonly string[]): boolean =>
  dirs.some((dir) => path.startsWith(dir.endsWith('/') ? dir : `${dir}/`));

const maxLayers = 200;

const refuse = (path: string, why: string): Fault =>
  new Fault('DISK_SERVICE_REFUSED', `volume ${path} is not opened for writing: ${why}`, {
    details: { path },
  });

async function realDirs(dirs: readonly string[]): Promise<string[]> {
  const real: string[] = [];
  for (const dir of dirs) {
    const found = await realpath(dir).catch(() => null);
    if (found !== null) real.push(found);
  }
  return real;
}

/**
 * The real path of a volume that may be written: a regular file or block device below one of the allowed folders, with
 * no link on the way out of them, and every layer that the image names below them too, because an image can name any
 * file of the host as its backing or data file. Throws NOT_FOUND when there is none, DISK_SERVICE_REFUSED otherwise.
 */
export async function writableVolume(
  path: string,
  format: 'qcow2' | 'raw',
  allowed: readonly string[],
  signal: AbortSignal,
): Promise<{ path: string; sizeBytes: number; isFile: boolean }> {
  const dirs = await realDirs(allowed);
  const real = await realpath(path).catch((cause: unknown) => {
    throw new Fault('NOT_FOUND', `there is no volume ${path} on this host`, { details: { path }, cause });
  });
  if (!isBelow(real, dirs)) {
    throw refuse(path, `it is not in one of the volume folders (${allowed.join(', ')})`);
  }
  const facts = await stat(real);
  if (!facts.isFile() && !facts.isBlockDevice())
    throw refuse(path, 'it is neither a file nor a block device');
  const image = await readImage(real, format, signal);
  let layer = image;
  for (let depth = 0; ; depth++) {
    if (layer.encrypted) throw refuse(path, 'it is encrypted');
    if (layer.dataFile !== null) throw refuse(path, 'it keeps its data in another file');
    if (layer.backingFile === null) return { path: real, sizeBytes: image.sizeBytes, isFile: facts.isFile() };
    const under = await realpath(layer.backingFile).catch(() => null);
    // Checked before it is opened: the name may lead anywhere, also over the network.
    if (under === null || !isBelow(under, dirs)) {
      throw refuse(path, 'a layer under it is not in one of the volume folders');
    }
    if (depth >= maxLayers) throw refuse(path, `it has more than ${String(maxLayers)} layers`);
    layer = await readImage(under, layer.backingFormat, signal);
  }
}
