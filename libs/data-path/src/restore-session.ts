import { NbdClient } from '@casvault/block-source';
import { Fault } from '@casvault/contracts';
import { openObjectStore } from '@casvault/object-store';
import { openSuite } from '@casvault/repository';
import { compareBlocks, type CompareDone, type CompareJob } from './compare-blocks.js';
import { limitDisk, limitStore, type LimitCells, type LimitedDisk } from './limits.js';
import { PackReader } from './pack-reader.js';
import {
  type OpenTarget,
  type PackDone,
  type PackJob,
  type RestoreCalls,
  type RestoreThreadData,
  type ZeroJob,
} from './restore-thread.js';
import { SteadyFlush } from './steady-flush.js';
import { type Session } from './thread-calls.js';

const zeroes = Buffer.alloc(1_048_576);

/** What a thread does for a restore: its own connection to the target. Memory: the isolate and `PackReader`'s 26 MiB. */
class RestoreSession {
  readonly #signal: AbortSignal;
  readonly #limits: LimitCells;
  readonly #store;
  readonly #suite;
  readonly #reader: PackReader;
  #target: NbdClient | null = null;
  #steady: SteadyFlush | null = null;
  /** The target, as fast as it may be. */
  #limited: LimitedDisk | null = null;
  #sizeBytes = 0;

  constructor(data: RestoreThreadData, signal: AbortSignal) {
    this.#signal = signal;
    this.#limits = data.limits;
    this.#store = limitStore(openObjectStore(data.location), data.limits);
    this.#suite = openSuite(data);
    this.#reader = new PackReader({
      store: this.#store,
      suite: this.#suite,
      folder: data.folder,
      signal,
    });
  }

  async openTarget({ destination, sizeBytes }: OpenTarget): Promise<null> {
    this.#sizeBytes = sizeBytes;
    if (destination === null) return null;
    const target = await NbdClient.connect(destination, { signal: this.#signal });
    const steady = new SteadyFlush(target);
    const disk = {
      read: (offset: number, into: Uint8Array) => target.read(offset, into),
      write: (offset: number, from: Uint8Array) => steady.write(offset, from),
    };
    this.#target = target;
    this.#steady = steady;
    this.#limited = limitDisk(disk, this.#limits, this.#signal);
    return null;
  }

  pack(job: PackJob): Promise<PackDone> {
    return this.#reader.unpack(job, this.#sizeBytes, this.#limited);
  }

  async compare(job: CompareJob): Promise<CompareDone> {
    if (this.#limited === null) throw new Fault('BUG', 'a comparison with no target');
    return compareBlocks(this.#limited, this.#suite, this.#sizeBytes, job);
  }

  async zero({ offset, length, noHole }: ZeroJob): Promise<null> {
    const target = this.#target;
    if (target === null) throw new Fault('BUG', 'zeroes for no target');
    if (target.canWriteZeroes) await target.writeZeroes(offset, length, { noHole });
    else {
      for (let at = 0; at < length; at += zeroes.length) {
        await target.write(offset + at, zeroes.subarray(0, Math.min(zeroes.length, length - at)));
      }
    }
    return null;
  }

  async closeTarget(): Promise<null> {
    const target = this.#target;
    const steady = this.#steady;
    this.#target = null;
    this.#steady = null;
    this.#limited = null;
    await steady?.flush();
    await target?.close();
    return null;
  }

  async close(): Promise<void> {
    this.#target?.destroy();
    await this.#store.close();
  }
}

export const openRestore = (data: RestoreThreadData, signal: AbortSignal): Session<RestoreCalls> => {
  const session = new RestoreSession(data, signal);
  return {
    handlers: {
      openTarget: (request) => session.openTarget(request),
      pack: (job) => session.pack(job),
      zero: (job) => session.zero(job),
      compare: (job) => session.compare(job),
      closeTarget: () => session.closeTarget(),
    },
    close: () => session.close(),
  };
};
