import { setTimeout as sleep } from 'node:timers/promises';
import { context as traces, SpanKind } from '@opentelemetry/api';
import { createInbox, headers, type Msg, type Subscription } from '@nats-io/transport-node';
import { Fault, newId } from '@casvault/contracts';
import { faultHeaders, headerNames, incomingContext, toBytes } from './headers.js';
import { Limiter } from './limiter.js';
import { type MessageContext } from './message-context.js';
import { type NatsLink } from './nats-link.js';
import { type HandlerTelemetry } from './telemetry.js';
import { aliveEveryMs } from './watched-request.js';

/** Returns the reply as a JSON value. */
export type HandleQuery = (data: Uint8Array, context: MessageContext) => Promise<unknown>;

/** Queries handled at once and waiting, over all subjects of the process: with requests of at most 1 MiB, 544 MiB at worst. */
const inFlight = 32;
const mayWait = 512;
const defaultDeadlineMs = 10_000;

/** False when the connection is closed: the caller hears nothing, which is what there is to hear. */
const sayAlive = (message: Msg, everyMs: number, handler: string): boolean => {
  const said = headers();
  said.set(headerNames.aliveMs, String(everyMs));
  said.set(headerNames.handler, handler);
  try {
    return message.respond(undefined, { headers: said });
  } catch {
    return false;
  }
};

/** At once, so that the caller knows whose death to look for, and until the returned call; if whoever asked wants to hear it. */
const tellAlive = (message: Msg, handler: string): (() => void) => {
  const everyMs = Number(message.headers?.get(headerNames.aliveMs));
  if (!(everyMs > 0)) return () => undefined;
  sayAlive(message, everyMs, handler);
  const timer = setInterval(() => {
    if (!sayAlive(message, everyMs, handler)) clearInterval(timer);
  }, everyMs);
  return () => clearInterval(timer);
};

/** Answers queries; the replicas of a service share them (one queue group). */
export class QueryServer {
  readonly #limiter = new Limiter(inFlight);
  readonly #subscriptions: Subscription[] = [];
  /** Answered by this process alone, until its connection ends: the server itself tells a caller when nobody answers here. */
  readonly #here = createInbox();
  readonly #abandon = new AbortController();

  constructor(
    readonly link: NatsLink,
    readonly telemetry: HandlerTelemetry,
  ) {
    this.link.connection.subscribe(this.#here, {
      callback: (error, message) => {
        if (error === null) sayAlive(message, aliveEveryMs, this.#here);
      },
    });
  }

  serve(subject: string, handle: HandleQuery): void {
    const subscription = this.link.connection.subscribe(subject, {
      queue: this.link.options.service,
      callback: (error, message) => {
        if (error) this.link.options.logger.warn({ err: error, subject }, 'query subscription failed');
        else void this.#receive(subject, message, handle);
      },
    });
    this.#subscriptions.push(subscription);
  }

  async drain(graceMs: number): Promise<void> {
    for (const subscription of this.#subscriptions) if (!subscription.isClosed()) await subscription.drain();
    const idle = this.#limiter.whenIdle();
    const timer = new AbortController();
    await Promise.race([idle, sleep(graceMs, undefined, { signal: timer.signal }).catch(() => undefined)]);
    timer.abort();
    this.#abandon.abort();
    await idle;
  }

  async #receive(subject: string, message: Msg, handle: HandleQuery): Promise<void> {
    if (this.#limiter.waiting >= mayWait)
      return this.#refuse(message, new Fault('DEPENDENCY_UNAVAILABLE', `${subject}: too many requests wait`));
    const deadline =
      performance.now() + (Number(message.headers?.get(headerNames.deadlineMs)) || defaultDeadlineMs);
    const over = tellAlive(message, this.#here);
    try {
      await this.#limiter.run(async () => {
        const left = deadline - performance.now();
        // Nobody waits for it any more.
        if (left > 0) await this.#answer(subject, message, handle, left);
      });
    } finally {
      over();
    }
  }

  async #answer(subject: string, message: Msg, handle: HandleQuery, leftMs: number): Promise<void> {
    const over = new AbortController();
    const timer = setTimeout(() => over.abort(), leftMs);
    const stop = () => over.abort();
    this.#abandon.signal.addEventListener('abort', stop, { once: true });
    const context: MessageContext = {
      subject,
      messageId: newId(),
      attempt: 1,
      actor: message.headers?.get(headerNames.actor) || null,
      signal: over.signal,
    };
    const sender = incomingContext(message.headers);
    try {
      const work = () => handle(message.data, context);
      const reply = await this.telemetry.handle(subject, sender, SpanKind.SERVER, work);
      message.respond(toBytes(reply));
    } catch (error) {
      traces.with(sender, () => this.#refuse(message, Fault.from(error)));
    } finally {
      clearTimeout(timer);
      this.#abandon.signal.removeEventListener('abort', stop);
    }
  }

  #refuse(message: Msg, fault: Fault): void {
    const { logger } = this.link.options;
    if (fault.kind === 'bug' || fault.kind === 'corrupt')
      logger.error({ err: fault, subject: message.subject }, 'query failed');
    else logger.debug({ err: fault, subject: message.subject }, 'query refused');
    try {
      message.respond(toBytes(fault), { headers: faultHeaders(fault) });
    } catch (error) {
      logger.warn({ err: error, subject: message.subject }, 'query not answered');
    }
  }
}
