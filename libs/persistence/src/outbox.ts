import { context, propagation } from '@opentelemetry/api';
import { type Clock, type Command, type Event, type Logger } from '@casvault/contracts';
import { type z } from 'zod';
import { type DataSource } from 'typeorm';
import { asDatabaseFault } from './database-fault.js';
import { inTransaction, type Transaction } from './database.js';

/** A message as it waits in the outbox. */
export interface OutgoingMessage {
  readonly messageId: string;
  readonly subject: string;
  readonly payload: unknown;
  readonly traceparent: string | null;
}

/**
 * Publishes with this transaction: the message goes out, at least once and in order, if and only if the transaction
 * commits. For services without a machine; a machine's effects are its outbox. `messageId` names the fact, so that a
 * repetition of the transaction publishes nothing twice.
 */
export const publishWith = async <P extends z.ZodType>(
  tx: Transaction,
  contract: Command<P> | Event<P>,
  payload: z.input<P>,
  messageId: string,
): Promise<void> => {
  const carrier: Record<string, string> = {};
  propagation.inject(context.active(), carrier);
  await tx.query(
    'INSERT INTO outbox (message_id, subject, payload, traceparent) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING',
    [
      messageId,
      contract.subject,
      JSON.stringify(contract.payload.parse(payload)),
      carrier['traceparent'] ?? null,
    ],
  );
};

export interface OutboxRelayOptions {
  readonly database: DataSource;
  /** Hands one message over durably, or throws: it is tried again. */
  readonly publish: (message: OutgoingMessage) => Promise<void>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly pollMs?: number;
}

const batch = 100;

/** Moves the outbox to the broker. Any number of processes may run one: a lock lets one of them at a time. */
export class OutboxRelay {
  readonly #o: OutboxRelayOptions;
  #stopping: AbortController | null = null;
  #loop: Promise<void> = Promise.resolve();

  constructor(options: OutboxRelayOptions) {
    this.#o = options;
  }

  start(): void {
    if (this.#stopping) return;
    this.#stopping = new AbortController();
    this.#loop = this.#run(this.#stopping.signal);
  }

  async drain(): Promise<void> {
    this.#stopping?.abort();
    await this.#loop;
    this.#stopping = null;
  }

  async #run(stopping: AbortSignal): Promise<void> {
    const { clock, logger, pollMs = 250 } = this.#o;
    while (!stopping.aborted) {
      let delayMs = pollMs;
      try {
        if ((await this.#relay(stopping)) === batch) delayMs = 0;
      } catch (error) {
        logger.warn({ err: asDatabaseFault(error) }, 'outbox not relayed, trying again');
        delayMs = 2_000;
      }
      if (delayMs > 0) await clock.sleep(delayMs, stopping);
    }
  }

  async #relay(stopping: AbortSignal): Promise<number> {
    return inTransaction(this.#o.database, async (tx) => {
      const [{ locked } = { locked: false }] = await tx.query<{ locked: boolean }[]>(
        "SELECT pg_try_advisory_xact_lock(hashtext('casvault-outbox-' || current_schema())) AS locked",
      );
      if (!locked) return 0;
      const rows = await tx.query<(OutgoingMessage & { seq: string })[]>(
        `SELECT seq, message_id AS "messageId", subject, payload, traceparent FROM outbox ORDER BY seq LIMIT ${batch}`,
      );
      for (const { seq, ...message } of rows) {
        if (stopping.aborted) break;
        await this.#o.publish(message);
        await tx.query('DELETE FROM outbox WHERE seq = $1', [seq]);
      }
      return rows.length;
    });
  }
}
