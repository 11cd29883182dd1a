import { SpanKind } from '@opentelemetry/api';
import { transferNudgeSchema, type TransferId } from '@casvault/contracts';
import { DurableConsumer, ensureDurable, type Durable } from './durable-consumer.js';
import { fromBytes, toBytes } from './headers.js';
import { type MessageContext } from './message-context.js';
import { type MessagingClient } from './messaging-client.js';
import { parsed } from './parse.js';
import { streamNames } from './streams.js';
import { HandlerTelemetry, sending } from './telemetry.js';

const plain = /^[A-Za-z0-9_-]{1,64}$/;
/** A group as one token of a subject and as part of a consumer's name: others than plain names are encoded. */
const tokenOf = (group: string): string =>
  plain.test(group) ? group : `=${Buffer.from(group, 'utf8').toString('base64url')}`;

/** Hooks of runs are short, and do not wait behind transfers: their queue is apart. */
export type WorkLane = 'transfers' | 'hooks';
/** No group's token has an `=` behind its first character. */
const queueOf = (group: string, lane: WorkLane): string =>
  lane === 'transfers' ? tokenOf(group) : `${tokenOf(group)}=hooks`;

const durableOf = (group: string, lane: WorkLane): Durable => {
  const token = queueOf(group, lane);
  return {
    stream: streamNames.work,
    durable: `work_${token}`,
    subject: `work.${token}`,
    inactiveThresholdMs: 0,
  };
};

/** So often at most is looked whether the consumers of a group are there. */
const ensureEveryMs = 5_000;

/**
 * The doorbell of the data movers, two queues per group of backup hosts. A nudge says that a transfer may have work; who
 * gets it asks the controller. A nudge is kept until its handler ends, and goes to another worker when its worker dies.
 */
export class WorkQueue {
  readonly #client: MessagingClient;
  /** By group, in ms of the monotonic clock. */
  readonly #ensuredAt = new Map<string, number>();

  constructor(client: MessagingClient) {
    this.#client = client;
  }

  /** Also makes the consumers of the group, so that whoever scales its movers by them (KEDA) sees the nudge before there is a mover. */
  async publishNudge(
    group: string,
    transferId: TransferId,
    messageId: string,
    lane: WorkLane = 'transfers',
  ): Promise<void> {
    const { subject } = durableOf(group, lane);
    const body = toBytes({ transferId });
    await sending(subject, SpanKind.PRODUCER, () => this.#client.store(subject, body, { messageId }));
    await this.#ensureConsumers(group);
  }

  async #ensureConsumers(group: string): Promise<void> {
    const now = performance.now();
    if (now - (this.#ensuredAt.get(group) ?? -Infinity) < ensureEveryMs) return;
    this.#ensuredAt.set(group, now);
    try {
      for (const lane of ['transfers', 'hooks'] as const)
        await ensureDurable(this.#client.link, durableOf(group, lane), false);
    } catch (error) {
      this.#ensuredAt.delete(group);
      throw error;
    }
  }

  /**
   * Takes nudges until the signal aborts, then waits up to `graceMs` for handlers. A handler that returns has settled its
   * nudge; one that throws `unavailable` gets it again, there or elsewhere.
   */
  async consume(
    group: string,
    options: { signal: AbortSignal; maxInFlight: number; graceMs?: number; lane?: WorkLane },
    handler: (nudge: { transferId: TransferId }, context: MessageContext) => Promise<void>,
  ): Promise<void> {
    const durable = durableOf(group, options.lane ?? 'transfers');
    const consumer = new DurableConsumer({
      ...durable,
      link: this.#client.link,
      telemetry: new HandlerTelemetry(),
      maxInFlight: options.maxInFlight,
      handle: (data, context) =>
        handler(parsed(transferNudgeSchema, fromBytes(data), 'INPUT_INVALID', durable.subject), context),
    });
    consumer.start();
    if (!options.signal.aborted)
      await new Promise<void>((resolve) =>
        options.signal.addEventListener('abort', () => resolve(), { once: true }),
      );
    await consumer.drain(options.graceMs ?? 10_000);
  }
}
