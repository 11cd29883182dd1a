import { constants } from 'node:fs';
import { copyFile, open } from 'node:fs/promises';
import { join } from 'node:path';
import { NbdClient } from '@casvault/block-source';
import { runQuietly } from './command.js';
import { databasePages, type ContentSource } from './content.js';
import { type DiskImage } from './disk-image.js';
import { NbdServer } from './nbd-server.js';
import { SeededRandom } from './random.js';

/** The disk some time later: its parts written meanwhile are known to two bitmaps that QEMU keeps in the qcow2 file. */
export interface ChangedDisk {
  readonly sizeBytes: number;
  readonly raw: string;
  readonly qcow2: string;
  /** What the bitmap says: whole blocks of 64 KiB. */
  readonly dirtyBytes: number;
  readonly changedBytes: number;
}

export const bitmaps = {
  /** Kept since before the changes. */
  before: 'before',
  /** Kept since after them: it knows of none. */
  after: 'after',
} as const;

const blockBytes = 65_536;
const pageBytes = 4_096;
/** Of the disk's data. */
export const changedShare = 0.03;
/** Shares of the changed bytes, and how long the writes are: files and copies, larger records, single pages. */
const writeSizes = [
  { share: 0.6, least: 1_048_576, most: 8_388_608 },
  { share: 0.3, least: blockBytes, most: 524_288 },
  { share: 0.1, least: pageBytes, most: 4 * pageBytes },
];

export interface Write {
  readonly offset: number;
  readonly length: number;
}

/** The same for the same seed; offsets and lengths are multiples of 4 KiB. */
export function writesOf(sizeBytes: number, changedBytes: number, seed: number): Write[] {
  const random = new SeededRandom(seed);
  const writes: Write[] = [];
  const pages = (bytes: number): number => Math.floor(bytes / pageBytes);
  for (const { share, least, most } of writeSizes) {
    for (let left = pages(changedBytes * share); left > 0;) {
      const length = Math.min(left, random.between(pages(least), pages(most)));
      writes.push({
        offset: random.between(0, pages(sizeBytes) - length) * pageBytes,
        length: length * pageBytes,
      });
      left -= length;
    }
  }
  return random.shuffle(writes);
}

export function dirtyBytesOf(writes: readonly Write[]): number {
  const blocks = new Set<number>();
  for (const { offset, length } of writes) {
    const end = Math.ceil((offset + length) / blockBytes);
    for (let block = Math.floor(offset / blockBytes); block < end; block += 1) blocks.add(block);
  }
  return blocks.size * blockBytes;
}

/** Copies both files of the disk and writes database pages over 3 % of its data, by NBD into the qcow2. Memory: a write, at most 8 MiB. */
export async function changeDisk(image: DiskImage, dir: string, seed: number): Promise<ChangedDisk> {
  const [raw, qcow2] = [join(dir, 'changed.raw'), join(dir, 'changed.qcow2')];
  await runQuietly('cp', '--sparse=always', image.raw, raw);
  await copyFile(image.qcow2, qcow2, constants.COPYFILE_FICLONE);
  await runQuietly('qemu-img', 'bitmap', '--add', '-g', String(blockBytes), qcow2, bitmaps.before);
  const writes = writesOf(image.sizeBytes, image.dataBytes * changedShare, seed);
  await writeChanges(writes, databasePages(seed + 1), join(dir, 'change.sock'), { qcow2, raw });
  await runQuietly('qemu-img', 'bitmap', '--add', '-g', String(blockBytes), qcow2, bitmaps.after);
  const changedBytes = writes.reduce((sum, { length }) => sum + length, 0);
  return { sizeBytes: image.sizeBytes, raw, qcow2, dirtyBytes: dirtyBytesOf(writes), changedBytes };
}

/** Writes by NBD into a qcow2, whose bitmaps take notice, and to a raw file of the same disk if there is one. */
export async function writeChanges(
  writes: readonly Write[],
  content: ContentSource,
  socket: string,
  disk: { readonly qcow2: string; readonly raw: string | null },
): Promise<void> {
  const server = await NbdServer.writable(disk.qcow2, socket);
  const file = disk.raw === null ? null : await open(disk.raw, 'r+');
  const client = await NbdClient.connect(server.endpoint);
  try {
    let supply = Buffer.alloc(0);
    for (const { offset, length } of writes) {
      while (supply.length < length) supply = Buffer.concat([supply, await content.next()]);
      const bytes = supply.subarray(0, length);
      supply = supply.subarray(length);
      await client.write(offset, bytes);
      await file?.write(bytes, 0, length, offset);
    }
    await client.flush();
    await file?.sync();
  } finally {
    await client.close();
    await file?.close();
    await server.stop();
  }
}
