import { randomUUID } from 'node:crypto';
import {
  type Applied,
  type ClaimedEffect,
  type Decide,
  type DueTimer,
  type EffectClaim,
  type MachineStore,
  type SavedStep,
  type Settled,
  type StepCause,
} from '@casvault/machine';
import { type DataSource } from 'typeorm';
import { inTransaction, reading, type Transaction } from './database.js';

/** A step as its projection sees it. `before` is null for the first. */
export interface ProjectedStep<S = unknown> {
  readonly kind: string;
  readonly id: string;
  readonly before: S | null;
  readonly after: S;
  readonly now: Date;
}

interface InstanceRow {
  readonly state: unknown;
  readonly version: string;
  readonly wake_at: Date | null;
}
interface EffectRow {
  readonly id: string;
  readonly instance_id: string;
  readonly effect: unknown;
  readonly traceparent: string | null;
  readonly attempt: number;
  readonly done: boolean;
}

const claimSql = `
  WITH next AS (
    SELECT e.id FROM machine_effect e
    WHERE e.kind = $1 AND e.due_at <= clock_timestamp()
      AND NOT EXISTS (
        SELECT 1 FROM machine_effect earlier
        WHERE earlier.kind = e.kind AND earlier.instance_id = e.instance_id AND earlier.lane = e.lane AND earlier.seq < e.seq)
    ORDER BY e.seq LIMIT $2
    FOR UPDATE OF e SKIP LOCKED)
  UPDATE machine_effect m
  SET claim = $3, attempt = m.attempt + 1, due_at = clock_timestamp() + $4 * interval '1 millisecond'
  FROM next, machine_instance i
  WHERE m.id = next.id AND i.kind = m.kind AND i.id = m.instance_id
  RETURNING m.id, m.instance_id, m.effect, m.traceparent, m.attempt, m.seq, i.done`;

const settleSql = `
  WITH gone AS (
    DELETE FROM machine_effect WHERE id = $1 AND claim = $2 RETURNING kind, instance_id, lane, seq)
  SELECT EXISTS (
    SELECT 1 FROM machine_effect e
    WHERE e.kind = gone.kind AND e.instance_id = gone.instance_id AND e.lane = gone.lane AND e.seq > gone.seq) AS "isFollowed"
  FROM gone`;

/** Effects get their places in lanes in the order in which the step has them. */
const saveSql = `
  WITH saved AS (
    UPDATE machine_instance SET state = $3, version = version + 1, wake_at = $4, done = $5, updated_at = now(),
      traceparent = COALESCE(traceparent, $6)
    WHERE kind = $1 AND id = $2)
  INSERT INTO machine_effect (id, kind, instance_id, lane, effect, traceparent)
  SELECT e.id, $1, $2, e.lane, e.effect::jsonb, e.traceparent
  FROM unnest($7::text[], $8::text[], $9::text[], $10::text[]) WITH ORDINALITY AS e (id, lane, effect, traceparent, place)
  ORDER BY e.place`;

/**
 * Machines in the service's own schema. `project` writes what queries need (rows of the service's own tables) in the
 * transaction of the step; it sees every step once, in order for an instance.
 */
export class PostgresMachineStore implements MachineStore {
  readonly #database: DataSource;
  readonly #project: (tx: Transaction, step: ProjectedStep) => Promise<void>;

  constructor(
    database: DataSource,
    options: { project?: (tx: Transaction, step: ProjectedStep) => Promise<void> } = {},
  ) {
    this.#database = database;
    this.#project = options.project ?? (() => Promise.resolve());
  }

