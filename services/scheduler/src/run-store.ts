import {
  Fault,
  runKindOf,
  type FaultJson,
  type Job,
  type JobId,
  type listRuns,
  type Run,
  type RunChoice,
  type RunDetail,
  type RunId,
  type RunItem,
  type RunItemId,
} from '@casvault/contracts';
import { pageFrom, readCursor, reading, type ProjectedStep, type Transaction } from '@casvault/persistence';
import { type DataSource } from 'typeorm';
import { type z } from 'zod';
import { jobTable } from './job.table.js';
import { type RunState, type WaitingItem } from './run.js';
import { runItemTable, type RunItemRow } from './run-item.table.js';
import { imageNameOf, volumeNameOf, type NewItem } from './run-item.js';
import { appendLines } from './run-log-store.js';
import { admittedLine, linesOfRun, linesOfUnbegun } from './run-log.rules.js';
import { runTable, type RunRow } from './run.table.js';

/** More items than these are not told in one message: a message of NATS has 1 MiB at most. */
const itemsShown = 1_000;
const itemsPublished = 200;

const iso = (date: Date | null): string | null => date?.toISOString() ?? null;

export const itemOf = (row: RunItemRow): RunItem => ({
  id: row.id as RunItem['id'],
  kind: row.kind,
  vmId: row.vmId as RunItem['vmId'],
  vmName: row.vmName,
  state: row.state,
  phase: row.phase,
  pointId: row.pointId as RunItem['pointId'],
  restoredVmId: row.restoredVmId as RunItem['restoredVmId'],
  volumeName: volumeNameOf(row.id as RunItem['id'], row.target),
  imageName: imageNameOf(row.target),
  imageId: row.imageId,
  progress: row.progress,
  reasons: row.reasons,
  fault: row.fault,
  startedAt: iso(row.startedAt),
  finishedAt: iso(row.finishedAt),
});

export interface NewRun {
  readonly runId: RunId;
  readonly job: Job;
  readonly choice: RunChoice;
  readonly items: readonly NewItem[];
  /** When a plan was due that made it; null: somebody started it. */
  readonly dueAt: Date | null;
}

/** A run that is over before it began: a plan was due, and it could not be. */
export interface UnbegunRun extends Pick<NewRun, 'runId' | 'job' | 'choice' | 'dueAt'> {
  readonly state: 'skipped' | 'missed' | 'failed';
  readonly reasons: Run['reasons'];
  readonly fault: FaultJson | null;
}

interface Sums {
  readonly runId: string;
  readonly done: string;
  readonly stored: string;
}

const domainOf = (row: RunRow, sums: Sums | undefined): Run => ({
  id: row.id as RunId,
  jobId: row.jobId as JobId,
  jobName: row.jobName,
  kind: runKindOf(row.definition),
  state: row.state,
  dueAt: iso(row.dueAt),
  reasons: row.reasons,
  fault: row.fault,
  createdAt: row.createdAt.toISOString(),
  startedAt: iso(row.startedAt),
  finishedAt: iso(row.finishedAt),
  doneBytes: Number(sums?.done ?? 0),
  storedBytes: Number(sums?.stored ?? 0),
  itemCount: row.itemCount,
});

/** Runs as queries see them; their states are written by the run machine's steps, in the same transactions. */
export class RunStore {
  constructor(private readonly database: DataSource) {}

  /** The run of the job that goes on. */
  async going(tx: Transaction, jobId: JobId): Promise<RunId | null> {
    const [going] = await tx.query<{ id: RunId }[]>(
      "SELECT id FROM run WHERE job_id = $1 AND state IN ('queued', 'running', 'stopping')",
      [jobId],
    );
    return going?.id ?? null;
  }

  /** CONFLICT when another run of the job goes on. */
  async insert(tx: Transaction, { runId, job, choice, items, dueAt }: NewRun, now: Date): Promise<void> {
    const going = await this.going(tx, job.id);
    if (going)
      throw new Fault('CONFLICT', `run ${going} of job '${job.name}' goes on`, {
        details: { runId: going },
      });
    await tx.getRepository(runTable).insert({
      id: runId,
      jobId: job.id,
      jobName: job.name,
      definition: job.definition,
      choice,
      state: 'queued',
      dueAt,
      itemCount: items.length,
      createdAt: now,
    });
    await this.#insertItems(tx, runId, items);
    await tx.getRepository(jobTable).update({ id: job.id }, { lastRunId: runId, lastRunState: 'queued' });
  }

