import { parentPort, Worker, type Transferable } from 'node:worker_threads';
import { Fault, type FaultJson } from '@casvault/contracts';
import { type RestingThreads } from './resting-threads.js';

/*
 * Calls into a worker thread: sessions of one kind or another, each with request and reply, an abort, an orderly end. Both sides of the wire
 * are here.
 */

/** What the threads of backups and restores run. */
export const engineThread = new URL('./engine.worker.js', import.meta.url);

/** Starts up to `count` threads of the engine, to rest until a call takes them up: for a caller who will make one soon. */
export const warmEngine = (resting: RestingThreads, count: number): void => resting.warm(engineThread, count);

/** What a kind of thread can be called for: name -> [request, reply]. */
export type Calls<C> = Record<keyof C, [request: unknown, reply: unknown]>;

type ToThread =
  | { readonly type: 'open'; readonly kind: string; readonly data: unknown }
  | { readonly type: 'call'; readonly id: number; readonly name: string; readonly request: unknown }
  | { readonly type: 'abort'; readonly fault: FaultJson }
  /** The session is over; the thread waits for another one, or exits. */
  | { readonly type: 'end'; readonly stays: boolean };
type FromThread =
  | { readonly type: 'ended' }
  | { readonly type: 'reply'; readonly id: number; readonly reply: unknown }
  | { readonly type: 'failed'; readonly id: number; readonly fault: FaultJson };

/** A thread that does not end by itself in this time, after an abort or when told, is terminated. */
const endPatienceMs = 5_000;

export interface ThreadStart {
  /** What the thread runs: a file that calls `serveThread`. */
  readonly file: URL;
  /** The session, and what it is opened with: plain data. */
  readonly kind: string;
  readonly data: unknown;
  /** When it aborts, the thread aborts what it does and its calls reject. */
  readonly signal: AbortSignal;
  /** Where the thread comes from and goes to, if one rests there; absent: it starts and ends with the session. */
  readonly resting?: RestingThreads | undefined;
}

/** A session of a worker thread as its owner sees it. Whoever starts one must end it. */
export class Thread<C extends Calls<C>> {
  readonly #start: ThreadStart;
  readonly #worker: Worker;
  readonly #over: Promise<void>;
  readonly #waiting = new Map<number, { resolve: (reply: never) => void; reject: (fault: Fault) => void }>();
  #isOver: () => void = () => undefined;
  #nextId = 0;
  #gone: Fault | null = null;
  #force: NodeJS.Timeout | null = null;

