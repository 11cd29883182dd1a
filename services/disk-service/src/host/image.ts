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
});
type Info = z.infer<typeof infoSchema>;

export interface Image {
  /** As its user sees it: a whole number of sectors. */
  readonly sizeBytes: number;
  readonly format: string;
  readonly encrypted: boolean;
  /** qcow2 of version 3 can keep dirty bitmaps; version 2 and raw can't. */
  readonly keepsBitmaps: boolean;
  /** Bitmaps kept in the image that are whole (not left open by a crash). */
  readonly bitmaps: readonly string[];
  readonly backingFile: string | null;
  /** As the image names it; null: it names none. */
  readonly backingFormat: string | null;
  readonly dataFile: string | null;
}

function toImage(info: Info): Image {
  const data = info['format-specific']?.data;
  return {
    sizeBytes: info['virtual-size'],
    format: info.format,
    encrypted: info.encrypted || data?.encrypt !== undefined,
    keepsBitmaps: info.format === 'qcow2' && data?.compat !== '0.10',
    bitmaps: (data?.bitmaps ?? []).filter((map) => !map.flags.includes('in-use')).map((map) => map.name),
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
  return toImage(infoSchema.parse(await qemuImgInfo(path, format, signal)));
}

/** Removes a bitmap from a qcow2 file that nobody uses; one that is not there is no error. */
export async function removeBitmap(path: string, name: string, signal: AbortSignal): Promise<void> {
  const result = await qemuImg(['bitmap', '--remove', '-f', 'qcow2', '--', path, name], signal);
  if ('printed' in result || /not found/i.test(result.failed)) return;
  throw new Fault('DISK_SERVICE_REFUSED', `bitmap ${name} can't be removed from ${path}: ${result.failed}`);
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
