/**
 * Items from one producer to several consumers, at most `capacity` of them waiting: the producer waits when it is ahead. After `close`
 * consumers get null; after `fail` everybody gets the failure.
 */
export class BoundedQueue<T> {
  readonly #capacity: number;
  readonly #items: T[] = [];
  readonly #takers: { resolve: (item: T | null) => void; reject: (error: unknown) => void }[] = [];
  readonly #putters: { resolve: () => void; reject: (error: unknown) => void }[] = [];
  #closed = false;
  #failure: { readonly error: unknown } | null = null;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  async put(item: T): Promise<void> {
    if (this.#failure !== null) throw this.#failure.error;
    const taker = this.#takers.shift();
    if (taker !== undefined) {
      taker.resolve(item);
      return;
    }
    this.#items.push(item);
    if (this.#items.length <= this.#capacity) return;
    await new Promise<void>((resolve, reject) => this.#putters.push({ resolve, reject }));
  }

  async take(): Promise<T | null> {
    if (this.#failure !== null) throw this.#failure.error;
    const item = this.#items.shift();
    if (item !== undefined) {
      this.#putters.shift()?.resolve();
      return item;
    }
    if (this.#closed) return null;
    return new Promise<T | null>((resolve, reject) => this.#takers.push({ resolve, reject }));
  }

  close(): void {
    this.#closed = true;
    for (const taker of this.#takers.splice(0)) taker.resolve(null);
  }

  fail(error: unknown): void {
    this.#failure ??= { error };
    this.#items.length = 0;
    for (const waiting of [...this.#takers.splice(0), ...this.#putters.splice(0)]) waiting.reject(error);
  }
}
