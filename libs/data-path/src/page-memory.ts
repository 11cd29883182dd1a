/** Node has WebAssembly; its types come with the DOM, which this library must not see. */
declare const WebAssembly: {
  readonly Memory: new (pages: { initial: number; maximum: number }) => { readonly buffer: ArrayBuffer };
};

const wasmPageBytes = 65_536;

/** Zeroed memory that begins at a page of the machine and is a multiple of 64 KiB long: file systems can read and write it directly. */
export function pageAlignedBuffer(bytes: number): Buffer {
  const pages = Math.ceil(bytes / wasmPageBytes);
  return Buffer.from(new WebAssembly.Memory({ initial: pages, maximum: pages }).buffer);
}

/** At most `count` buffers, made when first needed; `take` waits for one to come back. Bound: count x bytes of each. */
export class BufferPool {
  readonly #free: Buffer[] = [];
  readonly #waiting: ((buffer: Buffer) => void)[] = [];
  readonly #make: () => Buffer;
  #unmade: number;

  constructor(count: number, make: () => Buffer) {
    this.#unmade = count;
    this.#make = make;
  }

  take(): Promise<Buffer> {
    const free = this.#free.pop();
    if (free !== undefined) return Promise.resolve(free);
    if (this.#unmade > 0) {
      this.#unmade -= 1;
      return Promise.resolve(this.#make());
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  give(buffer: Buffer): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free.push(buffer);
    else next(buffer);
  }
}
