import { type listRunLog, type RunLogLevel, type RunLogLine } from '@casvault/contracts';
import { pageFrom, readCursor, reading, type Transaction } from '@casvault/persistence';
import { type DataSource } from 'typeorm';
import { type z } from 'zod';
import { maxLogLines, textOfLine, type NewLine } from './run-log.rules.js';

/**
 * Writes lines into the log of a run, in the transaction of what they tell. The row of the run's counter is the last that a
 * transaction takes, so lines are numbered in the order of their commits: a reader who has seen one has seen those before it.
 */
export const appendLines = async (
  tx: Transaction,
  runId: string,
  lines: readonly NewLine[],
  now: Date,
): Promise<void> => {
  if (lines.length === 0) return;
  const kept = await tx.query<unknown[]>(
    `WITH counted AS (
       INSERT INTO run_log_count AS c (run_id, told) VALUES ($1::uuid, $4::int)
       ON CONFLICT (run_id) DO UPDATE SET told = c.told + excluded.told RETURNING told)
     INSERT INTO run_log (run_id, seq, at, level, item_id, vm_name, code, reason, params)
     SELECT $1::uuid, told - $4::int + place, $3::timestamptz, level, "itemId", "vmName", code, reason, params
     FROM counted, ROWS FROM (jsonb_to_recordset($2::jsonb)
       AS (level text, "itemId" uuid, "vmName" text, code text, reason text, params jsonb)) WITH ORDINALITY
       AS line (level, "itemId", "vmName", code, reason, params, place)
     WHERE "itemId" IS NULL OR told - $4::int + place <= $5::int
     RETURNING seq`,
    [runId, JSON.stringify(lines), now, lines.length, maxLogLines],
  );
  if (kept.length < lines.length)
    await tx.query('UPDATE run_log_count SET dropped = dropped + $2 WHERE run_id = $1', [
      runId,
      lines.length - kept.length,
    ]);
};

interface LineRow extends Omit<RunLogLine, 'at' | 'text'> {
  readonly at: Date;
}

const levelsFrom: Record<RunLogLevel, readonly RunLogLevel[]> = {
  info: ['info', 'warn', 'error'],
  warn: ['warn', 'error'],
  error: ['error'],
};

/** Logs of runs as people read them. */
export class RunLogStore {
  constructor(private readonly database: DataSource) {}

  /** Oldest first; empty for a run that is not there. */
  async page({
    runId,
    cursor,
    after = 0,
    itemId,
    level = 'info',
    limit,
  }: z.output<typeof listRunLog.request>): Promise<z.output<typeof listRunLog.reply>> {
    const from = Math.max(after, Number(readCursor(cursor, 1)?.[0] ?? 0));
    return reading(this.database, async (source) => {
      const rows = await source.query<LineRow[]>(
        `SELECT seq, at, level, item_id AS "itemId", vm_name AS "vmName", code, reason, params FROM run_log
         WHERE run_id = $1 AND seq > $2 AND ($3::uuid IS NULL OR item_id = $3) AND level = ANY ($4)
         ORDER BY seq LIMIT $5`,
        [runId, from, itemId ?? null, levelsFrom[level], limit + 1],
      );
      const [counter] = await source.query<{ dropped: number }[]>(
        'SELECT dropped FROM run_log_count WHERE run_id = $1',
        [runId],
      );
      const page = pageFrom(
        rows,
        limit,
        ({ seq }) => [String(seq)],
        (row): RunLogLine => ({ ...row, at: row.at.toISOString(), text: textOfLine(row) }),
      );
      return { ...page, dropped: counter?.dropped ?? 0 };
    });
  }
}
