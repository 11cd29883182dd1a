/**
 * The port to a pool's bytes. It is all that the data path knows of a medium; every adapter passes the conformance suite of
 * `testing`, which holds each sentence below.
 *
 * A store is a flat set of objects under keys (see `object-key.ts`). Objects are written whole, never changed in place.
 * Any number of processes on any number of machines may use one store at once; any of them may be killed at any moment.
 *
 * Faults, everywhere: POOL_UNREACHABLE (medium, mount or network away: worth a retry by the caller, the adapter has tried
 * already), POOL_ACCESS_DENIED, POOL_FULL, INPUT_INVALID (a key or range against the rules: nothing was done), and what the
 * signal says (`Fault.ofAbort`) once it is aborted.
 */
export interface ObjectStore {
  /**
   * Writes an object: after it resolves the object survives the loss of power, and every reader sees all of it. Until then
   * readers see what was there before (nothing, or the earlier object), never a part. A put that fails or is aborted may
   * still have taken effect, whole; calling it again is safe. An existing object is replaced.
   *
   * With `ifAbsent`, an object that is there already stays and POOL_OBJECT_EXISTS is thrown: of any number of racers exactly
   * one resolves. A loser may rely on the winner's object being there, durably.
   *
   * `body` in several parts is written one after the other. It must not be changed before the promise is settled.
   * Page-aligned parts are written without passing through the page cache where the medium allows it.
   * Memory: none of its own on a file system; on S3 a copy of a body in several parts.
   */
  put(key: string, body: Uint8Array | readonly Uint8Array[], options?: PutOptions): Promise<void>;

  /**
   * The bytes of an object, or of a range of it. With `into`, they are read to its beginning and that part of it is
   * returned; otherwise memory is one new array of their length. `into` is not written any more once the promise is settled.
   *
   * POOL_OBJECT_MISSING: there is no such object. POOL_OBJECT_DAMAGED: the object is shorter than the range.
   * INPUT_INVALID: `into` is too small for what was asked.
   */
  get(key: string, options?: GetOptions): Promise<Uint8Array>;

  /** Size of an object; null when there is none. */
  stat(key: string, options?: SignalOption): Promise<{ readonly sizeBytes: number } | null>;

  /**
   * Objects whose key starts with `prefix` (any string that a key may start with, not only folders), sorted by key in byte
   * order. An object that is there from the first step to the last is listed once; one that comes or goes meanwhile may be.
   * Memory: names of one folder per level (file system) or one page of 1000 objects (S3).
   */
  list(prefix: string, options?: SignalOption): AsyncIterable<ListedObject>;

  /** Removes an object, durably once it resolves. Not an error when there is none. */
  delete(key: string, options?: SignalOption): Promise<void>;

  /** Room of the medium; null where it has no notion of it. */
  usage(options?: SignalOption): Promise<StoreUsage>;

  /** Lets go of connections. Calls under way may fail; later ones do. */
  close(): Promise<void>;
}

export interface SignalOption {
  readonly signal?: AbortSignal;
}

export interface PutOptions extends SignalOption {
  readonly ifAbsent?: boolean;
}

export interface GetOptions extends SignalOption {
  /** Bytes `offset` up to `offset + length`, length at least 1. */
  readonly range?: { readonly offset: number; readonly length: number };
  readonly into?: Uint8Array;
}

export interface ListedObject {
  readonly key: string;
  readonly sizeBytes: number;
}

export interface StoreUsage {
  readonly capacityBytes: number | null;
  readonly freeBytes: number | null;
}
