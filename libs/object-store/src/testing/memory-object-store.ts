import {
  type Body,
  bodyParts,
  existingObject,
  missingObject,
  planRead,
  requireGoing,
  requireRange,
} from '../body.js';
import { requireKeyPrefix, requireObjectKey } from '../object-key.js';
import {
  type GetOptions,
  type ListedObject,
  type ObjectStore,
  type PutOptions,
  type SignalOption,
  type StoreUsage,
} from '../object-store.js';

/** Objects in memory, for tests of what stands on a store. Stores made with the same map are clients of one pool. */
export class MemoryObjectStore implements ObjectStore {
  readonly #objects: Map<string, Uint8Array>;

  constructor(objects: Map<string, Uint8Array> = new Map()) {
    this.#objects = objects;
  }

  async put(key: string, body: Body, { signal, ifAbsent = false }: PutOptions = {}): Promise<void> {
    requireObjectKey(key);
    requireGoing(signal);
    if (ifAbsent && this.#objects.has(key)) throw existingObject(key);
    this.#objects.set(key, Buffer.concat(bodyParts(body)));
  }

  async get(key: string, options: GetOptions = {}): Promise<Uint8Array> {
    requireObjectKey(key);
    requireRange(options);
    requireGoing(options.signal);
    const object = this.#objects.get(key);
    if (object === undefined) throw missingObject(key);
    const { offset, length } = planRead(key, object.length, options);
    const into = options.into ?? new Uint8Array(length);
    into.set(object.subarray(offset, offset + length));
    return into.subarray(0, length);
  }

  async stat(key: string, { signal }: SignalOption = {}): Promise<{ sizeBytes: number } | null> {
    requireObjectKey(key);
    requireGoing(signal);
    const object = this.#objects.get(key);
    return object === undefined ? null : { sizeBytes: object.length };
  }

  async *list(prefix: string, { signal }: SignalOption = {}): AsyncGenerator<ListedObject> {
    requireKeyPrefix(prefix);
    requireGoing(signal);
    const keys = [...this.#objects.keys()].filter((key) => key.startsWith(prefix));
    for (const key of keys.sort((a, b) => (a < b ? -1 : 1))) {
      requireGoing(signal);
      const object = this.#objects.get(key);
      if (object !== undefined) yield { key, sizeBytes: object.length };
    }
  }

  async delete(key: string, { signal }: SignalOption = {}): Promise<void> {
    requireObjectKey(key);
    requireGoing(signal);
    this.#objects.delete(key);
  }

  async usage({ signal }: SignalOption = {}): Promise<StoreUsage> {
    requireGoing(signal);
    return { capacityBytes: null, freeBytes: null };
  }

  async close(): Promise<void> {
    // Nothing is held.
  }
}
