interface Entry {
  /** Where it lies in the heap. */
  at: number;
  order: number;
  /** When it is due: it may have been put off since it was laid there. */
  dueAt: number;
  dueOrder: number;
  run: (() => void) | null;
  isOver: boolean;
}

/** One thing that is put off, sooner or later, again and again, at less than what taking it back and entering it anew costs. */
export interface Alarm {
  /** Runs it then, instead of when it was due before. */
  set: (instant: number) => void;
  clear: () => void;
}

/**
 * The one clock and the one queue of a simulation. Nothing happens but by an entry of the queue; between two entries every
 * promise that can settle has settled, so a run is a function of its seed. Memory: the entries that are due later.
 */
export class VirtualTime {
  #now = 0;
  #order = 0;
  /** A binary heap, earliest first; entries of one instant in the order in which they were made. */
  readonly #heap: Entry[] = [];

  /** Milliseconds since the simulation began. */
  get now(): number {
    return this.#now;
  }

  /** Runs it then; what is returned takes it back. */
  at(instant: number, run: () => void): () => void {
    const entry = this.#enter(instant, run);
    return () => {
      entry.run = null;
    };
  }

  alarm(run: () => void): Alarm {
    let entry: Entry | null = null;
    const clear = (): void => {
      if (entry) entry.run = null;
    };
    const set = (instant: number): void => {
      if (entry && !entry.isOver && entry.at <= instant) return this.#putOff(entry, instant, run);
      clear();
      entry = this.#enter(instant, run);
    };
    return { set, clear };
  }

  #enter(instant: number, run: () => void): Entry {
    const at = Math.max(instant, this.#now);
    const order = this.#order;
    const entry: Entry = { at, order, dueAt: at, dueOrder: order, run, isOver: false };
    this.#order += 1;
    this.#push(entry);
    return entry;
  }

  #putOff(entry: Entry, instant: number, run: () => void): void {
    entry.dueAt = Math.max(instant, this.#now);
    entry.dueOrder = this.#order;
    entry.run = run;
    this.#order += 1;
  }

  after(ms: number, run: () => void): () => void {
    return this.at(this.#now + ms, run);
  }

  /** Lets time pass until `end`, or until `isOver` holds between two entries. */
  async run(end: number, isOver: () => boolean = () => false): Promise<void> {
    await settled();
    while (!isOver()) {
      const next = this.#heap[0];
      if (!next || next.at > end) {
        this.#now = Math.max(this.#now, end);
        return;
      }
      this.#pop();
      if (!this.#isDue(next)) continue;
      this.#now = next.at;
      next.run?.();
      await settled();
    }
  }

  /** What was taken back is dropped, what was put off is laid where it belongs. */
  #isDue(entry: Entry): boolean {
    if (entry.run && entry.order !== entry.dueOrder) {
      entry.at = entry.dueAt;
      entry.order = entry.dueOrder;
      this.#push(entry);
      return false;
    }
    entry.isOver = true;
    return entry.run !== null;
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(entry);
    while (at > 0) {
      const above = (at - 1) >> 1;
      const parent = heap[above];
      if (!parent || isBefore(parent, entry)) break;
      heap[at] = parent;
      at = above;
    }
    heap[at] = entry;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (!last || heap.length === 0) return;
    let at = 0;
    for (;;) {
      const below = this.#smaller(at);
      const child = heap[below];
      if (!child || isBefore(last, child)) break;
      heap[at] = child;
      at = below;
    }
    heap[at] = last;
  }

  #smaller(at: number): number {
    const left = this.#heap[2 * at + 1];
    const right = this.#heap[2 * at + 2];
    return left && right && isBefore(right, left) ? 2 * at + 2 : 2 * at + 1;
  }
}

const isBefore = (a: Entry, b: Entry): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);

/** After everything that promises can do by themselves: Node empties their queue before the next tick, and asks no operating system. */
const settled = (): Promise<void> =>
  new Promise((resolve) => {
    process.nextTick(resolve);
  });
