/** qcow2 version 3 (the format's own document in QEMU, docs/interop/qcow2.txt): clusters of 64 KiB, refcounts of 16 bits, nothing compressed. */
const clusterBits = 16;
export const clusterBytes = 1 << clusterBits;
const entriesPerTable = clusterBytes / 8;
const refcountsPerBlock = clusterBytes / 2;
const headerBytes = 104;
/** In L1 and L2 entries: the cluster has exactly one reference. */
const copied = 1n << 63n;
/** Contiguous clusters that are read at once. */
const runClusters = 16;

export interface Extent {
  readonly offset: number;
  readonly length: number;
  readonly zero: boolean;
}
export interface Run {
  readonly offset: number;
  readonly length: number;
}

const ceilDiv = (a: number, b: number): number => Math.ceil(a / b);

/** Clusters that tables of refcounts take in a file of so many other clusters, themselves counted. */
const refcountTables = (others: number): { readonly blocks: number; readonly table: number } => {
  let [blocks, table] = [1, 1];
  for (;;) {
    const needed = ceilDiv(others + blocks + table, refcountsPerBlock);
    const neededTable = ceilDiv(needed, entriesPerTable);
    if (needed === blocks && neededTable === table) return { blocks, table };
    [blocks, table] = [needed, neededTable];
  }
};

/**
 * A qcow2 file of a disk whose data are known before they are read: all metadata come first, so that it can be written to a stream.
 * Layout: header, table of refcounts, blocks of refcounts, L1, the L2 tables that are needed, data in the order of the disk.
 * Memory: 1 bit for each 64 KiB of the disk (2 MiB for 1 TiB), one cluster, and 4 bytes for each 512 MiB.
 */
export class Qcow2Image {
  readonly fileBytes: number;
  readonly #sizeBytes: number;
  /** One bit a cluster of the disk: it has data. */
  readonly #allocated: Uint8Array;
  readonly #clusters: number;
  readonly #l1Size: number;
  /** Numbers of the L2 tables that are there. */
  readonly #tables: readonly number[];
  readonly #at: { readonly blocks: number; readonly l1: number; readonly l2: number; readonly data: number };
  readonly #refcounts: { readonly blocks: number; readonly table: number };

  private constructor(sizeBytes: number, allocated: Uint8Array) {
    this.#sizeBytes = sizeBytes;
    this.#allocated = allocated;
    this.#clusters = ceilDiv(sizeBytes, clusterBytes);
    this.#l1Size = ceilDiv(this.#clusters, entriesPerTable);
    const tables: number[] = [];
    let data = 0;
    for (let table = 0; table < this.#l1Size; table += 1) {
      const count = this.#countIn(table);
      if (count > 0) tables.push(table);
      data += count;
    }
    this.#tables = tables;
    const l1Clusters = Math.max(1, ceilDiv(this.#l1Size, entriesPerTable));
    this.#refcounts = refcountTables(1 + l1Clusters + tables.length + data);
    const blocks = 1 + this.#refcounts.table;
    const l1 = blocks + this.#refcounts.blocks;
    const l2 = l1 + l1Clusters;
    this.#at = { blocks, l1, l2, data: l2 + tables.length };
    this.fileBytes = (this.#at.data + data) * clusterBytes;
  }

  /** Extents may come in any order; what none of them calls data is zero. */
  static async of(sizeBytes: number, extents: AsyncIterable<Extent>): Promise<Qcow2Image> {
    const allocated = new Uint8Array(ceilDiv(ceilDiv(sizeBytes, clusterBytes), 8));
    for await (const { offset, length, zero } of extents) {
      if (zero || length === 0) continue;
      const last = Math.floor((offset + length - 1) / clusterBytes);
      for (let at = Math.floor(offset / clusterBytes); at <= last; at += 1)
        allocated[at >> 3]! |= 1 << (at & 7);
    }
    return new Qcow2Image(sizeBytes, allocated);
  }

  /** Everything before the data, one cluster at a time. */
  *metadata(): Generator<Buffer> {
    yield this.#header();
    yield* this.#numbers(this.#refcounts.table, this.#refcounts.blocks, (i) =>
      BigInt((this.#at.blocks + i) * clusterBytes),
    );
    yield* this.#refcountBlocks();
    const l2Of = new Map(this.#tables.map((table, i) => [table, this.#at.l2 + i]));
    yield* this.#numbers(this.#at.l2 - this.#at.l1, this.#l1Size, (i) => {
      const cluster = l2Of.get(i);
      return cluster === undefined ? 0n : BigInt(cluster * clusterBytes) | copied;
    });
    let next = this.#at.data;
    for (const table of this.#tables)
      yield* this.#numbers(1, entriesPerTable, (i) => {
        if (!this.#has(table * entriesPerTable + i)) return 0n;
        next += 1;
        return BigInt((next - 1) * clusterBytes) | copied;
      });
  }

  /** Places of the disk in the order of the file, at most 1 MiB each; the last may end within a cluster, the rest of which is zero. */
  *data(): Generator<Run> {
    for (let at = 0; at < this.#clusters; at += 1) {
      if (!this.#has(at)) continue;
      const first = at;
      while (at + 1 - first < runClusters && this.#has(at + 1)) at += 1;
      const offset = first * clusterBytes;
      yield { offset, length: Math.min(this.#sizeBytes, (at + 1) * clusterBytes) - offset };
    }
  }

  #has(cluster: number): boolean {
    return cluster < this.#clusters && (this.#allocated[cluster >> 3]! & (1 << (cluster & 7))) !== 0;
  }

  #countIn(table: number): number {
    let count = 0;
    for (let i = 0; i < entriesPerTable; i += 1) if (this.#has(table * entriesPerTable + i)) count += 1;
    return count;
  }

  #header(): Buffer {
    const header = Buffer.alloc(clusterBytes);
    header.write('QFI\xfb', 'latin1');
    header.writeUInt32BE(3, 4);
    header.writeUInt32BE(clusterBits, 20);
    header.writeBigUInt64BE(BigInt(this.#sizeBytes), 24);
    header.writeUInt32BE(this.#l1Size, 36);
    header.writeBigUInt64BE(BigInt(this.#at.l1 * clusterBytes), 40);
    header.writeBigUInt64BE(BigInt(clusterBytes), 48);
    header.writeUInt32BE(this.#refcounts.table, 56);
    header.writeUInt32BE(4, 96);
    header.writeUInt32BE(headerBytes, 100);
    return header;
  }

  /** `count` numbers of 64 bits in so many clusters. */
  *#numbers(clusters: number, count: number, numberAt: (i: number) => bigint): Generator<Buffer> {
    for (let cluster = 0; cluster < clusters; cluster += 1) {
      const bytes = Buffer.alloc(clusterBytes);
      const first = cluster * entriesPerTable;
      for (let i = first; i < Math.min(count, first + entriesPerTable); i += 1)
        bytes.writeBigUInt64BE(numberAt(i), (i - first) * 8);
      yield bytes;
    }
  }

  /** Every cluster of the file has one reference. */
  *#refcountBlocks(): Generator<Buffer> {
    let left = this.fileBytes / clusterBytes;
    for (let block = 0; block < this.#refcounts.blocks; block += 1) {
      const bytes = Buffer.alloc(clusterBytes);
      const here = Math.min(left, refcountsPerBlock);
      for (let i = 0; i < here; i += 1) bytes.writeUInt16BE(1, i * 2);
      left -= here;
      yield bytes;
    }
  }
}
