import { type CompareDone, type CompareJob } from './compare-blocks.js';
import {
  startRestoreThread,
  type OpenTarget,
  type PackDone,
  type PackJob,
  type RestoreThread,
  type RestoreThreadData,
  type ZeroJob,
} from './restore-thread.js';
import { type ThreadStart } from './thread-calls.js';

/** One place for a restore thread in a team: the thread starts with its first job, and connects to a target with the first one of it. */
export class RestoreMember {
  readonly #data: RestoreThreadData;
  readonly #run: Pick<ThreadStart, 'signal' | 'resting'>;
  #thread: RestoreThread | null = null;
  #opened: Promise<unknown> | null = null;

  constructor(data: RestoreThreadData, run: Pick<ThreadStart, 'signal' | 'resting'>) {
    this.#data = data;
    this.#run = run;
  }

  async pack(target: OpenTarget, job: PackJob): Promise<PackDone> {
    const thread = await this.#ready(target);
    const transfer = [job.frames.buffer, job.blocks.buffer, job.ids.buffer] as ArrayBuffer[];
    return thread.call('pack', job, transfer);
  }

  async zero(target: OpenTarget, job: ZeroJob): Promise<void> {
    await (await this.#ready(target)).call('zero', job);
  }

  async compare(target: OpenTarget, job: CompareJob): Promise<CompareDone> {
    return (await this.#ready(target)).call('compare', job, [job.ids.buffer as ArrayBuffer]);
  }

  async #ready(target: OpenTarget): Promise<RestoreThread> {
    this.#thread ??= startRestoreThread(this.#data, this.#run);
    this.#opened ??= this.#thread.call('openTarget', target);
    await this.#opened;
    return this.#thread;
  }

  /** Everything that this member wrote is on stable storage. */
  async closeTarget(): Promise<void> {
    const opened = this.#opened;
    this.#opened = null;
    if (opened !== null) await this.#thread?.call('closeTarget', null);
  }

  async end(): Promise<void> {
    await this.#thread?.end();
    this.#thread = null;
  }
}
