import {
  Fault,
  idFrom,
  type ChainId,
  type listPointsToCopy,
  type Point,
  type PointId,
  type PoolId,
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
import { copyPointState, type CopyRequest, type CopyState } from './copy.js';
import { copyMachine } from './copy.machine.js';

type PageOf<T extends { reply: z.ZodType }> = z.infer<T['reply']>;

/** Where a copy goes, and what it is made of; or the point that the pool has already. */
export type CopyPlace =
  | { readonly foundId: PointId }
  | {
      readonly chainId: ChainId;
      readonly parentPointId: PointId | null;
      readonly source: {
        readonly pointId: PointId;
        readonly chainId: ChainId;
        readonly sincePointId: PointId | null;
        readonly poolId: PoolId;
      };
    };

interface SourceRow {
  readonly chainId: ChainId;
  readonly poolId: PoolId;
  readonly state: Point['state'];
  readonly originId: PointId;
  readonly originChainId: ChainId;
}

const sourceSql = `SELECT p.chain_id AS "chainId", p.pool_id AS "poolId", p.state, coalesce(p.copy_of, p.id) AS "originId",
    coalesce(c.copy_of, c.id) AS "originChainId"
  FROM point p JOIN chain c ON c.id = p.chain_id WHERE p.id = $1`;
/** What the pool has of the point: there already, or being copied by another item that is not over. */
const presentSql = `SELECT p.id, p.state FROM point p
  WHERE coalesce(p.copy_of, p.id) = $1 AND p.pool_id = $2 AND p.id <> $3 AND (p.state = 'available'
    OR p.state IN ('pending', 'transferring') AND EXISTS (
      SELECT FROM machine_instance m WHERE m.kind = '${copyMachine.kind}' AND m.id = p.item_id::text AND NOT m.done))
  ORDER BY p.state = 'available' DESC LIMIT 1`;
const chainSql = `INSERT INTO chain (id, vm_id, vm_name, pool_id, disk_ids, created_at, copy_of)
  SELECT $1, vm_id, vm_name, $2, disk_ids, clock_timestamp(), $3 FROM chain WHERE id = $4 ON CONFLICT (id) DO NOTHING`;
const pointSql = `INSERT INTO point (id, chain_id, item_id, kind, state, platform_id, vm_id, vm_name, pool_id, run_id, created_at, captured_at,
    method, consistency, excluded_disks, disks, reasons, hardware, configuration, copy_of)
  SELECT $1, $2, $3, 'full', 'pending', platform_id, vm_id, vm_name, $4, $5, created_at, captured_at, method, consistency, excluded_disks,
    (SELECT coalesce(jsonb_agg(d || '{"readBytes": 0, "storedBytes": 0, "mapRoot": null}' ORDER BY n), '[]')
       FROM jsonb_array_elements(disks) WITH ORDINALITY AS e (d, n)),
    reasons, hardware, configuration, $6 FROM point WHERE id = $7 ON CONFLICT (id) DO NOTHING`;
/**
 * The newest copy of an earlier point of the chain. None where damage was found in the chain of copies: the next is whole by itself (E8). With
 * it the point that it is a copy of, as the source's chain has it: what did not change since is not read.
 */
const parentSql = `SELECT q.id AS "parentPointId", (
    SELECT s.id FROM point s WHERE s.chain_id = p.chain_id AND s.state = 'available' AND coalesce(s.copy_of, s.id) = q.copy_of LIMIT 1
  ) AS "sincePointId"
  FROM point p JOIN point q ON q.chain_id = $2 AND q.state = 'available' AND (q.captured_at, q.created_at) < (p.captured_at, p.created_at)
  WHERE p.id = $1 AND NOT EXISTS (
    SELECT FROM point d WHERE d.chain_id = $2 AND d.state = 'available' AND d.verification @> '{"state": "damaged"}')
  ORDER BY q.captured_at DESC, q.id DESC LIMIT 1`;
const useSql = `INSERT INTO point_use (item_id, point_id, kind, run_id) VALUES ($1, $2, '${copyMachine.kind}', $3)
  ON CONFLICT (item_id, point_id) DO NOTHING`;

/**
 * Copies in the catalogue (E7): points of their own, in chains of their own. A chain has one chain of copies in a pool, whose id follows from the
 * two. Written with the steps of their machines, in the same transactions.
 */
export class CopyStore {
  constructor(private readonly database: DataSource) {}

  async project(tx: Transaction, { before, after }: ProjectedStep<CopyState>): Promise<void> {
    const state = copyPointState(after);
    if (before && state === copyPointState(before) && before.fault === after.fault) return;
    const { ids, spec, result, availableAt, fault } = after;
    await tx.query(
      `UPDATE point SET state = $2, parent_point_id = $3, kind = CASE WHEN $3::uuid IS NULL THEN 'full' ELSE 'incremental' END,
         available_at = $4, pool_bytes = $5, fault = $6,
         disks = (SELECT coalesce(jsonb_agg(d || coalesce($7::jsonb -> (d ->> 'target'), '{}') ORDER BY n), '[]')
                    FROM jsonb_array_elements(disks) WITH ORDINALITY AS e (d, n))
       WHERE id = $1`,
      [
        ids.copyId,
        state,
        spec?.parentPointId ?? null,
        availableAt,
        result?.poolBytes ?? 0,
        fault && JSON.stringify(fault),
        JSON.stringify(movedOf(after)),
      ],
    );
  }

  /**
   * Gives the copy its place: one that is there already is found, else the point and the copy that it stands on are protected from deletion and
   * the copy is in the catalogue. Done again it finds the same. Faults: NOT_FOUND; CONFLICT when the point is not available, or the item is over;
   * DEPENDENCY_UNAVAILABLE while another item copies it, or a deletion works in the chain of copies.
   */
  async place(request: CopyRequest, copyId: PointId): Promise<CopyPlace> {
    return inTransaction(this.database, (tx) => place(tx, request, copyId));
  }

  /** Chain after chain in the order of their ids, of each the oldest first. */
  async pageToCopy(
    request: z.output<typeof listPointsToCopy.request>,
  ): Promise<PageOf<typeof listPointsToCopy>> {
    const after = readCursor(request.cursor, 3);
    type Row = PageOf<typeof listPointsToCopy>['items'][number] & { createdAt: Date };
    const rows = await reading(this.database, (source) =>
      source.query<Row[]>(
        `SELECT p.id AS "pointId", p.chain_id AS "chainId", p.vm_id AS "vmId", p.vm_name AS "vmName", p.created_at AS "createdAt"
         FROM point p
         WHERE p.pool_id = $1 AND p.state = 'available' AND ($3::uuid[] IS NULL OR p.vm_id = ANY ($3))
           AND NOT EXISTS (SELECT FROM point q WHERE coalesce(q.copy_of, q.id) = coalesce(p.copy_of, p.id) AND q.pool_id = $2
             AND q.state = 'available')
           AND NOT ($4 AND EXISTS (SELECT FROM point newer WHERE newer.chain_id = p.chain_id AND newer.state = 'available'
             AND (newer.created_at, newer.id) > (p.created_at, p.id)))
           AND ($5::uuid IS NULL OR (p.chain_id, p.created_at, p.id) > ($5, $6, $7))
         ORDER BY p.chain_id, p.created_at, p.id LIMIT $8`,
        [
          request.poolId,
          request.targetPoolId,
          request.vmIds ?? null,
          request.newestOnly,
          after?.[0] ?? null,
          after?.[1] ?? null,
          after?.[2] ?? null,
          request.limit + 1,
        ],
      ),
    );
    return pageFrom(
      rows,
      request.limit,
      (row) => [row.chainId, row.createdAt.toISOString(), row.pointId],
      ({ pointId, chainId, vmId, vmName }) => ({ pointId, chainId, vmId, vmName }),
    );
  }
}

/** What the transfer told of each disk, by target. */
const movedOf = ({ result }: CopyState): Record<string, Partial<Point['disks'][number]>> =>
  Object.fromEntries(
    (result?.disks ?? []).map(({ target, doneBytes, resumedBytes, storedBytes, mapRoot }) => [
      target,
      { readBytes: doneBytes + resumedBytes, storedBytes, mapRoot },
    ]),
  );

const place = async (
  tx: Transaction,
  { itemId, runId, pointId, poolId }: CopyRequest,
  copyId: PointId,
): Promise<CopyPlace> => {
  await requireLive(tx, itemId);
  const known = await sourceOf(tx, pointId);
  const chainId = idFrom<ChainId>(poolId, known.originChainId);
  await tx.query(chainSql, [chainId, poolId, known.originChainId, known.chainId]);
  await tx.query('SELECT 1 FROM chain WHERE id = ANY($1) ORDER BY id FOR UPDATE', [[known.chainId, chainId]]);
  const source = await sourceOf(tx, pointId);
  if (source.state !== 'available')
    throw new Fault('CONFLICT', `point ${pointId} is ${source.state}, not available`, {
      details: { pointId, state: source.state },
    });
  const [present] = await tx.query<Pick<Point, 'id' | 'state'>[]>(presentSql, [
    source.originId,
    poolId,
    copyId,
  ]);
  if (present?.state === 'available') return { foundId: present.id };
  if (present) throw busy(`point ${pointId} is being copied to the pool as ${present.id}`);
  await refuseInDeletion(tx, chainId);
  await tx.query(pointSql, [copyId, chainId, itemId, poolId, runId, source.originId, pointId]);
  const [parent] = await tx.query<{ parentPointId: PointId; sincePointId: PointId | null }[]>(parentSql, [
    pointId,
    chainId,
  ]);
  const { parentPointId = null, sincePointId = null } = parent ?? {};
  for (const used of [pointId, parentPointId])
    if (used !== null) await tx.query(useSql, [itemId, used, runId]);
  return {
    chainId,
    parentPointId,
    source: { pointId, chainId: source.chainId, sincePointId, poolId: source.poolId },
  };
};

/** The item's row is locked against its end: a copy gets no place after it. */
const requireLive = async (tx: Transaction, itemId: string): Promise<void> => {
  const rows = await tx.query<unknown[]>(
    'SELECT 1 FROM machine_instance WHERE kind = $1 AND id = $2 AND NOT done FOR SHARE',
    [copyMachine.kind, itemId],
  );
  if (rows.length === 0) throw new Fault('CONFLICT', `copy ${itemId} is over`, { details: { itemId } });
};

const sourceOf = async (tx: Transaction, pointId: PointId): Promise<SourceRow> => {
  const [source] = await tx.query<SourceRow[]>(sourceSql, [pointId]);
  if (source) return source;
  throw new Fault('NOT_FOUND', `there is no point ${pointId}`);
};

const busy = (message: string): Fault => new Fault('DEPENDENCY_UNAVAILABLE', message);

const refuseInDeletion = async (tx: Transaction, chainId: ChainId): Promise<void> => {
  const [deletion] = await tx.query<{ id: string }[]>(
    "SELECT id FROM deletion WHERE chain_id = $1 AND state = 'deleting' LIMIT 1",
    [chainId],
  );
  if (deletion) throw busy(`deletion ${deletion.id} is under way in chain ${chainId}`);
};
