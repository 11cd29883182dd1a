import { execFile } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { Fault } from '@casvault/contracts';
import { z } from 'zod';

const executable = 'qemu-img';
const maxOutputBytes = 4 * 1024 * 1024;

/** What `qemu-img info` tells of one layer; unknown fields are dropped. */
const infoSchema = z.object({
  filename: z.string(),
  format: z.string(),
  'virtual-size': z.number().int(),
  encrypted: z.boolean().default(false),
  'backing-filename': z.string().optional(),
  'full-backing-filename': z.string().optional(),
  'backing-filename-format': z.string().optional(),
  'format-specific': z
    .object({
      data: z
        .object({
          compat: z.string().optional(),
          encrypt: z.unknown().optional(),
          'data-file': z.string().optional(),
          bitmaps: z.array(z.object({ name: z.string(), flags: z.array(z.string()) })).default([]),
        })
        .optional(),
    })
    .optional(),
  snapshots: z.array(z.object({ id: z.string(), name: z.string() })).default([]),
});
type Info = z.infer<typeof infoSchema>;

/** A dirty bitmap in the table of a qcow2 file. */
export interface KeptBitmap {
  readonly name: string;
  /** Open in a running QEMU, or left so by one that died: what the file says of it does not count. */
  readonly inUse: boolean;
  /** It notes writes as soon as the image is opened. */
  readonly auto: boolean;
}

export interface Image {
  /** As it was asked for. */
  readonly path: string;
  /** As its user sees it: a whole number of sectors. */
  readonly sizeBytes: number;
  readonly format: string;
  readonly encrypted: boolean;
  /** qcow2 of version 3 can keep dirty bitmaps; version 2 and raw can't. */
  readonly keepsBitmaps: boolean;
  readonly bitmaps: readonly KeptBitmap[];
  /** Internal snapshots. */
  readonly snapshots: readonly { readonly id: string; readonly name: string }[];
  readonly backingFile: string | null;
  /** As the image names it; null: it names none. */
  readonly backingFormat: string | null;
  readonly dataFile: string | null;
}

function toImage(path: string, info: Info): Image {
  const data = info['format-specific']?.data;
  return {
    path,
    sizeBytes: info['virtual-size'],
    format: info.format,
    encrypted: info.encrypted || data?.encrypt !== undefined,
    keepsBitmaps: info.format === 'qcow2' && data?.compat !== '0.10',
    bitmaps: (data?.bitmaps ?? []).map(({ name, flags }) => ({
      name,
      inUse: flags.includes('in-use'),
      auto: flags.includes('auto'),
    })),
    snapshots: info.snapshots,
    backingFile: info['full-backing-filename'] ?? info['backing-filename'] ?? null,
    backingFormat: info['backing-filename-format'] ?? null,
    dataFile: data?.['data-file'] ?? null,
  };
}

/** What a run of qemu-img printed, or (`failed`) said on its way out. */
async function qemuImg(
  args: readonly string[],
  signal: AbortSignal,
): Promise<{ printed: string } | { failed: string }> {
  return await new Promise((resolve) => {
    const options = { signal, timeout: 60_000, maxBuffer: maxOutputBytes };
    execFile(executable, args, options, (error, stdout, stderr) => {
      resolve(error ? { failed: stderr.trim() === '' ? error.message : stderr.trim() } : { printed: stdout });
    });
  });
}

async function qemuImgInfo(path: string, format: string | null, signal: AbortSignal): Promise<unknown> {
  const as = format === null ? [] : ['-f', format];
  const result = await qemuImg(['info', '--force-share', '--output=json', ...as, '--', path], signal);
  if ('printed' in result) return JSON.parse(result.printed);
  throw new Fault('DISK_SERVICE_REFUSED', `disk ${path} can't be read: ${result.failed}`, {
    details: { path },
  });
}

/**
 * Facts of the image at `path`, read as `format`. A VM's disk is never probed (null): a guest can write any header into a
 * raw disk. Opens nothing for writing and takes no lock. Throws DISK_SERVICE_REFUSED when it is not such an image.
 */
export async function readImage(path: string, format: string | null, signal: AbortSignal): Promise<Image> {
  return toImage(path, infoSchema.parse(await qemuImgInfo(path, format, signal)));
}

const maxLayers = 200;

/**
 * The image and the layers under it, the active one first, at most 200. A layer is followed only where its file and format are
 * named: nothing is probed, and nothing on the network is asked.
 */
export async function readChain(path: string, format: string, signal: AbortSignal): Promise<Image[]> {
  const chain = [await readImage(path, format, signal)];
  while (chain.length < maxLayers) {
    const { backingFile, backingFormat } = chain.at(-1) as Image;
    if (backingFile?.startsWith('/') !== true || backingFormat === null) break;
    chain.push(await readImage(backingFile, backingFormat, signal));
  }
  return chain;
}

/**
 * Begins a bitmap of 64 KiB grain in a qcow2 file that nobody uses; throws DISK_SERVICE_REFUSED when the
 * file can't take one, or has one of that name.
 */
export async function addBitmap(path: string, name: string, signal: AbortSignal): Promise<void> {
  const result = await qemuImg(['bitmap', '--add', '-g', '65536', '-f', 'qcow2', '--', path, name], signal);
  if ('printed' in result) return;
  throw new Fault('DISK_SERVICE_REFUSED', `bitmap ${name} can't be begun in ${path}: ${result.failed}`, {
    details: { path },
  });
}

/** Removes a bitmap from a qcow2 file that nobody uses; one that is not there is no error. */
export async function removeBitmap(path: string, name: string, signal: AbortSignal): Promise<void> {
  const result = await qemuImg(['bitmap', '--remove', '-f', 'qcow2', '--', path, name], signal);
  if ('printed' in result || /not found/i.test(result.failed)) return;
  throw new Fault('DISK_SERVICE_REFUSED', `bitmap ${name} can't be removed from ${path}: ${result.failed}`, {
    details: { path },
  });
}

/**
 * Gives an image file that nobody uses a virtual size; bytes behind it are cut off. One that has it already, and a block
 * device, stay as they are.
 */
export async function resizeImage(
  path: string,
  format: string,
  sizeBytes: number,
  signal: AbortSignal,
): Promise<void> {
  if (!(await stat(path)).isFile() || (await readImage(path, format, signal)).sizeBytes === sizeBytes) return;
  const args = ['resize', '-q', '--shrink', '-f', format, '--', path, String(sizeBytes)];
  const result = await qemuImg(args, signal);
  if ('printed' in result) return;
  const message = `volume ${path} can't be resized to ${String(sizeBytes)} bytes: ${result.failed}`;
  throw new Fault('DISK_SERVICE_REFUSED', message, { details: { path, sizeBytes } });
}
