import {
  checkpointName,
  Fault,
  type ChainId,
  type Deletion,
  type DeletionId,
  type Hold,
  type listDeletions,
  type PointId,
  type VmId,
} from '@casvault/contracts';
import {
  inTransaction,
  pageFrom,
  readCursor,
  reading,
  type ProjectedStep,
  type Transaction,
} from '@casvault/persistence';
import { type DataSource } from 'typeorm';
import { type z } from 'zod';
import { isNeededSql } from './checkpoint-need.js';
import {
  deletionOf,
  removedIds,
  type ChainFacts,
  type ChainPoint,
  type DeletionState,
  type PointUse,
} from './deletion.js';
import { listDeletion, newParents, refuseChanged, refuseDeletion } from './deletion.rules.js';
import { deletionTable } from './deletion.table.js';

type PageOf<T extends { reply: z.ZodType }> = z.infer<T['reply']>;
type ChainHead = Pick<ChainFacts, 'chainId' | 'vmId' | 'vmName' | 'poolId' | 'hold'>;
type PointRow = Omit<ChainPoint, 'capturedAt' | 'createdAt'> & { capturedAt: Date | null; createdAt: Date };

const chainSql = `SELECT id AS "chainId", vm_id AS "vmId", vm_name AS "vmName", pool_id AS "poolId", hold
  FROM chain WHERE id = $1 FOR UPDATE`;
const pointsSql = `SELECT id, parent_point_id AS "parentPointId", state, kind, vm_id AS "vmId", vm_name AS "vmName",
    run_id AS "runId", created_at AS "createdAt", captured_at AS "capturedAt", pool_bytes AS "poolBytes", hold,
    deletion_id AS "deletionId"
  FROM point WHERE chain_id = $1 ORDER BY created_at, id FOR UPDATE`;
const usesSql = `SELECT u.point_id AS "pointId", u.kind, u.item_id AS "itemId", u.run_id AS "runId"
  FROM point_use u JOIN point p ON p.id = u.point_id
    JOIN machine_instance m ON m.kind = u.kind AND m.id = u.item_id::text
  WHERE p.chain_id = $1 AND NOT m.done
  UNION ALL SELECT r.point_id, 'download', r.id, NULL
  FROM point_reading r JOIN point p ON p.id = r.point_id
  WHERE p.chain_id = $1 AND r.until > clock_timestamp() ORDER BY 3`;
const groupSql = `SELECT m.state -> 'request' ->> 'group' AS "group"
  FROM point p JOIN machine_instance m ON m.kind IN ('protection', 'copy') AND m.id = p.item_id::text
  WHERE p.chain_id = $1 ORDER BY p.created_at DESC LIMIT 1`;
const neededSql = `SELECT p.id FROM point p WHERE p.vm_id = $1 AND ${isNeededSql} ORDER BY p.created_at DESC LIMIT 64`;

/**
 * Deletions as queries see them, and what they do to the catalogue: written with their steps, in the same transactions. Whoever
 * takes points for deletion, uses them or holds them, locks their chain's row first: one of two that collide sees the other.
 */
export class DeletionStore {
  constructor(private readonly database: DataSource) {}

  async project(tx: Transaction, { before, after }: ProjectedStep<DeletionState>): Promise<void> {
    const shown = deletionOf(after);
    if (before && JSON.stringify(shown) === JSON.stringify(deletionOf(before))) return;
    if (after.phase !== before?.phase) await this.#carryOut(tx, before, after);
    const { id, chainId, state } = shown;
    const createdAt = new Date(after.createdAt);
    await tx.getRepository(deletionTable).upsert({ id, chainId, state, createdAt, shown }, ['id']);
  }

  async get(id: DeletionId): Promise<Deletion> {
    const row = await reading(this.database, (source) =>
      source.getRepository(deletionTable).findOneBy({ id }),
    );
    if (!row) throw new Fault('NOT_FOUND', `there is no deletion ${id}`);
    return row.shown;
  }

  /** Newest first. */
  async page(request: z.output<typeof listDeletions.request>): Promise<PageOf<typeof listDeletions>> {
    const after = readCursor(request.cursor, 2);
    const rows = await reading(this.database, (source) => {
      const query = source
        .getRepository(deletionTable)
        .createQueryBuilder('d')
        .orderBy({ 'd.createdAt': 'DESC', 'd.id': 'DESC' })
        .take(request.limit + 1);
      for (const key of ['chainId', 'state'] as const)
        if (request[key] !== undefined) query.andWhere(`d.${key} = :${key}`, { [key]: request[key] });
      if (after) query.andWhere('(d.createdAt, d.id) < (:at, :id)', { at: after[0], id: after[1] });
      return query.getMany();
    });
    return pageFrom(
      rows,
      request.limit,
      (row) => [row.createdAt.toISOString(), row.id],
      ({ shown: { points: _points, successorIds: _successors, ...shown } }) => shown,
    );
  }

  /** The chain as it is now. */
  async facts(chainId: ChainId): Promise<ChainFacts> {
    return inTransaction(this.database, (tx) => lockedFacts(tx, chainId));
  }

  /** The one chain of these points. Faults: NOT_FOUND, INPUT_INVALID when they are of several. */
  async chainOf(pointIds: readonly PointId[]): Promise<ChainId> {
    const rows = await reading(this.database, (source) =>
      source.query<{ id: PointId; chainId: ChainId }[]>(
        'SELECT id, chain_id AS "chainId" FROM point WHERE id = ANY($1)',
        [pointIds],
      ),
    );
    const missing = pointIds.find((pointId) => !rows.some(({ id }) => id === pointId));
    const chains = new Set(rows.map(({ chainId }) => chainId));
    const [chainId] = chains;
    if (missing !== undefined || chainId === undefined)
      throw new Fault('NOT_FOUND', `there is no point ${missing}`);
    if (chains.size > 1)
      throw new Fault('INPUT_INVALID', `pointIds: must be of one chain, these are of ${chains.size}`);
    return chainId;
  }

