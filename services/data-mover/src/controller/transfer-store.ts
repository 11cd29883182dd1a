import { type PointId, type TransferId, type WorkSpec } from '@casvault/contracts';
import { reading, type ProjectedStep, type Transaction } from '@casvault/persistence';
import { type DataSource } from 'typeorm';
import { demandService } from '../scaler/retirement-store.js';
import { isTerminal, type TransferState } from './transfer.js';
import { transferTable } from './transfer.table.js';

export interface TransferCount {
  readonly state: string;
  readonly kind: string;
  readonly group: string;
  readonly count: number;
}

const told = (state: TransferState | null): string =>
  state === null ? '' : `${state.state} ${state.epoch} ${state.claim?.workerId}`;

/** Of a removal one of its points: nobody asks which transfers remove a point. */
const pointOf = (spec: WorkSpec): string | null => {
  if (spec.kind === 'hook') return null;
  return spec.kind === 'removal' ? (spec.pointIds[0] ?? spec.chainId) : spec.pointId;
};

/** Transfers as queries see them, written with the steps of their machines. */
export class TransferStore {
  constructor(private readonly database: DataSource) {}

  /** Progress is not written: it is the machine's. Throws DEPENDENCY_UNAVAILABLE for a claim of a worker that retires. */
  async project(tx: Transaction, { before, after, now }: ProjectedStep<TransferState>): Promise<void> {
    if (told(before) === told(after)) return;
    const { request, state, epoch, claim } = after;
    if (state === 'running' && claim && epoch !== before?.epoch) await demandService(tx, claim.workerId);
    const rows = tx.getRepository(transferTable);
    const changing = {
      state,
      epoch,
      workerId: claim?.workerId ?? null,
      finishedAt: isTerminal(state) ? now : null,
    };
    if (before) {
      await rows.update({ id: request.transferId }, changing);
      return;
    }
    await rows.insert({
      ...changing,
      id: request.transferId,
      kind: request.spec.kind,
      ownerId: request.ownerId,
      group: request.group,
      pointId: pointOf(request.spec),
      poolId: request.spec.kind === 'hook' ? null : request.spec.pool.id,
      createdAt: now,
    });
  }

  /** One of these points that a transfer still writes or reads, or null. */
  async inUse(pointIds: readonly PointId[]): Promise<PointId | null> {
    const [row] = await reading(this.database, (source) =>
      source.query<{ pointId: PointId }[]>(
        `SELECT point_id AS "pointId" FROM transfer
         WHERE point_id = ANY($1) AND kind <> 'removal' AND state IN ('queued', 'running') LIMIT 1`,
        [pointIds],
      ),
    );
    return row?.pointId ?? null;
  }

  /** Transfers that wrote, or may have written, these points. */
  async writingOf(pointIds: readonly PointId[]): Promise<TransferId[]> {
    const rows = await reading(this.database, (source) =>
      source.query<{ id: TransferId }[]>(
        "SELECT id FROM transfer WHERE point_id = ANY($1) AND kind IN ('backup', 'copy')",
        [pointIds],
      ),
    );
    return rows.map(({ id }) => id);
  }

  async countByState(): Promise<TransferCount[]> {
    return reading(this.database, (source) =>
      source.query<TransferCount[]>(
        'SELECT state, kind, host_group AS "group", count(*)::int AS count FROM transfer GROUP BY 1, 2, 3',
      ),
    );
  }

  /** For each group with queued transfers, since when the oldest of them is here. */
  async oldestQueued(): Promise<{ group: string; ageSeconds: number }[]> {
    return reading(this.database, (source) =>
      source.query<{ group: string; ageSeconds: number }[]>(
        `SELECT host_group AS "group", extract(epoch FROM clock_timestamp() - min(created_at))::float8 AS "ageSeconds"
         FROM transfer WHERE state = 'queued' GROUP BY host_group`,
      ),
    );
  }
}
