import {
  startBackupThread,
  type BackupThread,
  type BackupThreadData,
  type OpenDisk,
} from './backup-thread.js';
import { type SliceJob, type SliceResult } from './slice.js';
import { type ThreadStart } from './thread-calls.js';

/** One place for a thread in a team: the thread starts with its first slice or before, and connects to a disk with the first one of it. */
export class TeamMember {
  readonly #data: BackupThreadData;
  readonly #run: Pick<ThreadStart, 'signal' | 'resting'>;
  #thread: BackupThread | null = null;
  #opened: Promise<unknown> | null = null;

  constructor(data: BackupThreadData, run: Pick<ThreadStart, 'signal' | 'resting'>) {
    this.#data = data;
    this.#run = run;
  }

  /** Lets the thread start now, for slices that are sure to come. */
  start(): BackupThread {
    return (this.#thread ??= startBackupThread(this.#data, this.#run));
  }

  async slice(disk: OpenDisk, job: SliceJob): Promise<SliceResult> {
    const thread = this.start();
    this.#opened ??= thread.call('openDisk', disk);
    await this.#opened;
    return thread.call('slice', job, transfersOf(job));
  }

  async closeDisk(): Promise<void> {
    const opened = this.#opened;
    this.#opened = null;
    if (opened !== null) await this.#thread?.call('closeDisk', null);
  }

  /** All packs of the thread are durable. */
  async finish(): Promise<void> {
    await this.#thread?.call('finish', null);
  }

  async end(): Promise<void> {
    await this.#thread?.end();
    this.#thread = null;
  }
}

function transfersOf(job: SliceJob): ArrayBuffer[] {
  return job.parentIds === null ? [] : [job.parentIds.buffer as ArrayBuffer];
}
