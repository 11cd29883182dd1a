import { Fault, type BackupHostId } from '@casvault/contracts';
import { inTransaction, reading, type Transaction } from '@casvault/persistence';
import { type DataSource } from 'typeorm';
import { type GroupWork, type Retirement, type Retirements, type RetiringWorker } from './scaler.js';

/** Until the end of the transaction one attempt at a time changes a group's retirements. */
const lockGroup = (tx: Transaction, group: string): Promise<unknown> =>
  tx.query('SELECT pg_advisory_xact_lock(hashtextextended($1, 0))', [`mover-retirement/${group}`]);

/**
 * In the transaction of a claim: waits for a retirement of the worker that is being decided, holds off one that is not, and
 * throws DEPENDENCY_UNAVAILABLE if the worker retires: its nudge goes to another.
 */
export const demandService = async (tx: Transaction, workerId: BackupHostId): Promise<void> => {
  await tx.query('SELECT pg_advisory_xact_lock_shared(hashtextextended($1, 0))', [`mover/${workerId}`]);
  const rows = await tx.query<unknown[]>('SELECT 1 FROM mover_retirement WHERE worker_id = $1', [workerId]);
  if (rows.length > 0)
    throw new Fault('DEPENDENCY_UNAVAILABLE', `mover ${workerId} retires: the transfer is for another`);
};

/** Retirements in the controller's schema. */
export class RetirementStore implements Retirements {
  constructor(private readonly database: DataSource) {}

  async read(group: string): Promise<GroupWork> {
    return reading(this.database, async (source) => {
      const retirements = await source.query<Retirement[]>(
        'SELECT pod, state, number FROM mover_retirement WHERE host_group = $1',
        [group],
      );
      const [work] = await source.query<{ transfers: number; busy: BackupHostId[] }[]>(
        `SELECT count(*)::int AS transfers, array_remove(array_agg(DISTINCT worker_id), NULL) AS busy
         FROM transfer WHERE host_group = $1 AND state IN ('queued', 'running')`,
        [group],
      );
      return { transfers: work?.transfers ?? 0, busy: new Set(work?.busy ?? []), retirements };
    });
  }

  async retire(group: string, workers: readonly RetiringWorker[]): ReturnType<Retirements['retire']> {
    return inTransaction(this.database, async (tx) => {
      await lockGroup(tx, group);
      const present = await tx.query<unknown[]>('SELECT 1 FROM mover_retirement WHERE host_group = $1', [
        group,
      ]);
      if (present.length > 0) return null;
      const number = await nextNumber(tx);
      const pods: string[] = [];
      for (const worker of workers) if (await retired(tx, group, worker, number)) pods.push(worker.pod);
      return { number, pods };
    });
  }

  async commit(group: string, number: number, pods: number): Promise<boolean> {
    return inTransaction(this.database, async (tx) => {
      await lockGroup(tx, group);
      const [, changed] = await tx.query<[unknown, number]>(
        "UPDATE mover_retirement SET state = 'lowering' WHERE host_group = $1 AND number = $2 AND state = 'retiring'",
        [group, number],
      );
      return changed === pods;
    });
  }

  async renumber(group: string): Promise<number> {
    return inTransaction(this.database, async (tx) => {
      await lockGroup(tx, group);
      const number = await nextNumber(tx);
      await tx.query('UPDATE mover_retirement SET number = $2 WHERE host_group = $1', [group, number]);
      return number;
    });
  }

  async takeBack(group: string): Promise<void> {
    await inTransaction(this.database, async (tx) => {
      await lockGroup(tx, group);
      await tx.query("DELETE FROM mover_retirement WHERE host_group = $1 AND state = 'retiring'", [group]);
    });
  }

  async forget(group: string, gone: readonly Retirement[]): Promise<void> {
    await inTransaction(this.database, async (tx) => {
      await lockGroup(tx, group);
      await tx.query('DELETE FROM mover_retirement WHERE host_group = $1 AND pod = ANY($2)', [
        group,
        gone.map(({ pod }) => pod),
      ]);
    });
  }
}

const nextNumber = async (tx: Transaction): Promise<number> => {
  const [row] = await tx.query<{ number: number }[]>(
    "SELECT nextval('mover_retirement_number')::int AS number",
  );
  if (!row) throw new Fault('BUG', 'a sequence gave no number');
  return row.number;
};

/** False: it has a claim, or one that ran out and could be renewed. */
const retired = async (
  tx: Transaction,
  group: string,
  { pod, workerId }: RetiringWorker,
  number: number,
): Promise<boolean> => {
  await tx.query('SELECT pg_advisory_xact_lock(hashtextextended($1, 0))', [`mover/${workerId}`]);
  const claims = await tx.query<unknown[]>(
    "SELECT 1 FROM transfer WHERE worker_id = $1 AND state IN ('queued', 'running') LIMIT 1",
    [workerId],
  );
  if (claims.length > 0) return false;
  await tx.query(
    `INSERT INTO mover_retirement (worker_id, host_group, pod, number, state) VALUES ($1, $2, $3, $4, 'retiring')`,
    [workerId, group, pod, number],
  );
  return true;
};
