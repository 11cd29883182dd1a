import {
  Fault,
  type Alert,
  type AlertDelivery,
  type AlertFilter,
  type AlertId,
  type AlertView,
  type listAlerts,
  type ReasonCode,
  type RunId,
} from '@casvault/contracts';
import { inTransaction, pageFrom, readCursor, reading, type Transaction } from '@casvault/persistence';
import { type DataSource, type EntityManager } from 'typeorm';
import { type z } from 'zod';
import { alertsOf, namesTold, passes, type EndedRun, type FailedVms } from './alert.rules.js';

interface AlertRow {
  readonly alert: Alert;
  readonly at: Date;
  readonly acknowledgedAt: Date | null;
  readonly acknowledgedBy: string | null;
}
interface DeliveryRow {
  readonly alertId: string;
  readonly channelId: AlertDelivery['channelId'];
  readonly channelName: string;
  readonly state: AlertDelivery['state'];
  readonly attempts: number;
  readonly error: string | null;
  readonly dueAt: Date;
  readonly deliveredAt: Date | null;
}
interface RunRow extends Omit<EndedRun, 'failed' | 'passedOver' | 'dueAt' | 'finishedAt'> {
  readonly dueAt: Date | null;
  readonly finishedAt: Date;
}
interface FailedRow {
  readonly vmName: string;
  readonly reasons: ReasonCode[];
  readonly fault: FailedVms['fault'];
  readonly isPassedOver: boolean;
  /** Of its kind. */
  readonly total: number;
}

const columns =
  'alert, raised_at AS at, acknowledged_at AS "acknowledgedAt", acknowledged_by AS "acknowledgedBy"';
const iso = (date: Date | null): string | null => date?.toISOString() ?? null;

const deliveryOf = ({ alertId: _, dueAt, deliveredAt, ...row }: DeliveryRow): AlertDelivery => ({
  ...row,
  nextAttemptAt: row.state === 'waiting' ? iso(dueAt) : null,
  deliveredAt: iso(deliveredAt),
});

const viewOf = (row: AlertRow, deliveries: readonly DeliveryRow[]): AlertView => ({
  ...row.alert,
  acknowledgedAt: iso(row.acknowledgedAt),
  acknowledgedBy: row.acknowledgedBy,
  deliveries: deliveries.filter(({ alertId }) => alertId === row.alert.id).map(deliveryOf),
});

const sumOf = (rows: readonly FailedRow[], count: number): FailedVms => ({
  count,
  names: rows.slice(0, namesTold).map(({ vmName }) => vmName),
  reasons: [...new Set(rows.flatMap(({ reasons }) => reasons))],
  fault: rows[0]?.fault ?? null,
});

/** Alerts, derived from runs that are over. Memory: the first `2 * namesTold` failed VMs of one run. */
export class AlertStore {
  constructor(private readonly database: DataSource) {}

  /** Runs that are over and were not looked at yet. A row of an item may follow its run's end; after `patience` it is not waited for. */
  async pending(patience: Date, limit: number): Promise<RunId[]> {
    const rows = await reading(this.database, (source) =>
      source.query<{ id: RunId }[]>(
        `SELECT id FROM run WHERE NOT alerted AND finished_at IS NOT NULL AND (finished_at < $1
           OR NOT EXISTS (SELECT FROM run_item WHERE run_id = run.id AND state IN ('queued', 'running')))
         ORDER BY finished_at LIMIT $2`,
        [patience, limit],
      ),
    );
    return rows.map(({ id }) => id);
  }

