/** At most `limit` at the same time; the others wait in order. */
export class Limiter {
  #running = 0;
  readonly #queue: (() => void)[] = [];
  #idle: (() => void)[] = [];

  constructor(readonly limit: number) {}

  get waiting(): number {
    return this.#queue.length;
  }
  get free(): number {
    return this.limit - this.#running;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    await this.#enter();
    try {
      return await work();
    } finally {
      this.#leave();
    }
  }

  /** Resolves when at least one place is free. */
  async whenFree(): Promise<void> {
    await this.#enter();
    this.#leave();
  }

  /** Resolves when nothing runs. */
  async whenIdle(): Promise<void> {
    if (this.#running > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  async #enter(): Promise<void> {
    if (this.#running >= this.limit) await new Promise<void>((resolve) => this.#queue.push(resolve));
    else this.#running += 1;
  }

  #leave(): void {
    const next = this.#queue.shift();
    if (next) return next();
    this.#running -= 1;
    if (this.#running > 0) return;
    for (const wake of this.#idle) wake();
    this.#idle = [];
  }
}