  /** Names of the VM's checkpoints that stay when others go. */
  async neededCheckpoints(vmId: VmId): Promise<string[]> {
    const rows = await reading(this.database, (source) => source.query<{ id: string }[]>(neededSql, [vmId]));
    return rows.map(({ id }) => checkpointName(id));
  }

  /** Sets or clears the hold. CONFLICT while it is being deleted. */
  async holdPoint(pointId: PointId, hold: Hold | null): Promise<void> {
    const chainId = await this.chainOf([pointId]);
    await inTransaction(this.database, async (tx) => {
      const { points } = await lockedFacts(tx, chainId);
      const point = points.find(({ id }) => id === pointId);
      if (!point) throw new Fault('NOT_FOUND', `there is no point ${pointId}`);
      if (hold && point.state === 'deleting') throw beingDeleted(`point ${pointId}`, point.deletionId);
      await tx.query('UPDATE point SET hold = $2 WHERE id = $1', [pointId, hold && JSON.stringify(hold)]);
    });
  }

  /** As `holdPoint`. */
  async holdChain(chainId: ChainId, hold: Hold | null): Promise<void> {
    await inTransaction(this.database, async (tx) => {
      const { deletingId } = await lockedFacts(tx, chainId);
      if (hold && deletingId) throw beingDeleted(`chain ${chainId}`, deletingId);
      await tx.query('UPDATE chain SET hold = $2 WHERE id = $1', [chainId, hold && JSON.stringify(hold)]);
    });
  }

  async #carryOut(tx: Transaction, before: DeletionState | null, after: DeletionState): Promise<void> {
    if (after.phase === 'deleting' && before) return takePoints(tx, before, after);
    if (after.phase === 'deleted') return forgetPoints(tx, after);
    if (after.phase === 'failed')
      await tx.query('UPDATE point SET fault = $2 WHERE deletion_id = $1', [
        after.request.deletionId,
        JSON.stringify(after.fault),
      ]);
  }
}

const beingDeleted = (what: string, deletionId: DeletionId | null): Fault =>
  new Fault('CONFLICT', `${what} is being deleted by deletion ${deletionId}`, { details: { deletionId } });

/** Locks the chain's row, then its points'. */
const lockedFacts = async (tx: Transaction, chainId: ChainId): Promise<ChainFacts> => {
  const [chain] = await tx.query<ChainHead[]>(chainSql, [chainId]);
  if (!chain) throw new Fault('NOT_FOUND', `there is no chain ${chainId}`);
  const points = await tx.query<PointRow[]>(pointsSql, [chainId]);
  const uses = await tx.query<PointUse[]>(usesSql, [chainId]);
  const [group] = await tx.query<{ group: string | null }[]>(groupSql, [chainId]);
  const [deleting] = await tx.query<{ id: DeletionId }[]>(
    "SELECT id FROM deletion WHERE chain_id = $1 AND state = 'deleting'",
    [chainId],
  );
  return {
    ...chain,
    group: group?.group ?? 'default',
    points: points.map((row) => ({
      ...row,
      capturedAt: row.capturedAt?.toISOString() ?? null,
      createdAt: row.createdAt.toISOString(),
    })),
    uses,
    deletingId: deleting?.id ?? null,
  };
};

/**
 * G2: the points are the deletion's from here on: never a parent, never restorable. Throws (and so undoes the step) if they may not be.
 * Confirmed anew after a failure, the points were taken already.
 */
const takePoints = async (tx: Transaction, before: DeletionState, after: DeletionState): Promise<void> => {
  const { deletionId, chainId, mode, list } = after.request;
  const facts = await lockedFacts(tx, chainId);
  const going = list.points.map(({ id }) => id);
  const refusal =
    refuseDeletion(facts, list, deletionId) ??
    (before.phase === 'failed' ? null : refuseChanged(list, presentList(facts, going, mode)));
  if (refusal) throw refusal;
  await tx.query("UPDATE point SET state = 'deleting', deletion_id = $2, fault = NULL WHERE id = ANY($1)", [
    going,
    deletionId,
  ]);
  for (const [id, parent] of newParents(facts.points, new Set(going)))
    await tx.query(
      `UPDATE point SET parent_point_id = $2,
         reasons = CASE WHEN $2::uuid IS NULL AND NOT reasons ? 'HEAD_OF_CHAIN' THEN reasons || '["HEAD_OF_CHAIN"]' ELSE reasons END
       WHERE id = $1`,
      [id, parent],
    );
};

/** What the same request would list now; of what is gone nothing. */
const presentList = (facts: ChainFacts, going: readonly PointId[], mode: Deletion['mode']) => {
  const present = new Set(facts.points.map(({ id }) => id));
  return listDeletion(
    facts,
    going.filter((id) => present.has(id)),
    mode,
  );
};

/** The points are gone from the pool. The chain goes with its last one, and with it what failed attempts left in the catalogue. */
const forgetPoints = async (tx: Transaction, { request }: DeletionState): Promise<void> => {
  const { chainId, list } = request;
  await tx.query('SELECT 1 FROM chain WHERE id = $1 FOR UPDATE', [chainId]);
  await tx.query(
    `WITH gone AS (DELETE FROM point WHERE id = ANY($1) RETURNING id, vm_id)
     INSERT INTO deleted_point SELECT id, vm_id FROM gone ON CONFLICT DO NOTHING`,
    [removedIds(list)],
  );
  await tx.query(
    'DELETE FROM chain c WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM point WHERE chain_id = c.id)',
    [chainId],
  );
};
