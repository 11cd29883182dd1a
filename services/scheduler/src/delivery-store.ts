import { randomUUID } from 'node:crypto';
import { type Alert, type AlertChannelId, type AlertTest, type ChannelSettings } from '@casvault/contracts';
import { reading } from '@casvault/persistence';
import { type DataSource } from 'typeorm';

/** A delivery that is ours until its lease ends. */
export interface ClaimedDelivery {
  readonly alert: Alert;
  readonly channelId: AlertChannelId;
  readonly settings: ChannelSettings;
  /** This one included. */
  readonly attempts: number;
  readonly claim: string;
}

/** Who is to be told of which alert. A delivery is tried by one process at a time, by the clock of Postgres. */
export class DeliveryStore {
  constructor(private readonly database: DataSource) {}

  /** The delivery that is due for longest, of a channel that nobody sends to just now; null: none. */
  async claim(leaseMs: number): Promise<ClaimedDelivery | null> {
    const claim = randomUUID();
    return reading(this.database, async (source) => {
      const [rows] = await source.query<[ClaimedDelivery[], number]>(
        `WITH next AS (
           SELECT d.alert_id, d.channel_id FROM alert_delivery d
           WHERE d.state = 'waiting' AND d.due_at <= clock_timestamp()
             AND NOT EXISTS (SELECT FROM alert_delivery busy
               WHERE busy.channel_id = d.channel_id AND busy.claim IS NOT NULL AND busy.due_at > clock_timestamp())
           ORDER BY d.due_at LIMIT 1 FOR UPDATE SKIP LOCKED)
         UPDATE alert_delivery m
         SET claim = $1, attempts = attempts + 1, due_at = clock_timestamp() + $2 * interval '1 millisecond'
         FROM next, alert a, alert_channel c
         WHERE m.alert_id = next.alert_id AND m.channel_id = next.channel_id AND a.id = m.alert_id AND c.id = m.channel_id
         RETURNING a.alert, m.channel_id AS "channelId", c.settings, m.attempts, m.claim`,
        [claim, leaseMs],
      );
      return rows[0] ?? null;
    });
  }

  /**
   * Writes what an attempt came to; after a failed one it is tried again in `retryMs`, or given up when that is null. Nothing
   * when the lease has ended and another has taken it.
   */
  async settle(
    { claim }: ClaimedDelivery,
    { delivered, error }: AlertTest,
    retryMs: number | null,
  ): Promise<void> {
    const failed = retryMs === null ? 'given up' : 'waiting';
    await reading(this.database, (source) =>
      source.query(
        `UPDATE alert_delivery SET claim = NULL, state = $2, error = $3,
           due_at = clock_timestamp() + $4 * interval '1 millisecond',
           delivered_at = CASE WHEN $5 THEN clock_timestamp() END
         WHERE claim = $1`,
        [claim, delivered ? 'delivered' : failed, error, retryMs ?? 0, delivered],
      ),
    );
  }

  async countByState(): Promise<{ state: string; count: number }[]> {
    return reading(this.database, (source) =>
      source.query<{ state: string; count: number }[]>(
        'SELECT state, count(*)::int AS count FROM alert_delivery GROUP BY state',
      ),
    );
  }
}
