import { setTimeout as sleep } from 'node:timers/promises';
import { context as traces, SpanKind } from '@opentelemetry/api';
import { AckPolicy, DeliverPolicy, type Consumer, type ConsumerConfig, type JsMsg } from '@nats-io/jetstream';
import { Fault } from '@casvault/contracts';
import { verdictFor } from './fault-to-ack.js';
import { headerNames, incomingContext } from './headers.js';
import { Limiter } from './limiter.js';
import { type MessageContext } from './message-context.js';
import { type NatsLink } from './nats-link.js';
import { type HandlerTelemetry } from './telemetry.js';

/** A durable consumer as the server keeps it. */
export interface Durable {
  readonly stream: string;
  /** Shared by the replicas of a service. */
  readonly durable: string;
  readonly subject: string;
  /** The server forgets the consumer after this time without anybody asking; 0: never. */
  readonly inactiveThresholdMs: number;
}

export interface DurableConsumerOptions extends Durable {
  readonly link: NatsLink;
  readonly telemetry: HandlerTelemetry;
  readonly maxInFlight: number;
  readonly handle: (data: Uint8Array, context: MessageContext) => Promise<void>;
}

const nanos = (ms: number): number => ms * 1_000_000;
const ackWaitMs = 30_000;
const progressEveryMs = 10_000;
/** A pull asks for no more than can be handled now, so that nothing waits here that another replica could take. */
const pullMs = 5_000;

/** Makes the consumer on the server where it is not there, with its stream; one that is there stays as it is. */
export const ensureDurable = async (link: NatsLink, options: Durable, anew: boolean): Promise<void> => {
  const { stream, durable, subject, inactiveThresholdMs } = options;
  const config: Partial<ConsumerConfig> = {
    durable_name: durable,
    filter_subject: subject,
    ack_policy: AckPolicy.Explicit,
    ack_wait: nanos(ackWaitMs),
    max_deliver: -1,
    max_ack_pending: 1_000,
    deliver_policy: DeliverPolicy.All,
    ...(inactiveThresholdMs > 0 ? { inactive_threshold: nanos(inactiveThresholdMs) } : {}),
  };
  await link.ensureStreams(anew);
  await link.manager.consumers.add(stream, config);
};

/**
 * Takes the messages of one durable consumer, handles up to `maxInFlight` at the same time and acknowledges each by how
 * it ended (fault-to-ack.ts). A handler may take hours: the server is told that work goes on. Makes the consumer anew when
 * the server lost it; survives any outage. There is no limit of deliveries: a message ends by ack or term alone.
 */
export class DurableConsumer {
  readonly #o: DurableConsumerOptions;
  readonly #limiter: Limiter;
  readonly #stopping = new AbortController();
  readonly #abandon = new AbortController();
  #loop: Promise<void> | null = null;

  constructor(options: DurableConsumerOptions) {
    this.#o = options;
    this.#limiter = new Limiter(options.maxInFlight);
  }

  start(): void {
    this.#loop ??= this.#run();
  }

  /** Takes nothing new, waits up to `graceMs` for handlers, then aborts them; their messages come again. */
  async drain(graceMs: number): Promise<void> {
    this.#stopping.abort();
    const idle = this.#idle();
    const timer = new AbortController();
    await Promise.race([idle, sleep(graceMs, undefined, { signal: timer.signal }).catch(() => undefined)]);
    timer.abort();
    this.#abandon.abort();
    await idle;
  }

  /** The loop may itself be waiting for a handler. */
  async #idle(): Promise<void> {
    await this.#loop;
    await this.#limiter.whenIdle();
  }

  async #run(): Promise<void> {
    const { link, durable, subject } = this.#o;
    for (let failures = 0; !this.#stopping.signal.aborted;)
      try {
        const consumer = await this.#consumer(failures > 0);
        while (!this.#stopping.signal.aborted) {
          await this.#pull(consumer);
          failures = 0;
        }
      } catch (error) {
        if (this.#stopping.signal.aborted) return;
        failures += 1;
        const level = failures > 2 ? 'warn' : 'debug';
        link.options.logger[level](
          { err: error, durable, subject },
          'consumer interrupted, taking it up again',
        );
        await this.#pause(Math.min(2_000, 100 * 2 ** Math.min(failures, 8)));
      }
  }

  async #consumer(anew: boolean): Promise<Consumer> {
    const { link, stream, durable } = this.#o;
    await link.whenConnected(2_000);
    await ensureDurable(link, this.#o, anew);
    return link.jetstream.consumers.get(stream, durable);
  }

  async #pull(consumer: Consumer): Promise<void> {
    await this.#limiter.whenFree();
    const stop = this.#stopping.signal;
    if (stop.aborted) return;
    const messages = await consumer.fetch({ max_messages: this.#limiter.free, expires: pullMs });
    const close = () => messages.stop();
    stop.addEventListener('abort', close, { once: true });
    try {
      for await (const message of messages) {
        if (stop.aborted) message.nak();
        else void this.#limiter.run(() => this.#one(message));
      }
    } finally {
      stop.removeEventListener('abort', close);
    }
  }

  /** Never rejects. */
  async #one(message: JsMsg): Promise<void> {
    const { telemetry, handle, stream } = this.#o;
    const attempt = message.info.deliveryCount;
    const context: MessageContext = {
      subject: message.subject,
      messageId: message.headers?.get(headerNames.messageId) || `${stream}-${message.seq}`,
      attempt,
      actor: message.headers?.get(headerNames.actor) || null,
      signal: this.#abandon.signal,
    };
    const progress = setInterval(() => message.working(), progressEveryMs);
    const sender = incomingContext(message.headers);
    try {
      const work = () => handle(message.data, context);
      await telemetry.handle(this.#o.subject, sender, SpanKind.CONSUMER, work);
      message.ack();
    } catch (error) {
      traces.with(sender, () => this.#failed(message, context, Fault.from(error)));
    } finally {
      clearInterval(progress);
    }
  }

  #failed(message: JsMsg, { subject, messageId, attempt }: MessageContext, fault: Fault): void {
    const { logger } = this.#o.link.options;
    if (this.#abandon.signal.aborted) return message.nak();
    const verdict = verdictFor(fault, attempt);
    const fields = { err: fault, subject, messageId, attempt, ...verdict };
    if (verdict.verdict === 'nak') {
      logger.warn(fields, 'message failed, it comes again');
      return message.nak(verdict.delayMs);
    }
    const level = fault.kind === 'bug' || fault.kind === 'corrupt' ? 'error' : 'info';
    logger[level](fields, 'message refused');
    message.term(fault.code);
  }

  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#stopping.signal }).catch(() => undefined);
  }
}
