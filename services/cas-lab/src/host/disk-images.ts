import { chown, mkdir, open, rm, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Fault } from '@casvault/contracts';
import { z } from 'zod';
import { runCommand, type LabUser } from '../process/run-command.js';
import { calibrated } from './key-calibration.js';

export const imageFormats = ['qcow2', 'raw'] as const;
export type ImageFormat = (typeof imageFormats)[number];

/** CAS makes its qcow2 disks with clusters of 256 KiB. */
const clusterBytes = 262_144;
const MiB = 1_048_576;

const imageInfoSchema = z.object({
  format: z.string(),
  'virtual-size': z.number(),
  'actual-size': z.number().default(0),
  'backing-filename': z.string().optional(),
  snapshots: z.array(z.object({ name: z.string() })).default([]),
  'format-specific': z
    .object({
      data: z
        .object({ bitmaps: z.array(z.object({ name: z.string() })).default([]) })
        .default({ bitmaps: [] }),
    })
    .default({ data: { bitmaps: [] } }),
});
export interface ImageInfo {
  readonly format: string;
  readonly sizeBytes: number;
  readonly allocatedBytes: number;
  readonly backingFile: string | null;
  readonly internalSnapshots: number;
  /** Names of the dirty bitmaps kept in a qcow2 image; stale while a machine has it open. */
  readonly bitmaps: readonly string[];
}

/** Reads that meet a writer in the middle of the image's own tables are tried so often, so far apart. */
const readTries = 10;
const betweenTriesMs = 100;
const isGone = /No such file|Permission denied/;

/** `qemu-img info` of an image that may be in use: who reads past its lock may find tables that are half written at the moment. */
async function readInfo(...args: readonly string[]): Promise<unknown> {
  for (let left = readTries; ; left -= 1) {
    try {
      const output = await runCommand('qemu-img', ['info', '--force-share', '--output=json', ...args]);
      return JSON.parse(output);
    } catch (error) {
      const mayPass = Fault.is(error) && error.code === 'CONFLICT' && !isGone.test(error.message);
      if (left === 1 || !mayPass) throw error;
    }
    await delay(betweenTriesMs);
  }
}

/** What the image says of itself; it may be in use by a running machine. */
export async function imageInfo(path: string): Promise<ImageInfo> {
  const info = imageInfoSchema.parse(await readInfo(path));
  return {
    format: info.format,
    sizeBytes: info['virtual-size'],
    allocatedBytes: info['actual-size'],
    backingFile: info['backing-filename'] ?? null,
    internalSnapshots: info.snapshots.length,
    bitmaps: info['format-specific'].data.bitmaps.map(({ name }) => name),
  };
}

/** Names of the internal snapshots in an image; it may be in use. */
export async function imageSnapshots(path: string): Promise<string[]> {
  return imageInfoSchema.parse(await readInfo(path)).snapshots.map(({ name }) => name);
}

/** The image and every layer below it. */
export async function imageLayers(path: string): Promise<string[]> {
  return z
    .array(z.object({ filename: z.string() }))
    .parse(await readInfo('--backing-chain', path))
    .map(({ filename }) => filename);
}

/** How QEMU lays an empty image out. `falloc`: its room is kept; `full`: and written. */
export type Layout = 'off' | 'falloc' | 'full';

/** Makes an empty image; refuses a file that is there. */
export async function createImage(
  path: string,
  format: ImageFormat,
  sizeBytes: number,
  user: LabUser | undefined,
  layout: Layout = 'off',
): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const claim = await open(path, 'wx').catch(() => null);
  if (claim === null) throw new Fault('ALREADY_EXISTS', `the volume ${path} is there already`);
  await claim.close();
  const clusters = format === 'qcow2' ? `cluster_size=${String(clusterBytes)},` : '';
  const options = ['-o', `${clusters}preallocation=${layout}`];
  try {
    await runCommand('qemu-img', ['create', '-q', '-f', format, ...options, path, String(sizeBytes)]);
    if (user) await chown(path, user.uid, user.gid);
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  }
}

/** Makes a whole copy of an image that nobody writes, without its layers, snapshots and bitmaps; refuses a file that is there. */
export async function copyImage(
  from: { readonly path: string; readonly format: ImageFormat },
  path: string,
  user: LabUser | undefined,
): Promise<void> {
  const { sizeBytes } = await imageInfo(from.path);
  await createImage(path, from.format, sizeBytes, user);
  try {
    await runCommand('qemu-img', [
      'convert',
      '-q',
      '-n',
      '-f',
      from.format,
      '-O',
      from.format,
      from.path,
      path,
    ]);
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  }
}

