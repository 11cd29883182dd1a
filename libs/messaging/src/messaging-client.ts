import { setTimeout as sleep } from 'node:timers/promises';
import { SpanKind } from '@opentelemetry/api';
import { errors, type Msg, type Subscription } from '@nats-io/transport-node';
import { Fault, type Command, type Event, type Query } from '@casvault/contracts';
import { type z } from 'zod';
import { faultOf, fromBytes, headerNames, outgoingHeaders, toBytes } from './headers.js';
import { NatsLink } from './nats-link.js';
import { type NatsOptions } from './nats-options.js';
import { parsed } from './parse.js';
import { sending } from './telemetry.js';
import { watchedRequest } from './watched-request.js';

export interface RequestOptions {
  readonly signal?: AbortSignal;
  /** 10 s if not given. The handler knows it too. However long it is, the handler's death is known in 3 s, 10 s at the most: DEPENDENCY_UNAVAILABLE. */
  readonly deadlineMs?: number;
  /** On whose behalf; for the audit log. */
  readonly actor?: string;
}
export interface SendOptions {
  /** Names the message: repeated within ten minutes it is stored once; handlers see it always. */
  readonly messageId: string;
  readonly actor?: string;
}

/** What services do with messages: `MessagingClient` over NATS, or a model of it. */
export type Messenger = Pick<MessagingClient, 'request' | 'send' | 'publish'>;

const defaultDeadlineMs = 10_000;
/** How long a request waits for a connection, and for a service that is just starting again. */
const patienceMs = 2_000;
const publishTimeoutMs = 5_000;

const unavailable = (message: string, cause: unknown): Fault =>
  new Fault('DEPENDENCY_UNAVAILABLE', message, { cause });
const isNoResponders = (error: unknown): boolean =>
  error instanceof errors.NoRespondersError ||
  (error instanceof errors.RequestError && error.isNoResponders());

/**
 * Sends messages typed by their contracts. Wrong payloads are a BUG before anything is sent; faults of the peer come out
 * as they went in; whatever is wrong with NATS or the peer's presence is kind `unavailable`.
 */
export class MessagingClient {
  private constructor(readonly link: NatsLink) {}

  /** Waits for the server, for as long as it takes or until the signal; then reconnects for ever. */
  static async connect(options: NatsOptions): Promise<MessagingClient> {
    return new MessagingClient(await NatsLink.connect(options));
  }

  get connected(): boolean {
    return this.link.connected;
  }

  async request<Req extends z.ZodType, Rep extends z.ZodType>(
    query: Query<Req, Rep>,
    payload: z.input<Req>,
    options: RequestOptions = {},
  ): Promise<z.output<Rep>> {
    const { subject } = query;
    const body = toBytes(parsed(query.request, payload, 'BUG', `request of ${subject}`));
    const deadlineMs = options.deadlineMs ?? defaultDeadlineMs;
    const reply = await sending(subject, SpanKind.CLIENT, () =>
      this.#exchange(subject, body, deadlineMs, options),
    );
    const fault = faultOf(reply.headers, reply.data);
    if (fault) throw fault;
    return parsed(query.reply, fromBytes(reply.data), 'BUG', `reply of ${subject}`);
  }

  /** Resolves once the command is stored durably. */
  async send<P extends z.ZodType>(
    command: Command<P>,
    payload: z.input<P>,
    options: SendOptions,
  ): Promise<void> {
    await this.#publish(command.subject, command.payload, payload, options);
  }

  /** Resolves once the event is stored durably. */
  async publish<P extends z.ZodType>(
    event: Event<P>,
    payload: z.input<P>,
    options: SendOptions,
  ): Promise<void> {
    await this.#publish(event.subject, event.payload, payload, options);
  }

  /**
   * Events as they happen, to every caller: for live views. Those that pass while the connection is down are lost.
   * Returns the way to end it.
   */
  subscribeEvents<P extends z.ZodType>(
    event: Event<P>,
    handler: (payload: z.output<P>) => void,
  ): { unsubscribe: () => void } {
    const { logger } = this.link.options;
    const subscription: Subscription = this.link.connection.subscribe(event.subject, {
      callback: (error, message) => {
        if (error) return;
        try {
          handler(parsed(event.payload, fromBytes(message.data), 'BUG', `event ${event.subject}`));
        } catch (fault) {
          logger.error({ err: fault, subject: event.subject }, 'event not handled');
        }
      },
    });
    return { unsubscribe: () => subscription.unsubscribe() };
  }

  /** Sends out what is on its way and closes. */
  async drain(): Promise<void> {
    if (!this.link.connection.isClosed()) await this.link.connection.drain();
  }

  /** Closes at once. */
  async close(): Promise<void> {
    await this.link.connection.close();
  }

  /** For this library: stores bytes in the stream that covers the subject. */
  async store(subject: string, data: Uint8Array, { messageId, actor }: SendOptions): Promise<void> {
    await this.link.whenConnected(patienceMs);
    const attempt = () =>
      this.link.jetstream.publish(subject, data, {
        msgID: messageId,
        headers: outgoingHeaders({ [headerNames.actor]: actor }),
        timeout: publishTimeoutMs,
      });
    try {
      await this.link.ensureStreams();
      await attempt();
    } catch (error) {
      try {
        // A server that came back without its data has no streams: nobody answers on the subject.
        await this.link.ensureStreams(true);
        await attempt();
      } catch {
        throw unavailable(`${subject} was not stored`, error);
      }
    }
  }

  async #publish(subject: string, schema: z.ZodType, payload: unknown, options: SendOptions): Promise<void> {
    const body = toBytes(parsed(schema, payload, 'BUG', `payload of ${subject}`));
    await sending(subject, SpanKind.PRODUCER, () => this.store(subject, body, options));
  }

  async #exchange(
    subject: string,
    body: Uint8Array,
    deadlineMs: number,
    { signal, actor }: RequestOptions,
  ): Promise<Msg> {
    const end = performance.now() + deadlineMs;
    const patient = performance.now() + Math.min(patienceMs, deadlineMs);
    await this.link.whenConnected(Math.min(patienceMs, deadlineMs));
    for (;;)
      try {
        const timeout = Math.max(1, Math.ceil(end - performance.now()));
        const headers = outgoingHeaders({
          [headerNames.deadlineMs]: String(timeout),
          [headerNames.actor]: actor,
        });
        return await watchedRequest(
          this.link.connection,
          { subject, body, headers, timeoutMs: timeout },
          signal,
        );
      } catch (error) {
        if (Fault.is(error)) throw error;
        if (!isNoResponders(error)) throw this.#requestFault(subject, deadlineMs, error);
        if (performance.now() > patient) throw unavailable(`nobody answers ${subject}`, error);
        await sleep(100);
      }
  }

  #requestFault(subject: string, deadlineMs: number, error: unknown): Fault {
    if (error instanceof errors.TimeoutError && this.connected)
      return new Fault('DEADLINE_EXCEEDED', `${subject} was not answered within ${deadlineMs} ms`);
    return unavailable(`${subject} was not answered`, error);
  }
}
