import { Server, type CustomTransportStrategy, type MessageHandler } from '@nestjs/microservices';
import { Fault, type Command, type Event, type Query } from '@casvault/contracts';
import { from, isObservable, lastValueFrom } from 'rxjs';
import { DurableConsumer } from './durable-consumer.js';
import { type HandlerExtras } from './handlers.js';
import { fromBytes } from './headers.js';
import { type MessageContext } from './message-context.js';
import { type MessagingClient } from './messaging-client.js';
import { parsed } from './parse.js';
import { QueryServer } from './query-server.js';
import { streamNames } from './streams.js';
import { HandlerTelemetry } from './telemetry.js';

/** A durable that a service no longer asks for (an old version's event) is forgotten after this time. */
const eventsForgottenAfterMs = 7 * 24 * 3_600_000;

/**
 * The transport of a NestJS microservice: serves the methods marked `@OnQuery`, `@OnCommand` and `@OnEvent` over the
 * client's connection. Closing it lets handlers end for up to `graceMs`.
 */
export class NatsTransport extends Server implements CustomTransportStrategy {
  readonly #client: MessagingClient;
  readonly #graceMs: number;
  #queries: QueryServer | null = null;
  #consumers: DurableConsumer[] = [];

  constructor(client: MessagingClient, options: { graceMs?: number } = {}) {
    super();
    this.#client = client;
    this.#graceMs = options.graceMs ?? 10_000;
  }

  override addHandler(
    pattern: string,
    callback: MessageHandler,
    isEventHandler?: boolean,
    extras?: Record<string, unknown>,
  ): void {
    if (this.messageHandlers.has(pattern)) throw new Fault('BUG', `two handlers for ${pattern}`);
    super.addHandler(pattern, callback, isEventHandler, extras);
  }

  listen(callback: (error?: unknown) => void): void {
    const telemetry = new HandlerTelemetry();
    this.#queries = new QueryServer(this.#client.link, telemetry);
    for (const handler of this.messageHandlers.values()) {
      const { contract, options } = handler.extras as unknown as HandlerExtras;
      if (contract.contract === 'query') this.#serve(this.#queries, contract, handler);
      else this.#consume(contract, options.maxInFlight ?? 1, handler, telemetry);
    }
    for (const consumer of this.#consumers) consumer.start();
    callback();
  }

  async close(): Promise<void> {
    const draining = this.#consumers.map((consumer) => consumer.drain(this.#graceMs));
    await this.#queries?.drain(this.#graceMs);
    await Promise.all(draining);
    this.#consumers = [];
  }

  on(): never {
    throw new Fault('BUG', 'the transport has no events');
  }
  unwrap<T>(): T {
    return this.#client.link.connection as T;
  }

  #serve(queries: QueryServer, contract: Query, handler: MessageHandler): void {
    const { subject, request, reply } = contract;
    queries.serve(subject, async (data, context) => {
      const payload = parsed(request, fromBytes(data), 'INPUT_INVALID', subject);
      return parsed(reply, await invoke(handler, payload, context), 'BUG', `reply of ${subject}`);
    });
  }

  #consume(
    contract: Command | Event,
    maxInFlight: number,
    handler: MessageHandler,
    telemetry: HandlerTelemetry,
  ): void {
    const { subject, owner, name, version, payload: schema } = contract;
    const link = this.#client.link;
    const isEvent = contract.contract === 'event';
    const consumer = new DurableConsumer({
      link,
      telemetry,
      stream: isEvent ? streamNames.events : streamNames.commands,
      durable: `${link.options.service}_${owner}_${name}_v${version}`,
      subject,
      maxInFlight,
      inactiveThresholdMs: isEvent ? eventsForgottenAfterMs : 0,
      handle: async (data, context) => {
        await invoke(handler, parsed(schema, fromBytes(data), 'INPUT_INVALID', subject), context);
      },
    });
    this.#consumers.push(consumer);
  }
}

const invoke = async (
  handler: MessageHandler,
  payload: unknown,
  context: MessageContext,
): Promise<unknown> => {
  const result: unknown = await handler(payload, context);
  return isObservable(result) ? lastValueFrom(from(result), { defaultValue: undefined }) : result;
};
