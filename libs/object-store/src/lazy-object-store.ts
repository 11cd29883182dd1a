import {
  type GetOptions,
  type ListedObject,
  type ObjectStore,
  type PutOptions,
  type SignalOption,
  type StoreUsage,
} from './object-store.js';

/**
 * A store whose adapter is loaded at the first call. The S3 client costs 0.2 s and 17 MB of heap in every thread that loads it, and a larger
 * heap makes every garbage collection slower: threads that write to a file system must not pay for it.
 */
export class LazyObjectStore implements ObjectStore {
  readonly #load: () => Promise<ObjectStore>;
  #loaded: Promise<ObjectStore> | null = null;

  constructor(load: () => Promise<ObjectStore>) {
    this.#load = load;
  }

  #store(): Promise<ObjectStore> {
    return (this.#loaded ??= this.#load());
  }

  async put(key: string, body: Uint8Array | readonly Uint8Array[], options?: PutOptions): Promise<void> {
    return (await this.#store()).put(key, body, options);
  }

  async get(key: string, options?: GetOptions): Promise<Uint8Array> {
    return (await this.#store()).get(key, options);
  }

  async stat(key: string, options?: SignalOption): Promise<{ readonly sizeBytes: number } | null> {
    return (await this.#store()).stat(key, options);
  }

  async *list(prefix: string, options?: SignalOption): AsyncGenerator<ListedObject> {
    yield* (await this.#store()).list(prefix, options);
  }

  async delete(key: string, options?: SignalOption): Promise<void> {
    return (await this.#store()).delete(key, options);
  }

  async usage(options?: SignalOption): Promise<StoreUsage> {
    return (await this.#store()).usage(options);
  }

  async close(): Promise<void> {
    if (this.#loaded !== null) await (await this.#loaded).close();
  }
}
