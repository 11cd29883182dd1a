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
import { etaOfRun, timedItem } from './eta.rules.js';
import { jobTable } from './job.table.js';
import { parallelOf } from './parallel.rules.js';
import { attemptOf, hasItsTurn, isTerminal, itemSteps, type RunState, type WaitingItem } from './run.js';
import { runItemTable, type RunItemRow } from './run-item.table.js';
import { attemptIdOf, imageNameOf, itemIdOf, volumeNameOf, type NewItem } from './run-item.js';
import { hooksOf } from './run-hook.js';
import { projectHook, RunHookStore } from './run-hook-store.js';
import { appendLines } from './run-log-store.js';
import {
  admittedLine,
  linesOfItem,
  linesOfRun,
  linesOfUnbegun,
  triedAgainLine,
  type NewLine,
} from './run-log.rules.js';
import { type RunEvent } from './run.machine.js';
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
  attempt: row.attempt,
  earlierFault: row.earlierFault,
  retryAt: iso(row.notBefore),
  pointId: row.pointId as RunItem['pointId'],
  restoredVmId: row.restoredVmId as RunItem['restoredVmId'],
  volumeName: volumeNameOf(row.id as RunItem['id'], row.target),
  imageName: imageNameOf(row.target),
  imageId: row.imageId,
  ...timedItem(row.state, row.progress, row.pace),
  reasons: row.attempt > 1 ? [...row.reasons, 'TRIED_AGAIN'] : row.reasons,
  fault: row.fault,
  startedAt: iso(row.startedAt),
  finishedAt: iso(row.finishedAt),
});

/** Of rows that are all of the run's. */
const sumsOf = (runId: string, rows: readonly RunItemRow[]): Sums => ({
  runId,
  done: String(rows.reduce((sum, { doneBytes }) => sum + BigInt(doneBytes), 0n)),
  stored: String(rows.reduce((sum, { storedBytes }) => sum + BigInt(storedBytes), 0n)),
});

/** With what the machine of a run begins. */
type Beginning = Pick<
  Extract<RunEvent, { type: 'begin' }>,
  'items' | 'failed' | 'parallel' | 'retry' | 'hooks'
>;

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

const nothingTo: Partial<Record<Job['definition']['kind'], Run['reasons'][number]>> = {
  verify: 'NOTHING_TO_VERIFY',
  copy: 'NOTHING_TO_COPY',
};

