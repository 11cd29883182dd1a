import { type RunId } from '@casvault/contracts';
import { inTransaction, reading, type Transaction } from '@casvault/persistence';
import { type DataSource } from 'typeorm';

/** How long the history of runs is kept. */
export interface HistoryRule {
  /** What ended before it is old. */
  readonly before: Date;
  /** Of each job the newest so many runs stay, however old; at least one. */
  readonly runsOfJob: number;
}

/**
 * Runs that may be forgotten: over, told of, alerted, with nothing left to do; old; neither among the newest of their job
 * nor its last. Of a deleted job nothing is kept beyond its age.
 */
const oldRuns = `
  SELECT r.id FROM run r JOIN job j ON j.id = r.job_id
  WHERE r.finished_at < $1 AND r.state NOT IN ('queued', 'running', 'stopping') AND r.told AND r.alerted
    AND (j.deleted_at IS NOT NULL OR (r.id IS DISTINCT FROM j.last_run_id AND $2 <= (
      SELECT count(*) FROM (
        SELECT FROM run newer WHERE newer.job_id = r.job_id AND (newer.created_at, newer.id) > (r.created_at, r.id)
        LIMIT $2) newest)))
    AND NOT EXISTS (SELECT FROM machine_instance m WHERE m.kind = 'run' AND m.id = r.id::text AND NOT m.done)
    AND NOT EXISTS (SELECT FROM machine_effect e WHERE e.kind = 'run' AND e.instance_id = r.id::text)
    AND NOT EXISTS (SELECT FROM alert a WHERE a.run_id = r.id AND NOT a.told)`;

/** Forgets runs with all that is kept of them; points are not the scheduler's, and stay. */
export class HistoryStore {
  constructor(private readonly database: DataSource) {}

  /** Oldest first. */
  async old({ before, runsOfJob }: HistoryRule, limit: number): Promise<RunId[]> {
    const rows = await reading(this.database, (source) =>
      source.query<{ id: RunId }[]>(`${oldRuns} ORDER BY r.finished_at LIMIT $3`, [before, runsOfJob, limit]),
    );
    return rows.map(({ id }) => id);
  }

  /** In one transaction the run, its items, log, alerts and machine; nothing when the rule holds no more. */
  async forget(id: RunId, { before, runsOfJob }: HistoryRule): Promise<void> {
    await inTransaction(this.database, async (tx) => {
      const rows = await tx.query<unknown[]>(`${oldRuns} AND r.id = $3 FOR UPDATE OF r SKIP LOCKED`, [
        before,
        runsOfJob,
        id,
      ]);
      if (rows.length > 0) await this.#remove(tx, id);
    });
  }

  /** Jobs that were deleted, and of which no run is left. How many there were. */
  async forgetJobs(): Promise<number> {
    return inTransaction(this.database, async (tx) => {
      const jobs = await tx.query<{ id: string }[]>(
        `SELECT id FROM job WHERE deleted_at IS NOT NULL AND NOT EXISTS (SELECT FROM run WHERE job_id = job.id)
         ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED`,
      );
      const ids = jobs.map((job) => job.id);
      await tx.query('DELETE FROM job_plan WHERE job_id = ANY ($1)', [ids]);
      await tx.query('DELETE FROM job WHERE id = ANY ($1)', [ids]);
      return ids.length;
    });
  }

  /** What refers to the run goes with it, by the keys of the schema. */
  async #remove(tx: Transaction, id: RunId): Promise<void> {
    await tx.query("DELETE FROM machine_instance WHERE kind = 'run' AND id = $1", [id]);
    await tx.query('DELETE FROM run_item WHERE run_id = $1', [id]);
    await tx.query('DELETE FROM run WHERE id = $1', [id]);
  }
}
