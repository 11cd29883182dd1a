import { Fault } from '@casvault/contracts';

const unitBytes = 1_024;
/** Places in the shared memory, in KiB: what may pass now; the most that may pass at once; whether anything may. */
const cell = { credit: 0, most: 1, isOpen: 2 } as const;

/** The memory of a `SharedCredit`: plain data that goes into threads. */
export type CreditCells = Int32Array;

export const newCredit = (mostBytes: number): CreditCells => {
  const cells = new Int32Array(new SharedArrayBuffer(12));
  cells.fill(Math.ceil(mostBytes / unitBytes), cell.credit, cell.isOpen);
  return cells;
};

/**
 * Bytes that may pass, taken by any number of threads and given by any. Counted in KiB, each taking rounded up. Nobody is kept waiting for
 * more than there can ever be: who takes more than the most takes it when all of that is there, and the rest is owed.
 */
export class SharedCredit {
  readonly #cells: CreditCells;

  constructor(cells: CreditCells) {
    this.#cells = cells;
  }

  /** The most that passes at once, but for what is larger by itself. */
  get mostBytes(): number {
    return this.#isOpen ? Infinity : Atomics.load(this.#cells, cell.most) * unitBytes;
  }

  get #isOpen(): boolean {
    return Atomics.load(this.#cells, cell.isOpen) !== 0;
  }

  /** Waits until there is room for all of it. Rejects when the signal aborts: then nothing was taken. */
  takeWhole(bytes: number, signal: AbortSignal): Promise<void> {
    const asked = Math.ceil(bytes / unitBytes);
    return this.#take(asked, () => Math.min(asked, Atomics.load(this.#cells, cell.most)), signal);
  }

  /** Waits until nothing is owed, and owes what is not there: no taker starves for being large. Rejects as `takeWhole`. */
  takeAhead(bytes: number, signal: AbortSignal): Promise<void> {
    return this.#take(Math.ceil(bytes / unitBytes), () => 1, signal);
  }

  /** Gives back what was taken. */
  give(bytes: number): void {
    Atomics.add(this.#cells, cell.credit, Math.ceil(bytes / unitBytes));
    Atomics.notify(this.#cells, cell.credit);
  }

  /** Adds KiB, up to the most. */
  fill(kib: number): void {
    const most = Atomics.load(this.#cells, cell.most);
    for (;;) {
      const before = Atomics.load(this.#cells, cell.credit);
      const after = Math.min(Math.max(most, before), before + kib);
      if (after === before) return;
      if (Atomics.compareExchange(this.#cells, cell.credit, before, after) === before) break;
    }
    Atomics.notify(this.#cells, cell.credit);
  }

  /** Everything may pass, nothing is counted. */
  open(): void {
    Atomics.store(this.#cells, cell.isOpen, 1);
    Atomics.store(this.#cells, cell.credit, 1);
    Atomics.notify(this.#cells, cell.credit);
  }

  /** Counts from now on, beginning with nothing to take and nothing owed. */
  bound(mostBytes: number): void {
    Atomics.store(this.#cells, cell.most, Math.max(1, Math.ceil(mostBytes / unitBytes)));
    Atomics.store(this.#cells, cell.credit, 0);
    Atomics.store(this.#cells, cell.isOpen, 0);
  }

  async #take(kib: number, needed: () => number, signal: AbortSignal): Promise<void> {
    for (;;) {
      if (signal.aborted) throw Fault.ofAbort(signal);
      if (this.#isOpen) return;
      const before = Atomics.load(this.#cells, cell.credit);
      if (before < needed()) await this.#changed(before, signal);
      else if (Atomics.compareExchange(this.#cells, cell.credit, before, before - kib) === before) return;
    }
  }

  /** Returns when the credit may be another, or the signal aborted. */
  async #changed(seen: number, signal: AbortSignal): Promise<void> {
    const wait = Atomics.waitAsync(this.#cells, cell.credit, seen);
    if (!wait.async) return;
    const wake = (): void => {
      Atomics.notify(this.#cells, cell.credit);
    };
    signal.addEventListener('abort', wake, { once: true });
    await wait.value;
    signal.removeEventListener('abort', wake);
  }
}
