import { Fault } from '@casvault/contracts';
import { openObjectStore } from '@casvault/object-store';
import { openSuite } from '@casvault/repository';
import { type BackupCalls, type BackupThreadData, type OpenDisk } from './backup-thread.js';
import { openSource, type OpenSource } from './disk-source.js';
import { limitReads, limitStore, packLimit, type LimitCells } from './limits.js';
import { PackWriter } from './pack-writer.js';
import { SliceReader } from './slice-reader.js';
import { type Session } from './thread-calls.js';

/**
 * What a thread does for a backup: its own connection to the disk, its own packs. Memory: the isolate, `SliceReader`'s 4 MiB, `PackWriter`'s 18 MiB,
 * zstd's context and output (about 4 MiB); where the disk is one of a point, `PointReader`'s 20 MiB.
 */
class BackupSession {
  readonly #signal: AbortSignal;
  readonly #writer: PackWriter;
  readonly #limits: LimitCells;
  readonly #store;
  readonly #suite;
  #source: OpenSource | null = null;
  #reader: SliceReader | null = null;

  constructor(data: BackupThreadData, signal: AbortSignal) {
    this.#signal = signal;
    this.#limits = data.limits;
    this.#store = limitStore(openObjectStore(data.location), data.limits);
    this.#suite = openSuite(data);
    const numbers = new Int32Array(data.nextSeq);
    this.#writer = new PackWriter({
      ...data,
      store: this.#store,
      suite: this.#suite,
      nextSeq: () => Atomics.add(numbers, 0, 1),
      signal,
      packBytes: packLimit(data.limits),
    });
  }

  async openDisk({ source: from, sizeBytes, readBytes }: OpenDisk): Promise<null> {
    const source = await openSource(from, this.#signal);
    this.#source = source;
    if (source.sizeBytes !== sizeBytes) {
      throw new Fault(
        'NBD_PROTOCOL',
        `the disk has ${source.sizeBytes} bytes on one connection, ${sizeBytes} on another`,
      );
    }
    const { read } = limitReads(source, this.#limits, this.#signal);
    const limited = { sizeBytes, read };
    this.#reader = new SliceReader({ source: limited, suite: this.#suite, writer: this.#writer, readBytes });
    return null;
  }

  async closeDisk(): Promise<null> {
    const source = this.#source;
    this.#source = null;
    this.#reader = null;
    await source?.close();
    return null;
  }

  reader(): SliceReader {
    if (this.#reader === null) throw new Fault('BUG', 'a slice before its disk');
    return this.#reader;
  }

  async finish(): Promise<null> {
    await this.#writer.finish();
    return null;
  }

  async close(): Promise<void> {
    this.#source?.destroy();
    await this.#writer.abandon();
    await this.#store.close();
  }
}

export const openBackup = (data: BackupThreadData, signal: AbortSignal): Session<BackupCalls> => {
  const session = new BackupSession(data, signal);
  return {
    handlers: {
      openDisk: (request) => session.openDisk(request),
      slice: (job) => session.reader().read(job),
      closeDisk: () => session.closeDisk(),
      finish: () => session.finish(),
    },
    close: () => session.close(),
  };
};