  /** Is published by and by; see `untold`. */
  async insertUnbegun(tx: Transaction, run: UnbegunRun, now: Date): Promise<void> {
    const { runId, job, choice, dueAt, state, reasons, fault } = run;
    await tx.getRepository(runTable).insert({
      id: runId,
      jobId: job.id,
      jobName: job.name,
      definition: job.definition,
      choice,
      state,
      dueAt,
      reasons,
      fault,
      itemCount: 0,
      told: false,
      createdAt: now,
      finishedAt: now,
    });
    await appendLines(tx, runId, linesOfUnbegun(state, reasons, fault), now);
    if (state === 'failed')
      await tx.getRepository(jobTable).update({ id: job.id }, { lastRunId: runId, lastRunState: 'failed' });
  }

  /** Runs of which nobody was told yet that they were not begun, oldest first. */
  async untold(limit: number): Promise<RunId[]> {
    const rows = await reading(this.database, (source) =>
      source.query<{ id: RunId }[]>('SELECT id FROM run WHERE NOT told ORDER BY created_at LIMIT $1', [
        limit,
      ]),
    );
    return rows.map(({ id }) => id);
  }

  async setTold(id: RunId): Promise<void> {
    await reading(this.database, (source) => source.getRepository(runTable).update({ id }, { told: true }));
  }

  async project(tx: Transaction, { id, before, after, now }: ProjectedStep<RunState>): Promise<void> {
    if (before?.state !== after.state) {
      const { state } = after;
      const finishedAt = after.finishedAt === null ? null : new Date(after.finishedAt);
      const startedAt = after.startedAt === null ? null : new Date(after.startedAt);
      await tx.getRepository(runTable).update({ id }, { state, startedAt, finishedAt });
      await tx.getRepository(jobTable).update({ lastRunId: id }, { lastRunState: state });
    }
    const were = new Set(before?.running.map(({ itemId }) => itemId));
    const admitted = after.running.map(({ itemId }) => itemId).filter((itemId) => !were.has(itemId));
    const [begun] =
      admitted.length === 0
        ? [[]]
        : await tx.query<[{ id: RunItemId; vmName: string }[], number]>(
            `UPDATE run_item SET state = 'running', started_at = $2 WHERE id = ANY ($1) AND state = 'queued'
             RETURNING id, vm_name AS "vmName"`,
            [admitted, now],
          );
    const lines = [...linesOfRun(before, after), ...begun.map(admittedLine)];
    await appendLines(tx, id, lines, now);
  }

  async find(id: RunId): Promise<Run | null> {
    const row = await reading(this.database, (source) => source.getRepository(runTable).findOneBy({ id }));
    if (!row) return null;
    const [sums] = await this.#sums([id]);
    return domainOf(row, sums);
  }

  async detail(id: RunId): Promise<RunDetail> {
    const run = await this.#get(id);
    const rows = await reading(this.database, (source) =>
      source
        .getRepository(runItemTable)
        .find({ where: { runId: id }, order: { seq: 'ASC' }, take: itemsShown }),
    );
    return { ...run, items: rows.map(itemOf) };
  }

  /** The run with the items that matter to who watches it: those that run, then those that changed last. */
  async news(id: RunId): Promise<RunDetail> {
    const run = await this.#get(id);
    const rows = await reading(this.database, (source) =>
      source
        .getRepository(runItemTable)
        .createQueryBuilder('i')
        .where('i.runId = :id', { id })
        .addSelect("CASE WHEN i.state = 'running' THEN 0 ELSE 1 END", 'rank')
        .orderBy('rank', 'ASC')
        .addOrderBy('i.toldAt', 'DESC', 'NULLS LAST')
        .addOrderBy('i.seq', 'ASC')
        .limit(itemsPublished)
        .getMany(),
    );
    return { ...run, items: rows.sort((a, b) => a.seq - b.seq).map(itemOf) };
  }

