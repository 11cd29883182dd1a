import { deflateSync } from 'node:zlib';

/** What a write fills a sector with: 0 (nothing, or zeros) to 255. */
const sectorBytes = 512;

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

  /** The number of the sector at `offset`. */
  at(offset: number): number {
    return this.#sectors[offset / sectorBytes] ?? 0;
  }

  grow(sizeBytes: number): void {
    const grown = new Uint8Array(sizeBytes / sectorBytes);
    grown.set(this.#sectors);
    this.#sectors = grown;
  }

  copy(): PatternDisk {
    return new PatternDisk(this.#sectors.slice());
  }

  /** For the judge. */
  told(): { sizeBytes: number; sectors: string } {
    return { sizeBytes: this.sizeBytes, sectors: deflateSync(this.#sectors).toString('base64') };
  }
}