/** Makes an empty qcow2 layer over an image that nobody may write from now on; refuses a file that is there. */
export async function linkImage(
  from: { readonly path: string; readonly format: ImageFormat },
  path: string,
  user: LabUser | undefined,
): Promise<void> {
  const { sizeBytes } = await imageInfo(from.path);
  await createImage(path, 'qcow2', sizeBytes, user);
  const options = ['-o', `cluster_size=${String(clusterBytes)}`];
  await runCommand('qemu-img', [
    'create',
    '-q',
    '-f',
    'qcow2',
    ...options,
    '-b',
    from.path,
    '-F',
    from.format,
    path,
  ]);
}

/** Makes an empty qcow2 image encrypted with LUKS; refuses a file that is there. Few rounds: it guards nothing. */
export async function createEncryptedImage(
  path: string,
  sizeBytes: number,
  passphrase: string,
  user: LabUser | undefined,
): Promise<void> {
  await createImage(path, 'qcow2', sizeBytes, user);
  const luks = 'encrypt.format=luks,encrypt.key-secret=s0,encrypt.iter-time=10';
  const options = ['-o', `${luks},cluster_size=${String(clusterBytes)}`];
  const secret = ['--object', `secret,id=s0,data=${passphrase}`];
  const args = ['create', '-q', ...secret, '-f', 'qcow2', ...options, path, String(sizeBytes)];
  await calibrated(() => runCommand('qemu-img', args));
}

/** Makes an image with `dataBytes` of realistic content: text, structured records, random bytes, with holes between. */
export async function createFilledImage(
  path: string,
  format: ImageFormat,
  sizeBytes: number,
  dataBytes: number,
  seed: number,
  user: LabUser | undefined,
): Promise<void> {
  await createImage(path, format, sizeBytes, user);
  if (dataBytes === 0) return;
  const raw = format === 'raw' ? path : `${path}.filling`;
  const file = await open(raw, format === 'raw' ? 'r+' : 'w');
  try {
    await file.truncate(sizeBytes);
    await fill(file, sizeBytes, dataBytes, seed);
  } finally {
    await file.close();
  }
  if (format === 'raw') return;
  try {
    await runCommand('qemu-img', ['convert', '-q', '-n', '-f', 'raw', '-O', 'qcow2', raw, path]);
  } finally {
    await rm(raw, { force: true });
  }
}

/** Extents of 1 to 16 MiB spread evenly over the disk, with gaps in proportion. Memory: one MiB at a time. */
async function fill(file: FileHandle, sizeBytes: number, dataBytes: number, seed: number): Promise<void> {
  const random = xorshift(seed);
  const stretch = Math.max(1, Math.floor(sizeBytes / dataBytes));
  let written = 0;
  for (let at = 0; at < sizeBytes && written < dataBytes;) {
    const extent = (1 + (random() % 16)) * MiB;
    for (let used = 0; used < extent && at < sizeBytes && written < dataBytes; used += MiB) {
      const length = Math.min(MiB, sizeBytes - at, dataBytes - written);
      await file.write(contentOf(random, length), 0, length, at);
      at += length;
      written += length;
    }
    at += Math.floor((extent * (stretch - 1)) / MiB) * MiB;
  }
}

const words =
  'select insert update commit order customer warehouse stock price amount error warning started finished user session ' +
  'request response true false null id name address city country total 2024 2025 index table column primary key value';

/** One MiB of one of three kinds: log-like text, records with counters, random bytes. */
function contentOf(random: () => number, length: number): Buffer {
  const kind = random() % 10;
  if (kind < 5) return textOf(random, length);
  if (kind < 8) return recordsOf(random, length);
  return randomOf(random, length);
}

function textOf(random: () => number, length: number): Buffer {
  const vocabulary = words.split(' ');
  const line = (): string =>
    `${String(random())} ${Array.from({ length: 12 }, () => vocabulary[random() % vocabulary.length]).join(' ')}\n`;
  const page = Buffer.from(Array.from({ length: 600 }, line).join(''));
  const out = Buffer.alloc(length);
  for (let at = 0; at < length; at += page.length) {
    page.copy(out, at);
    out.writeUInt32LE(random(), Math.min(at, length - 4));
  }
  return out;
}

function recordsOf(random: () => number, length: number): Buffer {
  const out = Buffer.alloc(length);
  for (let at = 0; at + 64 <= length; at += 64) {
    out.writeUInt32LE(random(), at);
    out.writeUInt32LE(at, at + 4);
    out.writeUInt32LE(random() % 1000, at + 24);
    out.write('customer-record', at + 32, 'latin1');
  }
  return out;
}

function randomOf(random: () => number, length: number): Buffer {
  const out = Buffer.alloc(length);
  for (let at = 0; at + 4 <= length; at += 4) out.writeUInt32LE(random(), at);
  return out;
}

/** Numbers of 32 bits, the same for the same seed. */
function xorshift(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state;
  };
}