  constructor(start: ThreadStart) {
    const { file, kind, data, signal, resting } = start;
    this.#start = start;
    this.#worker = resting?.take(file) ?? new Worker(file);
    this.#over = new Promise((resolve) => (this.#isOver = resolve));
    this.#worker.on('message', this.#receive).on('error', this.#fail).on('exit', this.#exit);
    this.#send({ type: 'open', kind, data });
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

  /** Lets the session finish and waits for its end; by force when it takes too long. Does not reject. */
  async end(): Promise<void> {
    const { signal, resting } = this.#start;
    signal.removeEventListener('abort', this.#abort);
    // One that was aborted, or has a call open, may be stuck in it.
    const stays = resting !== undefined && !signal.aborted && this.#waiting.size === 0;
    if (this.#gone === null) this.#send({ type: 'end', stays });
    this.#forceLater();
    await this.#over;
    if (this.#force !== null) clearTimeout(this.#force);
  }

  #forceLater(): void {
    this.#force ??= setTimeout(() => void this.#worker.terminate(), endPatienceMs);
  }

  readonly #abort = (): void => {
    if (this.#gone !== null) return;
    this.#send({ type: 'abort', fault: Fault.ofAbort(this.#start.signal).toJSON() });
    // A thread stuck in a pool that does not answer would keep its calls open.
    this.#forceLater();
  };

  #send(message: ToThread, transfer: readonly Transferable[] = []): void {
    this.#worker.postMessage(message, transfer);
  }

  readonly #receive = (message: FromThread): void => {
    if (message.type === 'ended') {
      this.#leave();
      return;
    }
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (message.type === 'reply') waiting?.resolve(message.reply as never);
    else waiting?.reject(Fault.fromJSON(message.fault));
  };

  /** The session is over and the thread is not. */
  #leave(): void {
    const { file, resting } = this.#start;
    const worker = this.#worker
      .off('message', this.#receive)
      .off('error', this.#fail)
      .off('exit', this.#exit);
    this.#lose(new Fault('BUG', 'a call after the end of its session'));
    if (resting?.give(file, worker) === true) this.#isOver();
    else void worker.terminate().finally(this.#isOver);
  }

  readonly #fail = (error: Error): void => {
    this.#lose(new Fault('BUG', `a worker thread failed: ${String(error)}`, { cause: error }));
  };

  readonly #exit = (): void => {
    this.#lose(new Fault('BUG', 'a worker thread ended before its work did'));
    this.#isOver();
  };

  #lose(fault: Fault): void {
    const { signal } = this.#start;
    this.#gone ??= signal.aborted ? Fault.ofAbort(signal) : fault;
    for (const { reject } of this.#waiting.values()) reject(this.#gone);
    this.#waiting.clear();
  }
}

type Handlers<C extends Calls<C>> = { readonly [N in keyof C]: (request: C[N][0]) => Promise<C[N][1]> };

/** What a thread does for one owner. `close` is called once at the end, whatever happened. */
export interface Session<C extends Calls<C>> {
  readonly handlers: Handlers<C>;
  readonly close: () => Promise<void>;
}
/** A session of any kind: only its owner knows what its calls take. */
interface AnySession {
  readonly handlers: Readonly<Record<string, (request: never) => Promise<unknown>>>;
  readonly close: () => Promise<void>;
}
/** Opens a session with its owner's data; `signal` aborts with the owner's. */
type OpenSession = (data: unknown, signal: AbortSignal) => AnySession;

interface OpenedSession {
  readonly session: AnySession;
  readonly controller: AbortController;
}

const answer = async (
  opened: OpenedSession,
  id: number,
  name: string,
  request: unknown,
): Promise<FromThread> => {
  try {
    const handler = opened.session.handlers[name];
    if (handler === undefined) throw new Fault('BUG', `a session has no call ${name}`);
    return { type: 'reply', id, reply: await handler(request as never) };
  } catch (error) {
    return { type: 'failed', id, fault: Fault.from(error).toJSON() };
  }
};

/** The inside of a thread: serves one session after another, of the kinds that it knows, until it is told to exit. */
export function serveThread(kinds: Readonly<Record<string, OpenSession>>): void {
  const port = parentPort;
  if (port === null) throw new Fault('BUG', 'not in a worker thread');
  let opened: OpenedSession | null = null;
  const open = (kind: string, data: unknown): OpenedSession => {
    const controller = new AbortController();
    const openKind = kinds[kind];
    if (openKind === undefined) throw new Fault('BUG', `a thread has no sessions of kind ${kind}`);
    return { session: openKind(data, controller.signal), controller };
  };
  const end = async (stays: boolean): Promise<void> => {
    const { session } = current();
    opened = null;
    const isClosed = await session.close().then(
      () => true,
      () => false,
    );
    if (stays && isClosed) port.postMessage({ type: 'ended' } satisfies FromThread);
    // Nothing but the port keeps the thread alive after this.
    else port.close();
  };
  const current = (): OpenedSession => {
    if (opened === null) throw new Fault('BUG', 'a message without a session');
    return opened;
  };
  port.on('message', (message: ToThread) => {
    if (message.type === 'open') opened = open(message.kind, message.data);
    else if (message.type === 'abort') current().controller.abort(Fault.fromJSON(message.fault));
    else if (message.type === 'end') void end(message.stays);
    else
      void answer(current(), message.id, message.name, message.request).then((reply) => {
        port.postMessage(reply);
      });
  });
}
