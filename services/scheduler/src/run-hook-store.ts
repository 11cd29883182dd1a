import {
  type FaultJson,
  type HookChanged,
  type HookKind,
  type JobId,
  type RunHook,
  type RunId,
} from '@casvault/contracts';
import { inTransaction, reading, type ProjectedStep, type Transaction } from '@casvault/persistence';
import { type DataSource } from 'typeorm';
import { hookIdOf, type HookedRun } from './run-hook.js';
import { askedLine, endedLine, linesOfHook, stateOfHook } from './run-hook.rules.js';
import { runHookTable, type RunHookRow } from './run-hook.table.js';
import { runItemTable } from './run-item.table.js';
import { appendLines } from './run-log-store.js';
import { type RunState } from './run.js';
import { runTable } from './run.table.js';

/** More VMs have no room in what a script is told. */
const itemsRead = 1_000;

const iso = (date: Date | null): string | null => date?.toISOString() ?? null;
const domainOf = (row: RunHookRow): RunHook => ({
  hook: row.hook,
  state: row.state,
  reasons: row.reasons,
  fault: row.fault,
  exitCode: row.exitCode,
  httpStatus: row.httpStatus,
  askedAt: row.askedAt.toISOString(),
  startedAt: iso(row.startedAt),
  finishedAt: iso(row.finishedAt),
});

/** In the transaction of a step of the run's machine: a hook that it asks for has a row from then on. */
export const projectHook = async (
  tx: Transaction,
  { id, before, after, now }: ProjectedStep<RunState>,
): Promise<void> => {
  const hook = after.hook?.hook;
  if (hook === undefined || hook === before?.hook?.hook) return;
  await tx.getRepository(runHookTable).insert({
    runId: id,
    hook,
    state: 'queued',
    reasons: [],
    askedAt: now,
  });
  await appendLines(tx, id, [askedLine(hook)], now);
};

/** Preconditions and scripts of runs: what is known of each. News that come after the end change nothing. */
export class RunHookStore {
  constructor(private readonly database: DataSource) {}

  async asked(runId: RunId): Promise<HookedRun> {
    return reading(this.database, async (source) => {
      const run = await source.getRepository(runTable).findOneByOrFail({ id: runId });
      const items = await source
        .getRepository(runItemTable)
        .find({ where: { runId }, order: { seq: 'ASC' }, take: itemsRead });
      const { definition, choice, jobName, dueAt, itemCount } = run;
      return {
        ...{ id: runId, jobId: run.jobId as JobId, jobName, definition, choice, dueAt, itemCount },
        items: items.map(({ vmId, vmName, state, pointId }) => ({
          vmId: vmId as HookedRun['items'][number]['vmId'],
          vmName,
          state,
          pointId: pointId as HookedRun['items'][number]['pointId'],
        })),
      };
    });
  }

  async of(runId: RunId): Promise<RunHook[]> {
    const rows = await reading(this.database, (source) =>
      source.getRepository(runHookTable).find({ where: { runId }, order: { askedAt: 'ASC' } }),
    );
    return rows.map(domainOf);
  }

  /** False when it is of no run here. */
  async record(change: HookChanged, now: Date): Promise<boolean> {
    const { runId, hook } = change;
    if (hookIdOf(runId, hook) !== change.transferId) return false;
    return inTransaction(this.database, async (tx) => {
      const hooks = tx.getRepository(runHookTable);
      const row = await hooks.findOne({ where: { runId, hook }, lock: { mode: 'pessimistic_write' } });
      if (!row) return false;
      const at = new Date(change.at);
      if (row.finishedAt === null && (row.toldAt === null || row.toldAt < at)) {
        await hooks.update({ runId, hook }, changedBy(row, change, now));
        await appendLines(tx, runId, linesOfHook(row, change), now);
      }
      return true;
    });
  }

  /** Ends a hook of which no mover said how it ended. */
  async end(runId: RunId, hook: HookKind, fault: FaultJson, now: Date): Promise<void> {
    const state = fault.code === 'STOPPED' ? ('stopped' as const) : ('failed' as const);
    await inTransaction(this.database, async (tx) => {
      const [rows] = await tx.query<[unknown[], number]>(
        `UPDATE run_hook SET state = $3, fault = $4, finished_at = $5
         WHERE run_id = $1 AND hook = $2 AND finished_at IS NULL RETURNING hook`,
        [runId, hook, state, JSON.stringify(fault), now],
      );
      if (rows.length > 0) await appendLines(tx, runId, [endedLine(hook, fault)], now);
    });
  }
}

const changedBy = (row: RunHookRow, change: HookChanged, now: Date): Partial<RunHookRow> => {
  const { result, reasons } = change;
  const state = stateOfHook(change);
  const isOver = state !== 'queued' && state !== 'running';
  const began = state === 'running' || result !== null;
  return {
    state,
    reasons,
    fault: result?.fault ?? change.fault,
    exitCode: result?.exitCode ?? null,
    httpStatus: result?.httpStatus ?? null,
    toldAt: new Date(change.at),
    startedAt: row.startedAt ?? (began ? now : null),
    finishedAt: isOver ? now : null,
  };
};
