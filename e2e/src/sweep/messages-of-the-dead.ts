import { setTimeout as sleep } from 'node:timers/promises';
import { jetstreamManager, type JetStreamManager } from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';

const soonNs = 50_000_000;
const lookedAfterMs = 400;

/** Lets messages that a killed service had taken and not acknowledged come again at once instead of after half a minute. */
export class MessagesOfTheDead implements AsyncDisposable {
  readonly #connection: NatsConnection;
  readonly #manager: JetStreamManager;

  private constructor(connection: NatsConnection, manager: JetStreamManager) {
    this.#connection = connection;
    this.#manager = manager;
  }

  static async connect(url: string): Promise<MessagesOfTheDead> {
    const connection = await connect({ servers: url });
    return new MessagesOfTheDead(connection, await jetstreamManager(connection));
  }

  /** While `service` is down or starts. Its consumers are as they were when this returns. */
  async release(service: string): Promise<void> {
    const waiting: { stream: string; name: string; ackWait: number }[] = [];
    for await (const stream of this.#manager.streams.list())
      for await (const { name, num_ack_pending, config } of this.#manager.consumers.list(stream.config.name))
        if (name.startsWith(`${service}_`) && num_ack_pending > 0)
          waiting.push({ stream: stream.config.name, name, ackWait: config.ack_wait ?? 0 });
    for (const { stream, name } of waiting)
      await this.#manager.consumers.update(stream, name, { ack_wait: soonNs });
    if (waiting.length > 0) await sleep(lookedAfterMs);
    for (const { stream, name, ackWait } of waiting)
      await this.#manager.consumers.update(stream, name, { ack_wait: ackWait });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection.close();
  }
}
