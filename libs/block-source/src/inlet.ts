/**
 * A parser of incoming bytes: it yields the buffer that the next bytes of the stream belong into, and is resumed when that
 * buffer is full. So it always says where bytes go before they come, and a socket can receive straight into place.
 */
export type Incoming<T> = Generator<Uint8Array, T, void>;

const overrunBytes = 64;

/** Drives one parser, however the stream is cut into pieces. Throws what the parser throws. */
export class Inlet<T> {
  readonly #incoming: Incoming<T>;
  readonly #overrun: () => Error;
  #target: Uint8Array = new Uint8Array(0);
  #result: { readonly value: T } | null = null;

  /** `overrun` makes the error for bytes that come after the parser has returned. */
  constructor(incoming: Incoming<T>, overrun: () => Error) {
    this.#incoming = incoming;
    this.#overrun = overrun;
    this.#resume();
  }

  /** What the parser returned, once it has. */
  get result(): { readonly value: T } | null {
    return this.#result;
  }

  /** Where the next bytes go; never empty. */
  get target(): Uint8Array {
    return this.#target;
  }

  /** Tells that the first `count` bytes of `target` have been filled. */
  advance(count: number): void {
    if (this.#result !== null) throw this.#overrun();
    if (count < this.#target.length) this.#target = this.#target.subarray(count);
    else this.#resume();
  }

  /** For streams that bring their own buffers: copies a piece to where it belongs. */
  feed(piece: Uint8Array): void {
    let at = 0;
    while (at < piece.length) {
      const target = this.#target;
      const count = Math.min(target.length, piece.length - at);
      target.set(piece.subarray(at, at + count));
      at += count;
      this.advance(count);
    }
  }

  #resume(): void {
    for (;;) {
      const step = this.#incoming.next();
      if (step.done === true) {
        this.#result = { value: step.value };
        this.#target = new Uint8Array(overrunBytes);
        return;
      }
      if (step.value.length > 0) {
        this.#target = step.value;
        return;
      }
    }
  }
}
