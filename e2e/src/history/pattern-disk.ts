import { open } from 'node:fs/promises';

/** What a write fills a sector with: 0 (nothing, or zeros) to 255. */
export const sectorBytes = 512;
/** Read at once while comparing. */
const chunkBytes = 1 << 20;

/**
 * What a disk must hold: one number a sector, which fills all of it. The history is the only writer, so this is the truth
 * about the disk at every instant, without a line of the product. Memory: 1/512 of the disk.
 */
export class PatternDisk {
  #sectors: Uint8Array;

  private constructor(sectors: Uint8Array) {
    this.#sectors = sectors;
  }

  /** Of zeros; `sizeBytes` is a multiple of 512. */
  static empty(sizeBytes: number): PatternDisk {
    return new PatternDisk(new Uint8Array(sizeBytes / sectorBytes));
  }

  get sizeBytes(): number {
    return this.#sectors.length * sectorBytes;
  }

  /** In bytes, multiples of 512. */
  fill(offset: number, length: number, pattern: number): void {
    this.#sectors.fill(pattern, offset / sectorBytes, (offset + length) / sectorBytes);
  }

  grow(sizeBytes: number): void {
    const grown = new Uint8Array(sizeBytes / sectorBytes);
    grown.set(this.#sectors);
    this.#sectors = grown;
  }

  copy(): PatternDisk {
    return new PatternDisk(this.#sectors.slice());
  }

  /** The first byte of a raw file that is not as it must be, in words; null: the file is this disk. */
  async differenceFrom(rawFile: string): Promise<string | null> {
    const file = await open(rawFile);
    try {
      const { size } = await file.stat();
      if (size !== this.sizeBytes) return `${String(size)} bytes instead of ${String(this.sizeBytes)}`;
      const found = Buffer.alloc(chunkBytes);
      const wanted = Buffer.alloc(chunkBytes);
      for (let offset = 0; offset < size; offset += chunkBytes) {
        const length = Math.min(chunkBytes, size - offset);
        await file.read(found, 0, length, offset);
        this.#render(offset, wanted.subarray(0, length));
        const at = firstDifference(found.subarray(0, length), wanted.subarray(0, length));
        if (at !== null)
          return `byte ${String(offset + at)} is ${String(found[at])}, not ${String(wanted[at])}`;
      }
      return null;
    } finally {
      await file.close();
    }
  }

  #render(offset: number, into: Buffer): void {
    const first = offset / sectorBytes;
    for (let i = 0; i * sectorBytes < into.length; i += 1)
      into.fill(this.#sectors[first + i] ?? 0, i * sectorBytes, (i + 1) * sectorBytes);
  }
}

const firstDifference = (a: Buffer, b: Buffer): number | null => {
  if (a.equals(b)) return null;
  for (let i = 0; i < a.length; i += 1) if (a[i] !== b[i]) return i;
  return null;
};
