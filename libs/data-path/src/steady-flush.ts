import { type DiskWriter } from '@casvault/block-source';

/**
 * What is written between two flushes. A server and the media behind it may hold back gigabytes, for which the last flush would wait while
 * nothing else is done; more often than this, flushes cost more than they save (their metadata).
 */
const flushEveryBytes = 256 * 1_048_576;

/**
 * Writes to a disk, and flushes it all along: each 256 MiB a flush is begun beside the writes that follow, one at a time. A flush that fails
 * is never forgotten, for a medium may tell of a lost write once only: every later `write`, and `flush`, reject with it.
 */
export class SteadyFlush implements Pick<DiskWriter, 'write' | 'flush'> {
  readonly #disk: Pick<DiskWriter, 'write' | 'flush'>;
  #unflushedBytes = 0;
  #flushing: Promise<void> | null = null;
  #failure: { readonly reason: unknown } | null = null;

  constructor(disk: Pick<DiskWriter, 'write' | 'flush'>) {
    this.#disk = disk;
  }

  async write(offset: number, from: Uint8Array): Promise<void> {
    if (this.#failure !== null) throw this.#failure.reason;
    await this.#disk.write(offset, from);
    this.#unflushedBytes += from.length;
    if (this.#flushing === null && this.#unflushedBytes >= flushEveryBytes)
      this.#flushing = this.#flushBeside();
  }

  /** Everything written and settled before is on stable storage. */
  async flush(): Promise<void> {
    await this.#flushing;
    if (this.#failure !== null) throw this.#failure.reason;
    await this.#disk.flush();
  }

  async #flushBeside(): Promise<void> {
    this.#unflushedBytes = 0;
    try {
      await this.#disk.flush();
    } catch (reason) {
      this.#failure = { reason };
    } finally {
      this.#flushing = null;
    }
  }
}
