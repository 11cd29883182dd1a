import { Worker } from 'node:worker_threads';

interface Resting {
  readonly worker: Worker;
  readonly file: string;
  readonly timer: NodeJS.Timeout;
  readonly forget: () => void;
}

/**
 * Threads between two points: one that rests is taken up again, with its code compiled, where a new one costs about 0.2 s of CPU. They do
 * not keep the process alive. Memory: `max` isolates of some 30 MiB, until `restMs` after their last work.
 */
export class RestingThreads {
  readonly #max: number;
  readonly #restMs: number;
  readonly #resting: Resting[] = [];
  #isClosed = false;

  constructor({ max, restMs = 60_000 }: { readonly max: number; readonly restMs?: number }) {
    this.#max = max;
    this.#restMs = restMs;
  }

  get count(): number {
    return this.#resting.length;
  }

  /** Starts threads until `count` rest that run `file`, as far as there is room: they load their code while their owner prepares. */
  warm(file: URL, count: number): void {
    let resting = this.#resting.filter((one) => one.file === file.href).length;
    for (; resting < count && !this.#isClosed && this.#resting.length < this.#max; resting += 1)
      this.give(file, new Worker(file));
  }

  /** One that runs `file`, the caller's from now on; null when none rests. The one that rested for the shortest comes first. */
  take(file: URL): Worker | null {
    const found = this.#resting.findLast((one) => one.file === file.href);
    if (found === undefined) return null;
    found.forget();
    found.worker.ref();
    return found.worker;
  }

  /** Whether the thread, which has nothing to do and no listeners, may rest here; otherwise its owner ends it. */
  give(file: URL, worker: Worker): boolean {
    if (this.#isClosed || this.#resting.length >= this.#max) return false;
    const end = (): void => {
      forget();
      void worker.terminate();
    };
    const timer = setTimeout(end, this.#restMs).unref();
    const forget = (): void => {
      clearTimeout(timer);
      worker.off('error', end).off('exit', end);
      const at = this.#resting.findIndex((one) => one.worker === worker);
      if (at >= 0) this.#resting.splice(at, 1);
    };
    worker.once('error', end).once('exit', end);
    worker.unref();
    this.#resting.push({ worker, file: file.href, timer, forget });
    return true;
  }

  /** Ends those that rest; none rests here any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const { worker, forget } of [...this.#resting]) {
      forget();
      await worker.terminate();
    }
  }
}
