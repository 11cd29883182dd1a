import {
  type ItemChanged,
  type JobDefinition,
  type JobId,
  type RunChoice,
  type RunId,
  type RunItemId,
} from '@casvault/contracts';
import { inTransaction, reading, type Transaction } from '@casvault/persistence';
import { type DataSource } from 'typeorm';
import { pacesOf } from './eta.rules.js';
import { appendLines } from './run-log-store.js';
import { linesOfItem, type LoggedItem } from './run-log.rules.js';
import { runItemTable, type RunItemRow } from './run-item.table.js';
import { endOf } from './run-item.js';
import { type RunEffect, type RunEvent } from './run.machine.js';
import { runTable } from './run.table.js';

/** An item with what asking for it takes. */
export interface AskedItem {
  readonly row: RunItemRow;
  readonly jobId: JobId;
  readonly runId: RunId;
  readonly definition: JobDefinition;
  readonly choice: RunChoice;
}

/** What is known of an attempt: how it has ended by now, null while it goes on. */
type KnownAttempt = Pick<Extract<RunEvent, { type: 'heard' }>, 'itemId' | 'attempt' | 'end' | 'fault'>;

export const knownOf = ({ id, attempt, phase, fault }: RunItemRow): KnownAttempt => ({
  itemId: id as RunItemId,
  attempt,
  end: endOf(phase),
  fault,
});

type EndItems = Extract<RunEffect, { type: 'endItems' }>;

const sum = (change: ItemChanged, key: 'doneBytes' | 'storedBytes'): number =>
  change.progress.reduce((total, disk) => total + disk[key], 0);

const loggedOf = (row: RunItemRow): LoggedItem => ({
  ...row,
  id: row.id as RunItemId,
  doneBytes: Number(row.doneBytes),
  storedBytes: Number(row.storedBytes),
});

/**
 * Items of runs: what is known of every VM. News that are older than the present ones, of an earlier attempt, or come after the end
 * change nothing; but what a stopped run left behind is still told of.
 */
export class RunItemStore {
  constructor(private readonly database: DataSource) {}

  async asked(id: RunItemId): Promise<AskedItem> {
    return reading(this.database, async (source) => {
      const row = await source.getRepository(runItemTable).findOneByOrFail({ id });
      const run = await source.getRepository(runTable).findOneByOrFail({ id: row.runId });
      return {
        row,
        jobId: run.jobId as JobId,
        runId: run.id as RunId,
        definition: run.definition,
        choice: run.choice,
      };
    });
  }

  /** Null when this is not of an item's present attempt. */
  async record(change: ItemChanged, now: Date): Promise<KnownAttempt | null> {
    return inTransaction(this.database, async (tx) => {
      const before = await tx
        .getRepository(runItemTable)
        .findOne({ where: { attemptId: change.itemId }, lock: { mode: 'pessimistic_write' } });
      if (!before) return null;
      const after = await this.#change(tx, before, change, now);
      if (after === null) {
        await tx.query('UPDATE run_item SET heard_at = $2 WHERE attempt_id = $1', [change.itemId, now]);
        return knownOf(before);
      }
      await appendLines(tx, before.runId, linesOfItem(before, loggedOf(after)), now);
      return knownOf(after);
    });
  }

  /** The row with the news, null when they are of no use any more. */
  async #change(
    tx: Transaction,
    before: RunItemRow,
    change: ItemChanged,
    now: Date,
  ): Promise<RunItemRow | null> {
    const end = endOf(change.phase);
    const [rows] = await tx.query<[Partial<RunItemRow>[], number]>(
      `UPDATE run_item SET state = CASE state WHEN 'stopped' THEN state ELSE $3 END,
         phase = CASE WHEN state = 'stopped' AND $14::timestamptz IS NULL THEN phase ELSE $4 END,
         point_id = coalesce($5, point_id), restored_vm_id = $6, progress = $7, reasons = $8,
         fault = CASE state WHEN 'stopped' THEN coalesce($9, fault) ELSE $9 END,
         done_bytes = $10, stored_bytes = $11, told_at = $12, heard_at = $13, started_at = coalesce(started_at, $13),
         finished_at = CASE state WHEN 'stopped' THEN finished_at ELSE $14 END, image_id = $15, pace = $16
       WHERE attempt_id = $1 AND run_id = $2 AND (told_at IS NULL OR told_at < $12)
         AND (state IN ('queued', 'running') OR (state = 'stopped' AND phase = 'cleaning'))
       RETURNING state, phase, reasons, fault, done_bytes AS "doneBytes", stored_bytes AS "storedBytes"`,
      [
        change.itemId,
        change.runId,
        end ?? 'running',
        change.phase,
        change.pointId,
        change.restoredVmId,
        JSON.stringify(change.progress),
        JSON.stringify(change.reasons),
        change.fault && JSON.stringify(change.fault),
        sum(change, 'doneBytes'),
        sum(change, 'storedBytes'),
        change.at,
        now,
        end && now,
        change.imageId,
        JSON.stringify(pacesOf(before.pace, change.progress, Date.parse(change.at))),
      ],
    );
    return rows[0] ? { ...before, ...rows[0] } : null;
  }

  /** Ends items of one run of which snapshot-engine never said how they ended. */
  async end({ itemIds, end, phase, fault }: EndItems, now: Date): Promise<void> {
    await inTransaction(this.database, async (tx) => {
      const [rows] = await tx.query<
        [(Pick<LoggedItem, 'id' | 'vmName' | 'reasons'> & { runId: string })[], number]
      >(
        `UPDATE run_item SET state = $2, phase = $3, fault = $4, finished_at = $5, not_before = NULL
         WHERE id = ANY ($1) AND state IN ('queued', 'running')
         RETURNING id, run_id AS "runId", vm_name AS "vmName", reasons`,
        [itemIds, end, phase, fault && JSON.stringify(fault), now],
      );
      const lines = rows.flatMap((row) => {
        const ended = { ...row, state: end, phase, fault, doneBytes: 0, storedBytes: 0 };
        return linesOfItem({ state: 'running', phase: null, reasons: row.reasons }, ended);
      });
      if (rows[0]) await appendLines(tx, rows[0].runId, lines, now);
    });
  }
}
