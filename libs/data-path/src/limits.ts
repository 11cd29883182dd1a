import { type DiskReader, type DiskWriter } from '@casvault/block-source';
import { type GetOptions, type ObjectStore, type PutOptions } from '@casvault/object-store';
import { BLOCK_BYTES } from '@casvault/repository';
import { type SpeedCells } from './governor.js';
import { PACK_BYTES, packBytesWithin } from './pack-writer.js';
import { newCredit, SharedCredit, type CreditCells } from './shared-credit.js';

/** What holds a transfer back, over all of its threads: plain data for them. Absent parts cost nothing. */
export interface LimitCells {
  readonly speed?: SpeedCells | undefined;
  /** Longest request to a disk, a multiple of 64 KiB. */
  readonly requestBytes?: number | undefined;
  /** Bytes on their way to the pool that it has not acknowledged, and how large packs may grow for that. */
  readonly unacknowledged?: { readonly cells: CreditCells; readonly packBytes: number } | undefined;
}

/** `writers`: threads that put packs. */
export const limitCells = (
  speed: SpeedCells | undefined,
  unacknowledgedBytes: number | undefined,
  writers: number,
): LimitCells => ({
  speed,
  unacknowledged:
    unacknowledgedBytes === undefined
      ? undefined
      : { cells: newCredit(unacknowledgedBytes), packBytes: packBytesWithin(unacknowledgedBytes, writers) },
});

/** How large packs may grow now: what waits to be put at once is 0.2 s of the speed, or one frame. Undefined: as large as ever. */
export const packLimit = ({ speed, unacknowledged }: LimitCells): (() => number) | undefined => {
  if (speed === undefined && unacknowledged === undefined) return undefined;
  const credit = speed === undefined ? null : new SharedCredit(speed.transfer);
  const room = unacknowledged?.packBytes ?? PACK_BYTES;
  return () => Math.min(room, credit?.mostBytes ?? Infinity);
};

/** Nothing passes in smaller pieces. */
const leastPiece = BLOCK_BYTES;
const never = new AbortController().signal;

export type LimitedDisk = Pick<DiskReader, 'read'> & Pick<DiskWriter, 'write'>;

/** A disk whose bytes pass as fast as they may, in pieces of 0.2 s of the speed. Zeroing moves no bytes. */
export function limitDisk(disk: LimitedDisk, limits: LimitCells, signal: AbortSignal): LimitedDisk {
  const way = wayOf(limits, signal);
  return {
    read: (offset, into) => inPieces(into, way, (at, piece) => disk.read(offset + at, piece)),
    write: (offset, from) => inPieces(from, way, (at, piece) => disk.write(offset + at, piece)),
  };
}

/** As `limitDisk`, of what is only read. */
export function limitReads(
  disk: Pick<DiskReader, 'read'>,
  limits: LimitCells,
  signal: AbortSignal,
): Pick<DiskReader, 'read'> {
  const way = wayOf(limits, signal);
  return { read: (offset, into) => inPieces(into, way, (at, piece) => disk.read(offset + at, piece)) };
}

/** Whole blocks, so that pieces lie on the boundaries of disks and media. */
const pieceBytes = (credit: SharedCredit): number =>
  Math.max(leastPiece, Math.floor(credit.mostBytes / leastPiece) * leastPiece);

interface Way {
  readonly credit: SharedCredit | null;
  readonly requestBytes: number;
  readonly signal: AbortSignal;
}

const wayOf = ({ speed, requestBytes = Infinity }: LimitCells, signal: AbortSignal): Way => ({
  credit: speed === undefined ? null : new SharedCredit(speed.disk),
  requestBytes,
  signal,
});

/** Begins each piece when it may pass; settles when none is under way any more. */
async function inPieces(
  bytes: Uint8Array,
  { credit, requestBytes, signal }: Way,
  move: (at: number, piece: Uint8Array) => Promise<void>,
): Promise<void> {
  if (credit === null && bytes.length <= requestBytes) return move(0, bytes);
  const moves: Promise<void>[] = [];
  const failures: unknown[] = [];
  const note = (error: unknown): void => void failures.push(error);
  for (let at = 0; at < bytes.length && failures.length === 0;) {
    const most = Math.min(requestBytes, credit === null ? Infinity : pieceBytes(credit));
    const length = Math.min(bytes.length - at, most);
    const start = at;
    await credit?.takeAhead(length, signal).catch(note);
    if (failures.length === 0) moves.push(move(start, bytes.subarray(start, start + length)).catch(note));
    at += length;
  }
  await Promise.all(moves);
  if (failures.length > 0) throw failures[0];
}

/**
 * A store whose objects pass as fast as they may, with no more of them unacknowledged than may be. An object is put as a whole: it waits until
 * it may begin, then goes as fast as the pool takes it.
 */
export function limitStore(store: ObjectStore, limits: LimitCells): ObjectStore {
  const { speed, unacknowledged } = limits;
  return speed === undefined && unacknowledged === undefined ? store : new LimitedStore(store, limits);
}

class LimitedStore implements ObjectStore {
  readonly #store: ObjectStore;
  readonly #speed: SharedCredit | null;
  readonly #unacknowledged: SharedCredit | null;

  constructor(store: ObjectStore, { speed, unacknowledged }: LimitCells) {
    this.#store = store;
    this.#speed = speed === undefined ? null : new SharedCredit(speed.transfer);
    this.#unacknowledged = unacknowledged === undefined ? null : new SharedCredit(unacknowledged.cells);
  }

  async put(key: string, body: Uint8Array | readonly Uint8Array[], options: PutOptions = {}): Promise<void> {
    const { signal = never } = options;
    const bytes =
      body instanceof Uint8Array ? body.length : body.reduce((sum, { length }) => sum + length, 0);
    await this.#unacknowledged?.takeWhole(bytes, signal);
    try {
      await this.#speed?.takeAhead(bytes, signal);
      await this.#store.put(key, body, options);
    } finally {
      this.#unacknowledged?.give(bytes);
    }
  }

  async get(key: string, options: GetOptions = {}): Promise<Uint8Array> {
    const { range, into, signal = never } = options;
    const speed = this.#speed;
    if (speed === null) return this.#store.get(key, options);
    if (range === undefined || into === undefined || into.length < range.length) {
      const bytes = await this.#store.get(key, options);
      await speed.takeAhead(bytes.length, signal);
      return bytes;
    }
    for (let at = 0; at < range.length;) {
      const length = Math.min(range.length - at, pieceBytes(speed));
      await speed.takeAhead(length, signal);
      const piece = { range: { offset: range.offset + at, length }, into: into.subarray(at, at + length) };
      await this.#store.get(key, { ...options, ...piece });
      at += length;
    }
    return into.subarray(0, range.length);
  }

  stat(key: string, options?: Parameters<ObjectStore['stat']>[1]): ReturnType<ObjectStore['stat']> {
    return this.#store.stat(key, options);
  }

  list(prefix: string, options?: Parameters<ObjectStore['list']>[1]): ReturnType<ObjectStore['list']> {
    return this.#store.list(prefix, options);
  }

  delete(key: string, options?: Parameters<ObjectStore['delete']>[1]): Promise<void> {
    return this.#store.delete(key, options);
  }

  usage(options?: Parameters<ObjectStore['usage']>[0]): ReturnType<ObjectStore['usage']> {
    return this.#store.usage(options);
  }

  close(): Promise<void> {
    return this.#store.close();
  }
}
