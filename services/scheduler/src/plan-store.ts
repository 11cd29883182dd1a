import { type Job, type JobId, type RunId } from '@casvault/contracts';
import { inTransaction, reading, type Transaction } from '@casvault/persistence';
import { type DataSource, type EntityManager } from 'typeorm';
import { duesInZone, outcomeOf, type Firing, type Note, type PlannedJob } from './firing.rules.js';
import { type JobStore } from './job-store.js';
import { type Content, type PlanStore } from './planner.js';
import { type NewItem } from './run-item.js';
import { type RunStore, type UnbegunRun } from './run-store.js';

/** A job that is due, as it was looked at. */
export interface DueJob extends PlannedJob {
  readonly job: Job;
}

interface DueRow {
  readonly jobId: JobId;
  readonly dueAts: (Date | null)[];
  readonly isGoing: boolean;
}

const isSameTime = (a: Date | null | undefined, b: Date | null | undefined): boolean =>
  (a?.getTime() ?? null) === (b?.getTime() ?? null);

const reasonOf = { skipped: 'PREVIOUS_RUN_GOES_ON', missed: 'SYSTEM_WAS_DOWN' } as const;

/** When the plans of jobs are due. Whoever changes that holds the row of the job: one after the other. */
export class PostgresPlanStore implements PlanStore<DueJob, NewItem> {
  constructor(
    private readonly database: DataSource,
    private readonly jobs: JobStore,
    private readonly runs: RunStore,
  ) {}

  /** By the clock of Postgres, which all replicas share. In no order, so that replicas seldom look at the same jobs. */
  async due(limit: number): Promise<{ now: Date; jobs: DueJob[]; nextAt: Date | null }> {
    return reading(this.database, async (source) => {
      const [clock] = await source.query<{ now: Date; nextAt: Date | null }[]>(
        `SELECT now, (SELECT min(due_at) FROM job_plan WHERE due_at > now) AS "nextAt"
         FROM (SELECT clock_timestamp() AS now) AS clock`,
      );
      const { now, nextAt } = clock ?? { now: new Date(NaN), nextAt: null };
      const rows = await source.query<DueRow[]>(
        `SELECT p.job_id AS "jobId", array_agg(p.due_at ORDER BY p.seq) AS "dueAts",
                EXISTS (SELECT FROM run WHERE job_id = p.job_id AND state IN ('queued', 'running', 'stopping')) AS "isGoing"
         FROM job_plan p
         WHERE p.job_id IN (SELECT job_id FROM job_plan WHERE due_at <= $1 GROUP BY job_id ORDER BY random() LIMIT $2)
         GROUP BY p.job_id ORDER BY random()`,
        [now, limit],
      );
      if (rows.length === 0) return { now, jobs: [], nextAt };
      const jobs = new Map(
        (await this.jobs.those(rows.map(({ jobId }) => jobId))).map((job) => [job.id, job]),
      );
      return {
        now,
        jobs: rows.flatMap(({ jobId, ...due }) => {
          const job = jobs.get(jobId);
          return job ? [{ ...job, ...due, job }] : [];
        }),
        nextAt,
      };
    });
  }

  async settle(due: DueJob, firing: Firing, content: Content<NewItem>): Promise<RunId | null> {
    return inTransaction(this.database, async (tx) => {
      const [clock] = await tx.query<{ now: Date }[]>(
        'SELECT clock_timestamp() AS now FROM job WHERE id = $1 AND version = $2 AND time_zone = $3 AND deleted_at IS NULL FOR UPDATE',
        [due.id, due.version, due.timeZone],
      );
      const dueAts = await this.#dueAts(tx, due.id);
      if (!clock || !due.dueAts.every((at, seq) => isSameTime(at, dueAts[seq]))) return null;
      await this.setDues(tx, due.id, firing.next);
      const isGoing = due.isGoing || (await this.runs.going(tx, due.id)) !== null;
      const { run, notes } = outcomeOf(firing, isGoing);
      for (const note of notes) await this.#note(tx, due.job, note, clock.now);
      if (run === null || (await this.#isMade(tx, run.runId))) return null;
      if ('fault' in content) {
        const failed: UnbegunRun = {
          ...run,
          job: due.job,
          state: 'failed',
          reasons: [],
          fault: content.fault,
        };
        await this.runs.insertUnbegun(tx, failed, clock.now);
        return null;
      }
      await this.runs.insert(tx, { ...run, job: due.job, items: content.items }, clock.now);
      return run.runId;
    });
  }

  async setDues(tx: Transaction, jobId: JobId, dueAts: readonly (Date | null)[]): Promise<void> {
    await tx.query(
      `WITH gone AS (DELETE FROM job_plan WHERE job_id = $1 AND seq >= cardinality($2::timestamptz[]))
       INSERT INTO job_plan (job_id, seq, due_at)
       SELECT $1, ordinality - 1, due_at FROM unnest($2::timestamptz[]) WITH ORDINALITY AS d (due_at, ordinality)
       ON CONFLICT (job_id, seq) DO UPDATE SET due_at = excluded.due_at`,
      [jobId, dueAts],
    );
  }

  /** Moves every job of the group that is read in another zone into this one; how many there were. */
  async moveToZone(group: string, timeZone: string): Promise<number> {
    const stale = await reading(this.database, (source) =>
      source.query<{ id: JobId }[]>(
        `SELECT id FROM job WHERE definition ->> 'group' = $1 AND time_zone <> $2 AND deleted_at IS NULL`,
        [group, timeZone],
      ),
    );
    for (const { id } of stale) await inTransaction(this.database, (tx) => this.#move(tx, id, timeZone));
    return stale.length;
  }

  /** Groups that jobs name. */
  async groups(): Promise<string[]> {
    const rows = await reading(this.database, (source) =>
      source.query<{ group: string }[]>(
        `SELECT DISTINCT definition ->> 'group' AS "group" FROM job WHERE deleted_at IS NULL`,
      ),
    );
    return rows.map(({ group }) => group);
  }

  async #move(tx: Transaction, id: JobId, timeZone: string): Promise<void> {
    const [job] = await tx.query<{ plans: Job['plans']; now: Date }[]>(
      'SELECT plans, clock_timestamp() AS now FROM job WHERE id = $1 FOR UPDATE',
      [id],
    );
    if (!job) return;
    await tx.query('UPDATE job SET time_zone = $2 WHERE id = $1', [id, timeZone]);
    const dueAts = await this.#dueAts(tx, id);
    await this.setDues(tx, id, duesInZone({ plans: job.plans, dueAts }, timeZone, job.now));
  }

  async #dueAts(tx: EntityManager, jobId: JobId): Promise<(Date | null)[]> {
    const rows = await tx.query<{ dueAt: Date | null }[]>(
      'SELECT due_at AS "dueAt" FROM job_plan WHERE job_id = $1 ORDER BY seq',
      [jobId],
    );
    return rows.map(({ dueAt }) => dueAt);
  }

  async #note(tx: Transaction, job: Job, note: Note, now: Date): Promise<void> {
    if (await this.#isMade(tx, note.runId)) return;
    await this.runs.insertUnbegun(tx, { ...note, job, reasons: [reasonOf[note.state]], fault: null }, now);
  }

  /** The clock was set back, and then the plan was looked at anew. */
  async #isMade(tx: EntityManager, runId: RunId): Promise<boolean> {
    const rows = await tx.query<unknown[]>('SELECT FROM run WHERE id = $1', [runId]);
    return rows.length > 0;
  }
}