  async apply(
    kind: string,
    instanceId: string,
    cause: StepCause,
    decide: Decide,
    now: Date,
  ): Promise<Applied> {
    return inTransaction(this.#database, async (tx) => {
      const row = await lock(tx, kind, instanceId);
      const refused = await refusal(tx, `${kind}/${instanceId}`, row, cause, now);
      if (refused) return { outcome: refused, state: row.state };
      const saved = decide(row.state, Number(row.version));
      await save(tx, kind, instanceId, saved);
      const state = JSON.parse(JSON.stringify(saved.state)) as unknown;
      await this.#project(tx, { kind, id: instanceId, before: row.state, after: state, now });
      return { outcome: 'stepped', state };
    });
  }

  async settle(claim: EffectClaim): Promise<Settled | null> {
    return reading(this.#database, (manager) => settle(manager, claim));
  }

  async read(kind: string, instanceId: string): Promise<unknown> {
    return reading(this.#database, async (manager) => {
      const sql = 'SELECT state FROM machine_instance WHERE kind = $1 AND id = $2';
      const rows = await manager.query<{ state: unknown }[]>(sql, [kind, instanceId]);
      return rows[0]?.state ?? null;
    });
  }

  async dueTimers(kind: string, now: Date, limit: number): Promise<readonly DueTimer[]> {
    const sql = `SELECT id AS "instanceId", traceparent FROM machine_instance
      WHERE kind = $1 AND wake_at <= $2 ORDER BY wake_at LIMIT $3`;
    return reading(this.#database, (manager) => manager.query<DueTimer[]>(sql, [kind, now, limit]));
  }

  async claim(kind: string, limit: number, leaseMs: number): Promise<readonly ClaimedEffect[]> {
    const token = randomUUID();
    return reading(this.#database, async (manager) => {
      const [rows] = await manager.query<[(EffectRow & { seq: string })[], number]>(claimSql, [
        kind,
        limit,
        token,
        leaseMs,
      ]);
      return rows
        .sort((a, b) => Number(a.seq) - Number(b.seq))
        .map((row) => ({
          effectId: row.id,
          token,
          instanceId: row.instance_id,
          effect: row.effect,
          traceparent: row.traceparent,
          attempt: row.attempt,
          done: row.done,
        }));
    });
  }

  async renew(claim: EffectClaim, leaseMs: number): Promise<boolean> {
    return this.#setDue(claim, 'claim', leaseMs);
  }

  async release(claim: EffectClaim, delayMs: number): Promise<void> {
    await this.#setDue(claim, 'NULL', delayMs);
  }

  async forgetMessages(before: Date): Promise<void> {
    await reading(this.#database, (manager) =>
      manager.query('DELETE FROM handled_message WHERE handled_at < $1', [before]),
    );
  }

  #setDue({ effectId, token }: EffectClaim, claim: 'claim' | 'NULL', ms: number): Promise<boolean> {
    return reading(this.#database, async (manager) => {
      const [, count] = await manager.query<[unknown, number]>(
        `UPDATE machine_effect SET claim = ${claim}, due_at = clock_timestamp() + $3 * interval '1 millisecond'
         WHERE id = $1 AND claim = $2`,
        [effectId, token, ms],
      );
      return count > 0;
    });
  }
}

const lock = async (tx: Transaction, kind: string, id: string): Promise<InstanceRow> => {
  const select =
    'SELECT state, version, wake_at FROM machine_instance WHERE kind = $1 AND id = $2 FOR UPDATE';
  const [row] = await tx.query<InstanceRow[]>(select, [kind, id]);
  if (row) return row;
  const [created] = await tx.query<InstanceRow[]>(
    'INSERT INTO machine_instance (kind, id) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING state, version, wake_at',
    [kind, id],
  );
  // Otherwise somebody was faster.
  const [present] = created ? [created] : await tx.query<InstanceRow[]>(select, [kind, id]);
  return present ?? { state: null, version: '0', wake_at: null };
};

/** Records in the step's transaction that `scope` handles this message. False: it was handled before. */
const firstTime = async (tx: Transaction, scope: string, messageId: string): Promise<boolean> => {
  const rows = await tx.query<unknown[]>(
    'INSERT INTO handled_message (scope, message_id) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING 1 AS one',
    [scope, messageId],
  );
  return rows.length > 0;
};

const refusal = async (
  tx: Transaction,
  scope: string,
  row: InstanceRow,
  cause: StepCause,
  now: Date,
): Promise<'duplicate' | 'superseded' | undefined> => {
  if (cause.messageId !== undefined && !(await firstTime(tx, scope, cause.messageId))) return 'duplicate';
  if (cause.timer && (row.wake_at === null || row.wake_at > now)) return 'superseded';
  if (!cause.completes) return undefined;
  return (await settle(tx, cause.completes)) ? undefined : 'superseded';
};

const settle = async (source: Transaction, { effectId, token }: EffectClaim): Promise<Settled | null> => {
  const [settled] = await source.query<Settled[]>(settleSql, [effectId, token]);
  return settled ?? null;
};

/** In one statement: most of what a step costs is its trips to the server. */
const save = async (tx: Transaction, kind: string, id: string, saved: SavedStep): Promise<void> => {
  const { state, wakeAt, done, traceparent, effects } = saved;
  await tx.query(saveSql, [
    kind,
    id,
    JSON.stringify(state),
    done ? null : wakeAt,
    done,
    traceparent,
    effects.map(({ effectId }) => effectId),
    effects.map(({ lane }) => lane),
    effects.map(({ effect }) => JSON.stringify(effect)),
    effects.map((one) => one.traceparent),
  ]);
};