  /** In one transaction: the run's alerts, what is to be delivered of them, and that it was done. How many came of it. */
  async raise(id: RunId): Promise<number> {
    return inTransaction(this.database, async (tx) => {
      const [row] = await tx.query<RunRow[]>(
        `SELECT id, job_id AS "jobId", job_name AS "jobName", state, due_at AS "dueAt", reasons, fault,
                item_count AS "itemCount", definition ->> 'kind' AS kind, finished_at AS "finishedAt"
         FROM run WHERE id = $1 AND NOT alerted FOR UPDATE SKIP LOCKED`,
        [id],
      );
      if (!row) return 0;
      const alerts = alertsOf({
        ...row,
        dueAt: iso(row.dueAt),
        finishedAt: row.finishedAt.toISOString(),
        ...(await this.#failed(tx, id)),
      });
      for (const alert of alerts) await this.#insert(tx, alert);
      await tx.query('UPDATE run SET alerted = true WHERE id = $1', [id]);
      return alerts.length;
    });
  }

  /** Alerts of which the event was not published yet, oldest first. */
  async untold(limit: number): Promise<Alert[]> {
    const rows = await reading(this.database, (source) =>
      source.query<{ alert: Alert }[]>('SELECT alert FROM alert WHERE NOT told ORDER BY raised_at LIMIT $1', [
        limit,
      ]),
    );
    return rows.map(({ alert }) => alert);
  }

  async setTold(id: AlertId): Promise<void> {
    await reading(this.database, (source) =>
      source.query('UPDATE alert SET told = true WHERE id = $1', [id]),
    );
  }

  /** Newest first. */
  async page({
    cursor,
    limit,
    kind,
    severity,
    jobId,
    runId,
    state,
  }: z.output<typeof listAlerts.request>): Promise<{ items: AlertView[]; nextCursor: string | null }> {
    const [at, id] = readCursor(cursor, 2) ?? [null, null];
    const isAcknowledged = state === undefined ? null : state === 'acknowledged';
    return reading(this.database, async (source) => {
      const rows = await source.query<AlertRow[]>(
        `SELECT ${columns} FROM alert
         WHERE ($1::timestamptz IS NULL OR (raised_at, id) < ($1, $2::uuid))
           AND ($3::text IS NULL OR kind = $3) AND ($4::text IS NULL OR severity = $4)
           AND ($5::uuid IS NULL OR job_id = $5) AND ($6::uuid IS NULL OR run_id = $6)
           AND ($7::boolean IS NULL OR (acknowledged_at IS NOT NULL) = $7)
         ORDER BY raised_at DESC, id DESC LIMIT $8`,
        [at, id, kind ?? null, severity ?? null, jobId ?? null, runId ?? null, isAcknowledged, limit + 1],
      );
      const deliveries = await this.#deliveries(source, rows);
      const keysetOf = (row: AlertRow) => [row.at.toISOString(), row.alert.id];
      return pageFrom(rows, limit, keysetOf, (row) => viewOf(row, deliveries));
    });
  }

  /** NOT_FOUND when there is no such alert. Whoever was first stays. */
  async acknowledge(id: AlertId, by: string): Promise<AlertView> {
    return inTransaction(this.database, async (tx) => {
      await tx.query(
        'UPDATE alert SET acknowledged_at = clock_timestamp(), acknowledged_by = $2 WHERE id = $1 AND acknowledged_at IS NULL',
        [id, by],
      );
      const rows = await tx.query<AlertRow[]>(`SELECT ${columns} FROM alert WHERE id = $1`, [id]);
      if (!rows[0]) throw new Fault('NOT_FOUND', `there is no alert ${id}`);
      return viewOf(rows[0], await this.#deliveries(tx, rows));
    });
  }

  async #failed(tx: EntityManager, runId: RunId): Promise<Pick<EndedRun, 'failed' | 'passedOver'>> {
    const rows = await tx.query<FailedRow[]>(
      `SELECT "vmName", reasons, fault, "isPassedOver", total FROM (
         SELECT seq, vm_name AS "vmName", reasons, fault, passed AS "isPassedOver",
                (count(*) OVER (PARTITION BY passed))::int AS total,
                row_number() OVER (PARTITION BY passed ORDER BY seq) AS place
         FROM (SELECT *, reasons @> '["SKIPPED_WITHOUT_CBT"]' AS passed FROM run_item
               WHERE run_id = $1 AND state = 'failed') failed) ranked
       WHERE place <= $2 ORDER BY seq`,
      [runId, namesTold],
    );
    const passedOver = rows.filter(({ isPassedOver }) => isPassedOver);
    const others = rows.find(({ isPassedOver }) => !isPassedOver)?.total ?? 0;
    const passed = passedOver[0]?.total ?? 0;
    return { failed: sumOf(rows, others + passed), passedOver: sumOf(passedOver, passed) };
  }

  async #insert(tx: Transaction, alert: Alert): Promise<void> {
    await tx.query(
      `INSERT INTO alert (id, run_id, job_id, kind, severity, alert, raised_at)
       VALUES ($1, $2, $3, $4, $5, $6, date_trunc('milliseconds', clock_timestamp()))`,
      [alert.id, alert.runId, alert.jobId, alert.kind, alert.severity, JSON.stringify(alert)],
    );
    const channels = await tx.query<{ id: string; filter: AlertFilter }[]>(
      'SELECT id, filter FROM alert_channel WHERE enabled FOR SHARE',
    );
    const takers = channels.filter(({ filter }) => passes(filter, alert)).map(({ id }) => id);
    await tx.query(
      'INSERT INTO alert_delivery (alert_id, channel_id) SELECT $1::uuid, id FROM unnest($2::uuid[]) AS taker (id)',
      [alert.id, takers],
    );
  }

  async #deliveries(source: EntityManager, rows: readonly AlertRow[]): Promise<DeliveryRow[]> {
    return source.query<DeliveryRow[]>(
      `SELECT d.alert_id AS "alertId", d.channel_id AS "channelId", c.name AS "channelName", d.state, d.attempts, d.error,
              d.due_at AS "dueAt", d.delivered_at AS "deliveredAt"
       FROM alert_delivery d JOIN alert_channel c ON c.id = d.channel_id
       WHERE d.alert_id = ANY ($1) ORDER BY c.name`,
      [rows.map(({ alert }) => alert.id)],
    );
  }
}
