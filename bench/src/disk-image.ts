import { open, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { constants, zstdCompressSync } from 'node:zlib';
import { databasePages, incompressible, log, type ContentSource } from './content.js';
import { findFiles, filesInTurn } from './real-files.js';
import { SeededRandom } from './random.js';
import { runQuietly } from './command.js';

const mib = 1_048_576;
/** Files of a file system begin at a block of it. */
const blockBytes = 4096;
/** A quarter of a gibibyte on average between two holes, as between the block groups of a file system. */
const regionBytes = { least: 64 * mib, most: 448 * mib };
/** What zstd level 1 is to make of the whole: the ratio of a Linux guest with programs, logs, a database and some archives. */
const wantedRatio = 2.5;
const dataShare = 0.82;
const sampleBytes = 256 * mib;
const samplePiece = mib;

const kinds = ['files', 'log', 'pages', 'random'] as const;
export type ContentKind = (typeof kinds)[number];

export interface DiskImage {
  readonly sizeBytes: number;
  readonly dataBytes: number;
  /** Sparse; what tools that take files back up. */
  readonly raw: string;
  readonly qcow2: string;
  /** Up to 256 MiB of its data, evenly spaced, for the primitives. */
  readonly sample: string;
  readonly content: Readonly<Record<ContentKind, number>>;
}

/**
 * Makes a disk of `sizeBytes`, 82 % of it data, that zstd level 1 compresses about 2.5 : 1: files of `folders`, 6 % logs, 4 % database pages,
 * and as much incompressible data as the ratio asks for. The same for the same seed and the same files.
 * Memory: a content piece (at most 32 MiB) and the list of files.
 */
export async function makeDiskImage(options: {
  readonly dir: string;
  readonly sizeBytes: number;
  readonly seed: number;
  readonly folders: readonly string[];
}): Promise<DiskImage> {
  const { dir, sizeBytes, seed, folders } = options;
  const files = await findFiles(folders);
  const sources = (): Record<ContentKind, ContentSource> => ({
    files: filesInTurn(files, new SeededRandom(seed)),
    log: log(seed),
    pages: databasePages(seed),
    random: incompressible(seed),
  });
  const wanted = Math.floor((sizeBytes * dataShare) / blockBytes) * blockBytes;
  const shares = sharesOf(await ratiosOf(sources(), Math.min(384 * mib, sizeBytes / 8)));
  const raw = join(dir, 'disk.raw');
  const handle = await open(raw, 'w+');
  try {
    await handle.truncate(sizeBytes);
    const layout = new Layout(handle, sizeBytes, wanted, new SeededRandom(seed));
    const content = await layout.fill(sources(), shares);
    const sample = join(dir, 'sample.bin');
    await takeSample(handle, layout.regions, sample);
    await handle.sync();
    const qcow2 = join(dir, 'disk.qcow2');
    await runQuietly('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', '-t', 'none', raw, qcow2);
    return { sizeBytes, dataBytes: layout.dataBytes, raw, qcow2, sample, content };
  } finally {
    await handle.close();
  }
}

type Shares = Readonly<Record<ContentKind, number>>;

/** Stored bytes for each plain byte, by kind, of the first `enough` bytes. */
async function ratiosOf(sources: Record<ContentKind, ContentSource>, enough: number): Promise<Shares> {
  const stored: Record<ContentKind, number> = { files: 0, log: 0, pages: 0, random: 1 };
  for (const kind of ['files', 'log', 'pages'] as const) {
    let plain = 0;
    let coded = 0;
    while (plain < enough) {
      const piece = await sources[kind].next();
      for (let at = 0; at < piece.length; at += mib) {
        const frame = piece.subarray(at, at + mib);
        plain += frame.length;
        coded += zstdCompressSync(frame, { params: { [constants.ZSTD_c_compressionLevel]: 1 } }).length;
      }
    }
    stored[kind] = coded / plain;
  }
  return stored;
}

/** Shares of the data: 6 % and 4 % are set, random data gets what brings the whole to the wanted ratio, files the rest. */
export function sharesOf(stored: Shares): Shares {
  const log = 0.06;
  const pages = 0.04;
  const rest = 1 - log - pages;
  const missing = 1 / wantedRatio - log * stored.log - pages * stored.pages - rest * stored.files;
  const random = Math.min(0.5, Math.max(0.05, missing / (1 - stored.files)));
  return { files: rest - random, log, pages, random };
}

interface Region {
  readonly offset: number;
  length: number;
}

/** Writes content to a file: regions of files that follow each other, holes between them. */
class Layout {
  readonly regions: Region[] = [];
  dataBytes = 0;
  readonly #file: FileHandle;
  readonly #sizeBytes: number;
  readonly #wanted: number;
  readonly #random: SeededRandom;

  constructor(file: FileHandle, sizeBytes: number, wanted: number, random: SeededRandom) {
    this.#file = file;
    this.#sizeBytes = sizeBytes;
    this.#wanted = wanted;
    this.#random = random;
  }

  async fill(
    sources: Record<ContentKind, ContentSource>,
    shares: Shares,
  ): Promise<Record<ContentKind, number>> {
    const written: Record<ContentKind, number> = { files: 0, log: 0, pages: 0, random: 0 };
    let region = this.#nextRegion();
    let room = this.#regionLength();
    while (this.dataBytes < this.#wanted) {
      const kind = furthestBehind(written, shares);
      const piece = (await sources[kind].next()).subarray(0, this.#wanted - this.dataBytes);
      if (region.length >= room) {
        region = this.#nextRegion();
        room = this.#regionLength();
      }
      await this.#file.write(piece, 0, piece.length, region.offset + region.length);
      const taken = Math.ceil(piece.length / blockBytes) * blockBytes;
      region.length += taken;
      this.dataBytes += taken;
      written[kind] += taken;
    }
    return written;
  }

  #regionLength(): number {
    return this.#random.between(regionBytes.least, regionBytes.most);
  }

  /** After a hole that keeps the share of data even over the disk. */
  #nextRegion(): Region {
    const at = Math.floor(((this.dataBytes / this.#wanted) * this.#sizeBytes) / blockBytes) * blockBytes;
    const region = { offset: at, length: 0 };
    this.regions.push(region);
    return region;
  }
}

/** The kind that lacks most of its share. */
function furthestBehind(written: Readonly<Record<ContentKind, number>>, shares: Shares): ContentKind {
  return kinds.reduce((behind, kind) =>
    written[kind] / shares[kind] < written[behind] / shares[behind] ? kind : behind,
  );
}

async function takeSample(from: FileHandle, regions: readonly Region[], path: string): Promise<void> {
  const pieces = regions.flatMap(({ offset, length }) =>
    Array.from({ length: Math.floor(length / samplePiece) }, (_, i) => offset + i * samplePiece),
  );
  const count = Math.min(pieces.length, sampleBytes / samplePiece);
  const to = await open(path, 'w');
  try {
    const piece = Buffer.alloc(samplePiece);
    for (let i = 0; i < count; i += 1) {
      await from.read(piece, 0, samplePiece, pieces[Math.floor((i * pieces.length) / count)]);
      await to.write(piece);
    }
  } finally {
    await to.close();
  }
}
