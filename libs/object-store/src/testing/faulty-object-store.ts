import { setTimeout as sleep } from 'node:timers/promises';
import { type Fault } from '@casvault/contracts';
import { type Body, bodyParts } from '../body.js';
import {
  type GetOptions,
  type ListedObject,
  type ObjectStore,
  type PutOptions,
  type SignalOption,
  type StoreUsage,
} from '../object-store.js';

export type StoreVerb = 'put' | 'get' | 'stat' | 'list' | 'delete' | 'usage';

export type StoreFault =
  /** Fails and does nothing. */
  | { readonly kind: 'error'; readonly fault: Fault }
  /** Does its work and fails all the same: the reply was lost. */
  | { readonly kind: 'error-after'; readonly fault: Fault }
  /** A put that keeps only the first bytes and says that all is well: a medium that lies. Other verbs pass. */
  | { readonly kind: 'torn'; readonly bytes: number }
  /** Waits, then goes on. */
  | { readonly kind: 'delay'; readonly ms: number };

export interface StoreRule {
  readonly verb: StoreVerb;
  readonly fault: StoreFault;
  /** Hit from this call of the verb on (1 is the first); the first by default. */
  readonly from?: number;
  /** So many calls are hit; 1 by default, `Infinity` for all from there on. */
  readonly count?: number;
  /** Only calls for such keys are counted and hit. */
  readonly key?: RegExp;
}

interface CountedRule extends StoreRule {
  seen: number;
}

/** A store whose calls go wrong by script. Rules are independent: each counts the calls that fit its verb and key. */
export class FaultyObjectStore implements ObjectStore {
  readonly #inner: ObjectStore;
  readonly #rules: CountedRule[] = [];
  /** All calls so far, in order: `put packs/a`. */
  readonly calls: string[] = [];

  constructor(inner: ObjectStore, rules: readonly StoreRule[] = []) {
    this.#inner = inner;
    for (const rule of rules) this.inject(rule);
  }

  inject(rule: StoreRule): void {
    this.#rules.push({ ...rule, seen: 0 });
  }

  put(key: string, body: Body, options?: PutOptions): Promise<void> {
    return this.#pass('put', key, (torn) => this.#inner.put(key, cut(body, torn), options));
  }

  get(key: string, options?: GetOptions): Promise<Uint8Array> {
    return this.#pass('get', key, () => this.#inner.get(key, options));
  }

  stat(key: string, options?: SignalOption): Promise<{ readonly sizeBytes: number } | null> {
    return this.#pass('stat', key, () => this.#inner.stat(key, options));
  }

  async *list(prefix: string, options?: SignalOption): AsyncGenerator<ListedObject> {
    const faults = this.#faultsOf('list', prefix);
    await before(faults);
    yield* this.#inner.list(prefix, options);
    after(faults);
  }

  delete(key: string, options?: SignalOption): Promise<void> {
    return this.#pass('delete', key, () => this.#inner.delete(key, options));
  }

  usage(options?: SignalOption): Promise<StoreUsage> {
    return this.#pass('usage', '', () => this.#inner.usage(options));
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  async #pass<T>(verb: StoreVerb, key: string, action: (torn: number | null) => Promise<T>): Promise<T> {
    const faults = this.#faultsOf(verb, key);
    await before(faults);
    const torn = faults.find((fault) => fault.kind === 'torn');
    const result = await action(torn?.bytes ?? null);
    after(faults);
    return result;
  }

  #faultsOf(verb: StoreVerb, key: string): StoreFault[] {
    this.calls.push(`${verb} ${key}`);
    const faults: StoreFault[] = [];
    for (const rule of this.#rules) {
      if (rule.verb !== verb || rule.key?.test(key) === false) continue;
      rule.seen += 1;
      const first = rule.from ?? 1;
      if (rule.seen >= first && rule.seen < first + (rule.count ?? 1)) faults.push(rule.fault);
    }
    return faults;
  }
}

const before = async (faults: readonly StoreFault[]): Promise<void> => {
  for (const fault of faults) {
    if (fault.kind === 'delay') await sleep(fault.ms);
    if (fault.kind === 'error') throw fault.fault;
  }
};

const after = (faults: readonly StoreFault[]): void => {
  for (const fault of faults) if (fault.kind === 'error-after') throw fault.fault;
};

const cut = (body: Body, bytes: number | null): Body =>
  bytes === null ? body : Buffer.concat(bodyParts(body)).subarray(0, bytes);