/** D1: a host without VMs. Nothing has failed, but neither was anything protected, which a success would say. */
const nothingOf = (run: Pick<UnbegunRun, 'runId' | 'job' | 'choice' | 'dueAt'>): UnbegunRun => ({
  ...run,
  state: 'skipped',
  reasons: [nothingTo[run.job.definition.kind] ?? 'NOTHING_TO_BACK_UP'],
  fault: null,
});

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
  readonly #hooks: RunHookStore;

  constructor(
    private readonly database: DataSource,
    /** R15: by group. */
    private readonly groupRuns: ReadonlyMap<string, number> = new Map(),
  ) {
    this.#hooks = new RunHookStore(database);
  }

  /** The run of the job that goes on. */
  async going(tx: Transaction, jobId: JobId): Promise<RunId | null> {
    const [going] = await tx.query<{ id: RunId }[]>(
      "SELECT id FROM run WHERE job_id = $1 AND state IN ('queued', 'running', 'stopping')",
      [jobId],
    );
    return going?.id ?? null;
  }

  /** CONFLICT when another run of the job goes on. A run without items is not begun, and noted as skipped. */
  async insert(tx: Transaction, { runId, job, choice, items, dueAt }: NewRun, now: Date): Promise<void> {
    const going = await this.going(tx, job.id);
    if (going)
      throw new Fault('CONFLICT', `run ${going} of job '${job.name}' goes on`, {
        details: { runId: going },
      });
    if (items.length === 0) return this.insertUnbegun(tx, nothingOf({ runId, job, choice, dueAt }), now);
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
    await this.#insertItems(tx, runId, items, now);
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

  async project(tx: Transaction, step: ProjectedStep<RunState>): Promise<void> {
    const { id, before, after, now } = step;
    if (before === null && !isTerminal(after.state) && !after.stopAsked) await this.#takeTurn(tx, id);
    if (before?.state !== after.state || before.startedAt !== after.startedAt) {
      const { state, fault = null } = after;
      const finishedAt = after.finishedAt === null ? null : new Date(after.finishedAt);
      const startedAt = after.startedAt === null ? null : new Date(after.startedAt);
      const reasons: Run['reasons'] = state === 'given up' ? ['PRECONDITION_NOT_MET'] : [];
      await tx.getRepository(runTable).update({ id }, { state, reasons, fault, startedAt, finishedAt });
      await tx.query(
        'UPDATE job SET last_run_state = $2 WHERE id = (SELECT job_id FROM run WHERE id = $1) AND last_run_id = $1',
        [id, state],
      );
    }
    const { retried, admitted } = itemSteps(before, after);
    const again: NewLine[] = [];
    for (const item of retried) again.push(...(await this.#tryAgain(tx, item, now)));
    const [begun] =
      admitted.length === 0
        ? [[]]
        : await tx.query<[{ id: RunItemId; vmName: string }[], number]>(
            `UPDATE run_item SET state = 'running', started_at = coalesce(started_at, $2), not_before = NULL
             WHERE id = ANY ($1) AND state = 'queued' RETURNING id, vm_name AS "vmName"`,
            [admitted, now],
          );
    const lines = [...linesOfRun(before, after), ...again, ...begun.map(admittedLine)];
    await appendLines(tx, id, lines, now);
    await projectHook(tx, step);
  }

  async find(id: RunId): Promise<Run | null> {
    const row = await reading(this.database, (source) => source.getRepository(runTable).findOneBy({ id }));
    if (!row) return null;
    const [sums] = await this.#sums([id]);
    return domainOf(row, sums);
  }

  async detail(id: RunId): Promise<RunDetail> {
    const run = await this.#row(id);
    const rows = await reading(this.database, (source) =>
      source
        .getRepository(runItemTable)
        .find({ where: { runId: id }, order: { seq: 'ASC' }, take: itemsShown }),
    );
    return this.#detailOf(run, rows);
  }

  /** The run with the items that matter to who watches it: those that run, then those that changed last. */
  async news(id: RunId): Promise<RunDetail> {
    const run = await this.#row(id);
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
    return this.#detailOf(
      run,
      rows.sort((a, b) => a.seq - b.seq),
    );
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

  /** Null when it was begun, or is over without. */
  async beginning(id: RunId): Promise<Beginning | null> {
    const { definition, state } = await this.#row(id);
    if (state !== 'queued') return null;
    const { vms, vmsPerHost } = parallelOf(definition);
    const all = await reading(this.database, (source) =>
      source.query<(WaitingItem & { state: RunItem['state'] })[]>(
        'SELECT id AS "itemId", host, state FROM run_item WHERE run_id = $1 ORDER BY seq',
        [id],
      ),
    );
    const queued = all.filter((item) => item.state === 'queued');
    return {
      items: queued.map(({ itemId, host }) => ({ itemId, host })),
      failed: all.length - queued.length,
      parallel: { vms, vmsPerHost },
      retry: definition.kind === 'backup' ? definition.retry : null,
      hooks: hooksOf(definition),
    };
  }

  async countByState(): Promise<{ state: string; count: number }[]> {
    return reading(this.database, (source) =>
      source.query<{ state: string; count: number }[]>(
        'SELECT state, count(*)::int AS count FROM run GROUP BY state',
      ),
    );
  }

  async countJobs(): Promise<{ lastRun: string; count: number }[]> {
    return reading(this.database, (source) =>
      source.query<{ lastRun: string; count: number }[]>(
        `SELECT coalesce(last_run_state, 'never') AS "lastRun", count(*)::int AS count FROM job
         WHERE deleted_at IS NULL GROUP BY 1`,
      ),
    );
  }

  /** In slices: a statement of Postgres takes 65,535 parameters at most. */
  async #insertItems(tx: Transaction, runId: RunId, items: readonly NewItem[], now: Date): Promise<void> {
    const failed = { state: 'failed', phase: 'failed', finishedAt: now } as const;
    const queued = { state: 'queued', phase: null, finishedAt: null } as const;
    const rows = items.map(({ fault = null, ...item }, seq) => {
      const id = itemIdOf(runId, seq, item);
      return { ...item, id, attemptId: id, runId, seq, fault, ...(fault ? failed : queued) };
    });
    for (let at = 0; at < rows.length; at += 1_000)
      await tx
        .createQueryBuilder()
        .insert()
        .into(runItemTable)
        .values(rows.slice(at, at + 1_000))
        .execute();
    const unheard = { reasons: [], doneBytes: 0, storedBytes: 0 };
    const gone = rows.filter(({ fault }) => fault !== null);
    await appendLines(
      tx,
      runId,
      gone.flatMap((row) =>
        linesOfItem({ state: 'queued', phase: null, reasons: [] }, { ...row, ...unheard }),
      ),
      now,
    );
  }

  /** Nothing of the attempt before stays but why it failed. */
  async #tryAgain(tx: Transaction, item: WaitingItem, now: Date): Promise<NewLine[]> {
    const { itemId, notBefore = null } = item;
    const attempt = attemptOf(item);
    const [rows] = await tx.query<[{ id: RunItemId; vmName: string }[], number]>(
      `UPDATE run_item SET state = 'queued', phase = NULL, attempt = $2, attempt_id = $3, not_before = $4, earlier_fault = fault,
         fault = NULL, point_id = NULL, progress = '[]', pace = '{}', reasons = '[]', done_bytes = 0, stored_bytes = 0, told_at = NULL,
         heard_at = NULL, finished_at = NULL
       WHERE id = $1 AND attempt < $2 RETURNING id, vm_name AS "vmName"`,
      [itemId, attempt, attemptIdOf(itemId, attempt), notBefore],
    );
    return rows.map((row) => triedAgainLine(row, attempt, notBefore ?? now.toISOString()));
  }

  /**
   * R15: begins the run only while fewer than the limit of its group have begun, whatever else begins at the same time: one
   * after the other by the group's lock. CONFLICT undoes the step.
   */
  async #takeTurn(tx: Transaction, id: string): Promise<void> {
    if (this.groupRuns.size === 0) return;
    const [run] = await tx.query<{ group: string }[]>(
      `SELECT definition ->> 'group' AS "group" FROM run WHERE id = $1`,
      [id],
    );
    const limit = run && this.groupRuns.get(run.group);
    if (run === undefined || limit === undefined) return;
    await tx.query(`SELECT pg_advisory_xact_lock(hashtextextended('casvault run group ' || $1::text, 0))`, [
      run.group,
    ]);
    const [others] = await tx.query<{ begun: number }[]>(
      `SELECT count(*)::int AS begun FROM run
       WHERE definition ->> 'group' = $1 AND state IN ('running', 'stopping') AND id <> $2`,
      [run.group, id],
    );
    if (!hasItsTurn(others?.begun ?? 0, limit))
      throw new Fault('CONFLICT', `${limit} runs of group '${run.group}' go on`, {
        details: { group: run.group },
      });
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

  /** Asks for no more than the rows leave open: watchers of runs are told once a second. */
  async #detailOf(row: RunRow, rows: readonly RunItemRow[]): Promise<RunDetail> {
    const isWhole = rows.length === row.itemCount;
    const [sums] = isWhole ? [sumsOf(row.id, rows)] : await this.#sums([row.id]);
    const hasHooks = hooksOf(row.definition).length > 0;
    const items = rows.map(itemOf);
    return {
      ...domainOf(row, sums),
      etaSeconds: etaOfRun(items, row.itemCount),
      items,
      hooks: hasHooks ? await this.#hooks.of(row.id as RunId) : [],
    };
  }

  async #row(id: RunId): Promise<RunRow> {
    const row = await reading(this.database, (source) => source.getRepository(runTable).findOneBy({ id }));
    if (!row) throw new Fault('NOT_FOUND', `there is no run ${id}`);
    return row;
  }
}
