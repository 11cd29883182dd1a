import { parentPort, Worker, type Transferable } from 'node:worker_threads';
import { Fault, type FaultJson } from '@casvault/contracts';

/*
 * Calls into a worker thread: request and reply, an abort, an orderly end. Both sides of the wire are here.
 */

/** What a kind of thread can be called for: name -> [request, reply]. */
export type Calls<C> = Record<keyof C, [request: unknown, reply: unknown]>;

type ToThread =
  | { readonly type: 'call'; readonly id: number; readonly name: string; readonly request: unknown }
  | { readonly type: 'abort'; readonly fault: FaultJson }
  | { readonly type: 'end' };
type FromThread =
  | { readonly type: 'reply'; readonly id: number; readonly reply: unknown }
  | { readonly type: 'failed'; readonly id: number; readonly fault: FaultJson };

/** A thread that does not end by itself in this time, after an abort or when told, is terminated. */
const endPatienceMs = 5_000;

/** A worker thread as its owner sees it. Whoever starts one must end it. */
export class Thread<C extends Calls<C>> {
  readonly #worker: Worker;
  readonly #signal: AbortSignal;
  readonly #exited: Promise<void>;
  readonly #waiting = new Map<number, { resolve: (reply: never) => void; reject: (fault: Fault) => void }>();
  #nextId = 0;
  #gone: Fault | null = null;
  #force: NodeJS.Timeout | null = null;

  /** `workerData` must be plain data. When `signal` aborts, the thread aborts what it does and its calls reject. */
  constructor(file: URL, workerData: unknown, signal: AbortSignal) {
    this.#worker = new Worker(file, { workerData });
    this.#signal = signal;
    this.#exited = new Promise((resolve) => this.#worker.once('exit', () => resolve()));
    this.#worker.on('message', (message: FromThread) => {
      this.#receive(message);
    });
    this.#worker.on('error', (error) => {
      this.#lose(new Fault('BUG', `a worker thread failed: ${String(error)}`, { cause: error }));
    });
    this.#worker.on('exit', () => {
      if (this.#force !== null) clearTimeout(this.#force);
      this.#lose(new Fault('BUG', 'a worker thread ended before its work did'));
    });
    signal.addEventListener('abort', this.#abort);
    if (signal.aborted) this.#abort();
  }

  call<N extends keyof C & string>(
    name: N,
    request: C[N][0],
    transfer: readonly Transferable[] = [],
  ): Promise<C[N][1]> {
    if (this.#gone !== null) return Promise.reject(this.#gone);
    const id = (this.#nextId += 1);
    return new Promise<C[N][1]>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#send({ type: 'call', id, name, request }, transfer);
    });
  }

  /** Lets the thread finish and waits for its exit; by force when it takes too long. Does not reject. */
  async end(): Promise<void> {
    this.#signal.removeEventListener('abort', this.#abort);
    if (this.#gone === null) this.#send({ type: 'end' });
    this.#forceLater();
    await this.#exited;
  }

  #forceLater(): void {
    this.#force ??= setTimeout(() => void this.#worker.terminate(), endPatienceMs);
  }

  readonly #abort = (): void => {
    if (this.#gone !== null) return;
    this.#send({ type: 'abort', fault: Fault.ofAbort(this.#signal).toJSON() });
    // A thread stuck in a pool that does not answer would keep its calls open.
    this.#forceLater();
  };

  #send(message: ToThread, transfer: readonly Transferable[] = []): void {
    this.#worker.postMessage(message, transfer);
  }

  #receive(message: FromThread): void {
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (message.type === 'reply') waiting?.resolve(message.reply as never);
    else waiting?.reject(Fault.fromJSON(message.fault));
  }

  #lose(fault: Fault): void {
    this.#gone ??= this.#signal.aborted ? Fault.ofAbort(this.#signal) : fault;
    for (const { reject } of this.#waiting.values()) reject(this.#gone);
    this.#waiting.clear();
  }
}

type Handlers<C extends Calls<C>> = { readonly [N in keyof C]: (request: C[N][0]) => Promise<C[N][1]> };

/**
 * The inside of a thread: serves calls until it is told to end, then closes. `open` gets the signal that aborts with the owner's; `close`
 * is called once at the end, whatever happened.
 */
export function serveThread<C extends Calls<C>>(
  open: (signal: AbortSignal) => { readonly handlers: Handlers<C>; readonly close: () => Promise<void> },
): void {
  const port = parentPort;
  if (port === null) throw new Fault('BUG', 'not in a worker thread');
  const controller = new AbortController();
  const { handlers, close } = open(controller.signal);
  const answer = async (id: number, name: string, request: unknown): Promise<FromThread> => {
    try {
      const handler = handlers[name as keyof C];
      return { type: 'reply', id, reply: await handler(request) };
    } catch (error) {
      return { type: 'failed', id, fault: Fault.from(error).toJSON() };
    }
  };
  port.on('message', (message: ToThread) => {
    if (message.type === 'abort') controller.abort(Fault.fromJSON(message.fault));
    else if (message.type === 'call') {
      void answer(message.id, message.name, message.request).then((reply) => {
        port.postMessage(reply);
      });
    } else {
      // Nothing but the port keeps the thread alive after this.
      void close().finally(() => {
        port.close();
      });
    }
  });
}