  /** Newest first. */
  async page(
    request: z.output<typeof listRuns.request>,
  ): Promise<{ items: Run[]; nextCursor: string | null }> {
    const after = readCursor(request.cursor, 2);
    const rows = await reading(this.database, (source) => {
      const query = source
        .getRepository(runTable)
        .createQueryBuilder('r')
        .orderBy({ 'r.createdAt': 'DESC', 'r.id': 'DESC' })
        .take(request.limit + 1);
      if (request.jobId !== undefined) query.andWhere('r.jobId = :jobId', { jobId: request.jobId });
      if (after) query.andWhere('(r.createdAt, r.id) < (:at, :id)', { at: after[0], id: after[1] });
      return query.getMany();
    });
    const sums = new Map((await this.#sums(rows.map(({ id }) => id))).map((sum) => [sum.runId, sum]));
    return pageFrom(
      rows,
      request.limit,
      (row) => [row.createdAt.toISOString(), row.id],
      (row) => domainOf(row, sums.get(row.id)),
    );
  }

  /** Runs whose machine was not begun, with all that it takes: after a crash between the two transactions. */
  async notBegun(before: Date, limit: number): Promise<RunId[]> {
    const rows = await reading(this.database, (source) =>
      source.query<{ id: RunId }[]>(
        "SELECT id FROM run WHERE state = 'queued' AND created_at < $1 ORDER BY created_at LIMIT $2",
        [before, limit],
      ),
    );
    return rows.map(({ id }) => id);
  }

  /** The run's group, and how many older runs of it have not ended. */
  async queue(id: RunId): Promise<{ group: string; olderRuns: number }> {
    const [row] = await reading(this.database, (source) =>
      source.query<{ group: string; olderRuns: number }[]>(
        `SELECT me.definition ->> 'group' AS "group", count(older.id)::int AS "olderRuns"
         FROM run me LEFT JOIN run older
           ON older.definition ->> 'group' = me.definition ->> 'group'
          AND older.state IN ('queued', 'running', 'stopping')
          AND (older.created_at, older.id) < (me.created_at, me.id)
         WHERE me.id = $1 GROUP BY me.id`,
        [id],
      ),
    );
    if (!row) throw new Fault('NOT_FOUND', `there is no run ${id}`);
    return row;
  }

  async beginning(id: RunId): Promise<{ items: WaitingItem[]; parallel: RunState['parallel'] }> {
    const run = await this.#row(id);
    const items = await reading(this.database, (source) =>
      source.query<WaitingItem[]>(
        'SELECT id AS "itemId", host FROM run_item WHERE run_id = $1 ORDER BY seq',
        [id],
      ),
    );
    return { items, parallel: run.definition.parallel };
  }

  async countByState(): Promise<{ state: string; count: number }[]> {
    return reading(this.database, (source) =>
      source.query<{ state: string; count: number }[]>(
        'SELECT state, count(*)::int AS count FROM run GROUP BY state',
      ),
    );
  }

  /** In slices: a statement of Postgres takes 65,535 parameters at most. */
  async #insertItems(tx: Transaction, runId: RunId, items: readonly NewItem[]): Promise<void> {
    const rows = items.map((item, seq) => ({ ...item, runId, seq, state: 'queued' as const }));
    for (let at = 0; at < rows.length; at += 1_000)
      await tx
        .createQueryBuilder()
        .insert()
        .into(runItemTable)
        .values(rows.slice(at, at + 1_000))
        .execute();
  }

  async #sums(ids: readonly string[]): Promise<Sums[]> {
    if (ids.length === 0) return [];
    return reading(this.database, (source) =>
      source.query<Sums[]>(
        `SELECT run_id AS "runId", sum(done_bytes)::text AS done, sum(stored_bytes)::text AS stored
         FROM run_item WHERE run_id = ANY ($1) GROUP BY run_id`,
        [ids],
      ),
    );
  }

  async #get(id: RunId): Promise<Run> {
    const [sums] = await this.#sums([id]);
    return domainOf(await this.#row(id), sums);
  }

  async #row(id: RunId): Promise<RunRow> {
    const row = await reading(this.database, (source) => source.getRepository(runTable).findOneBy({ id }));
    if (!row) throw new Fault('NOT_FOUND', `there is no run ${id}`);
    return row;
  }
}
