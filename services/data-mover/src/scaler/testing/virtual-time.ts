import { type Clock } from '@casvault/contracts';

/** Numbers that a seed replays (mulberry32). */
export class Chance {
  #state: number;
  constructor(seed: number) {
    this.#state = seed;
  }
  /** From 0 up to, not including, 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let bits = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 4_294_967_296;
  }
  between(low: number, high: number): number {
    return low + this.next() * (high - low);
  }
  happens(probability: number): boolean {
    return this.next() < probability;
  }
  pick<T>(items: readonly T[]): T | undefined {
    return items[Math.floor(this.next() * items.length)];
  }
}

/** Time that passes only from one planned event to the next; between two, everything that can run does. */
export class VirtualTime implements Clock {
  #now = Date.parse('2026-01-01T00:00:00Z');
  /** A heap by time, then order. */
  readonly #events: { at: number; order: number; run: () => void }[] = [];
  #order = 0;

  now(): Date {
    return new Date(this.#now);
  }
  readonly monotonic = (): number => this.#now;

  after(ms: number, run: () => void): void {
    const heap = this.#events;
    const event = { at: this.#now + ms, order: this.#order++, run };
    let index = heap.length;
    heap.push(event);
    for (; index > 0;) {
      const parent = (index - 1) >> 1;
      if (!this.#isBefore(event, heap[parent]!)) break;
      heap[index] = heap[parent]!;
      index = parent;
    }
    heap[index] = event;
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.after(ms, resolve));
  }

  /** Until `over` says so; throws when nothing is planned any more. */
  async run(over: () => boolean): Promise<void> {
    while (!over()) {
      const event = this.#take();
      this.#now = event.at;
      event.run();
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  #isBefore(a: { at: number; order: number }, b: { at: number; order: number }): boolean {
    return a.at < b.at || (a.at === b.at && a.order < b.order);
  }

  #take(): { at: number; run: () => void } {
    const heap = this.#events;
    const first = heap[0];
    const last = heap.pop();
    if (!first || !last) throw new Error('nothing is planned');
    if (heap.length === 0) return first;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && this.#isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!this.#isBefore(heap[child]!, last)) break;
      heap[index] = heap[child]!;
      index = child;
    }
    heap[index] = last;
    return first;
  }
}
