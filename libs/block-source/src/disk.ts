/** A run of a disk whose bytes have the same status in one metadata context. Offsets and lengths in bytes. */
export interface Extent {
  readonly offset: number;
  readonly length: number;
  readonly flags: number;
}

/** The context that every NBD server with block status knows: what is allocated, what reads as zeroes. */
export const allocationContext = 'base:allocation';

/** `base:allocation`: not allocated in the backing store (NBD_STATE_HOLE). Says nothing about its content. */
export const isHole = (flags: number): boolean => (flags & 1) !== 0;
/** `base:allocation`: reads as zeroes (NBD_STATE_ZERO), so it need not be read. */
export const isZero = (flags: number): boolean => (flags & 2) !== 0;
/** `qemu:dirty-bitmap:*`: written since the bitmap was enabled. */
export const isDirty = (flags: number): boolean => (flags & 1) !== 0;

export interface ExtentOptions {
  readonly signal?: AbortSignal;
  /** First byte of interest, 0 by default. */
  readonly offset?: number;
  /** Bytes of interest, up to the end of the disk by default. */
  readonly length?: number;
}

/** A disk that can be read: what a backup needs of its source. */
export interface DiskReader {
  readonly sizeBytes: number;
  /** Metadata contexts that `extents` can be asked about. */
  readonly contexts: ReadonlySet<string>;
  /**
   * Fills `into` with the bytes from `offset` on. Many calls may be outstanding. Once the promise is settled, either way,
   * `into` is not written any more.
   */
  read(offset: number, into: Uint8Array): Promise<void>;
  /** The status of the disk in ascending order without gaps; neighbours with equal flags come as one extent. */
  extents(context: string, options?: ExtentOptions): AsyncIterable<Extent>;
  close(): Promise<void>;
}

/** A disk that can be written: what a restore needs of its target. */
export interface DiskWriter {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly canWriteZeroes: boolean;
  /** Writes `from` at `offset`; `from` must stay as it is until the promise is settled. Durable after `flush`. */
  write(offset: number, from: Uint8Array): Promise<void>;
  /** Makes a range read as zeroes; with `noHole` it stays allocated. Durable after `flush`. */
  writeZeroes(offset: number, length: number, options?: { readonly noHole?: boolean }): Promise<void>;
  /** Everything written and settled before is on stable storage. */
  flush(): Promise<void>;
  close(): Promise<void>;
}
