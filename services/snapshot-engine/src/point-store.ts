import {
  Fault,
  type Chain,
  type ChainId,
  type listChains,
  type listPoints,
  type listPointsToVerify,
  type Point,
  type PointId,
  type PoolId,
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
import { IsNull, type DataSource } from 'typeorm';
import { type z } from 'zod';
import { type PointUse } from './deletion.js';
import { chainTable, pointTable, type ChainRow, type PointRow } from './point.table.js';
import { pointOf, type ProtectionState } from './protection.js';
import { type RestorablePoint } from './restore.js';
import { markSuspects, suspectCopy, type LinePoint } from './suspect.rules.js';

type PageOf<T extends { reply: z.ZodType }> = z.infer<T['reply']>;

interface VerifiedCounts {
  readonly sound: number;
  readonly damaged: number;
  readonly never: number;
  /** By bound. */
  readonly ages: readonly number[];
}

const iso = (date: Date | null): string | null => date?.toISOString() ?? null;

const domainOf = ({
  itemId: _item,
  hardware: _hardware,
  configuration: _configuration,
  ...row
}: PointRow): Point => ({
  ...(row as PointRow &
    Pick<Point, 'id' | 'chainId' | 'parentPointId' | 'platformId' | 'vmId' | 'poolId' | 'runId' | 'copyOf'>),
  createdAt: row.createdAt.toISOString(),
  capturedAt: iso(row.capturedAt),
  availableAt: iso(row.availableAt),
});

const chainOf = (row: ChainRow): Chain => ({
  ...row,
  id: row.id as ChainId,
  vmId: row.vmId as VmId,
  poolId: row.poolId as PoolId,
  diskIds: row.diskIds as Chain['diskIds'],
  copyOf: row.copyOf as Chain['copyOf'],
  createdAt: row.createdAt.toISOString(),
});

const dateOf = (instant: string | null): Date | null => (instant === null ? null : new Date(instant));

/** Without the hold and the verification, which are not the protection's to write; what it makes is no copy. */
const rowOf = (
  { hold: _hold, verification: _verification, copyOf: _copyOf, ...point }: Point,
  { request, plan }: ProtectionState,
): Omit<PointRow, 'hold' | 'verification' | 'copyOf'> => ({
  ...point,
  itemId: request.itemId,
  createdAt: new Date(point.createdAt),
  capturedAt: dateOf(point.capturedAt),
  availableAt: dateOf(point.availableAt),
  hardware: plan?.hardware ?? { cpuCount: 1, memoryMiB: 64, nics: [] },
  configuration: plan?.spec.configuration ?? {},
});

/** Chains and points as queries see them: written by the protections' steps, in the same transactions. */
export class PointStore {
  constructor(private readonly database: DataSource) {}

  /** Writes what the step changed of the point; most steps of a running transfer change nothing of it. */
  async project(tx: Transaction, { before, after }: ProjectedStep<ProtectionState>): Promise<void> {
    const point = pointOf(after);
    if (!point || JSON.stringify(point) === JSON.stringify(before && pointOf(before))) return;
    if (!before?.plan) await this.#openChain(tx, point, after);
    await tx.getRepository(pointTable).upsert(rowOf(point, after), ['id']);
    if (point.state === 'available' && before?.pointState !== 'available')
      await this.#markSuspects(tx, point);
  }

  async get(id: PointId): Promise<Point> {
    return domainOf(await this.#row(id));
  }

  /** E7: the same point as a pool has it, itself or a copy; one that is available before others. */
  async inPool(id: PointId, poolId: PoolId): Promise<Point> {
    const [found] = await reading(this.database, (source) =>
      source.query<{ id: PointId }[]>(
        `SELECT q.id FROM point p JOIN point q ON coalesce(q.copy_of, q.id) = coalesce(p.copy_of, p.id)
         WHERE p.id = $1 AND q.pool_id = $2 ORDER BY q.state = 'available' DESC, q.id = p.id DESC, q.id DESC LIMIT 1`,
        [id, poolId],
      ),
    );
    if (found) return this.get(found.id);
    const { vmName } = await this.get(id);
    throw new Fault('NOT_FOUND', `pool ${poolId} has no copy of point ${id} of VM '${vmName}'`, {
      details: { pointId: id, poolId },
    });
  }

  async restorable(id: PointId): Promise<RestorablePoint> {
    const row = await this.#row(id);
    return { point: domainOf(row), hardware: row.hardware, configuration: { ...row.configuration } };
  }

  /** Of those that were captured from the VM: copies leave no checkpoint there. */
  async newestAvailable(vmId: VmId, poolId: PoolId): Promise<{ pointId: PointId; chainId: ChainId } | null> {
    const row = await reading(this.database, (source) =>
      source.getRepository(pointTable).findOne({
        where: { vmId, poolId, state: 'available', copyOf: IsNull() },
        order: { availableAt: 'DESC' },
      }),
    );
    return row && { pointId: row.id as PointId, chainId: row.chainId as ChainId };
  }

  /** Newest first. */
  async page(request: z.output<typeof listPoints.request>): Promise<PageOf<typeof listPoints>> {
    const after = readCursor(request.cursor, 2);
    const rows = await reading(this.database, (source) => {
      const query = source
        .getRepository(pointTable)
        .createQueryBuilder('p')
        .orderBy({ 'p.createdAt': 'DESC', 'p.id': 'DESC' })
        .take(request.limit + 1);
      for (const key of ['vmId', 'chainId', 'state', 'copyOf'] as const)
        if (request[key] !== undefined) query.andWhere(`p.${key} = :${key}`, { [key]: request[key] });
      if (after) query.andWhere('(p.createdAt, p.id) < (:at, :id)', { at: after[0], id: after[1] });
      return query.getMany();
    });
    return pageFrom(rows, request.limit, (row) => [row.createdAt.toISOString(), row.id], domainOf);
  }

  /** E8: in the order of their newest verification that found them sound or damaged; those that had none come first. */
  async pageToVerify(
    request: z.output<typeof listPointsToVerify.request>,
  ): Promise<PageOf<typeof listPointsToVerify>> {
    const after = readCursor(request.cursor, 2);
    const rows = await reading(this.database, (source) =>
      source.query<{ pointId: PointId; vmId: VmId; vmName: string; verifiedAt: string }[]>(
        `SELECT p.id AS "pointId", p.vm_id AS "vmId", p.vm_name AS "vmName", coalesce(p.verification ->> 'at', '') AS "verifiedAt"
         FROM point p
         WHERE p.pool_id = $1 AND p.state = 'available' AND ($2::uuid[] IS NULL OR p.vm_id = ANY ($2))
           AND NOT ($3 AND EXISTS (SELECT FROM point newer WHERE newer.chain_id = p.chain_id AND newer.state = 'available'
             AND (newer.created_at, newer.id) > (p.created_at, p.id)))
           AND ($4::text IS NULL OR (coalesce(p.verification ->> 'at', ''), p.id) > ($4, $5::uuid))
         ORDER BY coalesce(p.verification ->> 'at', ''), p.id LIMIT $6`,
        [
          request.poolId,
          request.vmIds ?? null,
          request.newestOnly,
          after?.[0] ?? null,
          after?.[1] ?? null,
          request.limit + 1,
        ],
      ),
    );
    return pageFrom(
      rows,
      request.limit,
      (row) => [row.verifiedAt, row.pointId],
      ({ pointId, vmId, vmName }) => ({ pointId, vmId, vmName }),
    );
  }

  /** Oldest first; chains that never got a point worth keeping are left out. */
  async chains(request: z.output<typeof listChains.request>): Promise<PageOf<typeof listChains>> {
    const after = readCursor(request.cursor, 2);
    const rows = await reading(this.database, (source) => {
      const query = source
        .getRepository(chainTable)
        .createQueryBuilder('c')
        .where("EXISTS (SELECT 1 FROM point p WHERE p.chain_id = c.id AND p.state <> 'failed')")
        .orderBy({ 'c.createdAt': 'ASC', 'c.id': 'ASC' })
        .take(request.limit + 1);
      if (request.vmId !== undefined) query.andWhere('c.vmId = :vmId', { vmId: request.vmId });
      if (request.poolId !== undefined) query.andWhere('c.poolId = :poolId', { poolId: request.poolId });
      if (request.diskId !== undefined)
        query.andWhere('c.diskIds @> :diskIds::jsonb', { diskIds: JSON.stringify([request.diskId]) });
      if (after) query.andWhere('(c.createdAt, c.id) > (:at, :id)', { at: after[0], id: after[1] });
      return query.getMany();
    });
    return pageFrom(rows, request.limit, (row) => [row.createdAt.toISOString(), row.id], chainOf);
  }

  async chain(id: ChainId): Promise<Chain> {
    const row = await reading(this.database, (source) => source.getRepository(chainTable).findOneBy({ id }));
    if (!row) throw new Fault('NOT_FOUND', `there is no chain ${id}`);
    return chainOf(row);
  }

  /**
   * Says that a run reads the point, or (`protection`) makes one that stands on it: from then until the run's machine is done it
   * is not deleted. False: it is not available, or its chain is being deleted from and can't be extended.
   */
  async use(pointId: PointId, { kind, itemId, runId }: Omit<PointUse, 'pointId'>): Promise<boolean> {
    return inTransaction(this.database, async (tx) => {
      const locked = `SELECT c.id FROM chain c WHERE c.id = (SELECT chain_id FROM point WHERE id = $1) FOR UPDATE`;
      const [chain] = await tx.query<{ id: string }[]>(locked, [pointId]);
      const rows = await tx.query<unknown[]>(
        `INSERT INTO point_use (item_id, point_id, kind, run_id)
         SELECT $2, id, $3, $4 FROM point WHERE id = $1 AND state = 'available'
           AND ($3 <> 'protection' OR NOT EXISTS (SELECT 1 FROM deletion WHERE chain_id = $5 AND state = 'deleting'))
         ON CONFLICT (item_id, point_id) DO UPDATE SET kind = excluded.kind RETURNING 1 AS one`,
        [pointId, itemId, kind, runId, chain?.id ?? null],
      );
      return rows.length > 0;
    });
  }

  async countByState(): Promise<{ state: string; count: number }[]> {
    return reading(this.database, async (source) => {
      const sql = 'SELECT state, count(*)::int AS count FROM point GROUP BY state';
      return source.query<{ state: string; count: number }[]>(sql);
    });
  }

  /** Of available points what their newest verification found, and how many were verified at most `bounds` (seconds) ago. */
  async countVerified(bounds: readonly number[]): Promise<VerifiedCounts> {
    const rows = await reading(this.database, (source) =>
      source.query<VerifiedCounts[]>(
        `WITH mark AS (
           SELECT verification ->> 'state' AS found,
                  extract(epoch FROM clock_timestamp() - (verification ->> 'at')::timestamptz) AS age
             FROM point WHERE state = 'available')
         SELECT count(*) FILTER (WHERE found = 'sound')::int AS sound,
                count(*) FILTER (WHERE found = 'damaged')::int AS damaged,
                count(*) FILTER (WHERE found IS NULL)::int AS never,
                (SELECT array_agg((SELECT count(*)::int FROM mark WHERE age <= b.bound) ORDER BY b.bound)
                   FROM unnest($1::float8[]) AS b (bound)) AS ages
           FROM mark`,
        [bounds],
      ),
    );
    return rows[0] ?? { sound: 0, damaged: 0, never: 0, ages: [] };
  }

  /** G1: in the transaction that makes the point available which caught the tracker; with the copies of the points. */
  async #markSuspects(tx: Transaction, { parentPointId, disks }: Point): Promise<void> {
    const wrong = disks.filter(({ reasons }) => reasons.includes('TRACKER_WRONG'));
    if (wrong.length === 0 || parentPointId === null) return;
    const line = await tx.query<LinePoint[]>(
      `WITH RECURSIVE line AS (
         SELECT id, parent_point_id, disks, reasons, 1 AS distance FROM point WHERE id = $1
         UNION ALL
         SELECT p.id, p.parent_point_id, p.disks, p.reasons, line.distance + 1
         FROM point p JOIN line ON p.id = line.parent_point_id
       ) SELECT id, disks, reasons FROM line ORDER BY distance`,
      [parentPointId],
    );
    const diskIds = wrong.map(({ diskId }) => diskId);
    for (const suspect of markSuspects(line, diskIds)) {
      const copies = await tx.query<LinePoint[]>(
        'SELECT id, disks, reasons FROM point WHERE copy_of = $1 FOR UPDATE',
        [suspect.id],
      );
      for (const marked of [suspect, ...copies.map((copy) => suspectCopy(copy, suspect))])
        await tx.query('UPDATE point SET disks = $2, reasons = $3 WHERE id = $1', [
          marked.id,
          JSON.stringify(marked.disks),
          JSON.stringify(marked.reasons),
        ]);
    }
  }

  async #openChain(tx: Transaction, point: Point, { request }: ProtectionState): Promise<void> {
    const { chainId: id, vmId, vmName, poolId, createdAt } = point;
    const diskIds = request.diskIds?.toSorted() ?? null;
    await tx
      .createQueryBuilder()
      .insert()
      .into(chainTable)
      .values({ id, vmId, vmName, poolId, diskIds, createdAt: new Date(createdAt) })
      .orIgnore()
      .execute();
  }

  async #row(id: PointId): Promise<PointRow> {
    const row = await reading(this.database, (source) => source.getRepository(pointTable).findOneBy({ id }));
    if (!row) throw new Fault('NOT_FOUND', `there is no point ${id}`);
    return row;
  }
}
