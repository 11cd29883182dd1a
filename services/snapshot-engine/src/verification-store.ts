import { Fault, type PointId, type Verification, type VerificationId } from '@casvault/contracts';
import { reading, type ProjectedStep, type Transaction } from '@casvault/persistence';
import { type DataSource } from 'typeorm';
import { markOf, verificationOf, type VerificationState } from './verification.js';
import { verificationTable, type VerificationRow } from './verification.table.js';

/** Verifications as queries see them, and what points bear of them: written with their steps, in the same transactions. */
export class VerificationStore {
  constructor(private readonly database: DataSource) {}

  async project(tx: Transaction, { before, after }: ProjectedStep<VerificationState>): Promise<void> {
    const shown = verificationOf(after);
    if (before && JSON.stringify(shown) === JSON.stringify(verificationOf(before))) return;
    const { id, pointId, createdAt } = shown;
    await tx
      .getRepository(verificationTable)
      .upsert({ id, pointId, createdAt: new Date(createdAt), shown }, ['id']);
    if (before?.phase === 'running') await markPoint(tx, shown);
  }

  async get(id: VerificationId): Promise<Verification> {
    const row = await this.#find({ id });
    if (!row) throw new Fault('NOT_FOUND', `there is no verification ${id}`);
    return row.shown;
  }

  async newestOf(pointId: PointId): Promise<Verification> {
    const row = await this.#find({ pointId });
    if (!row) throw new Fault('NOT_FOUND', `there is no verification of a point ${pointId}`);
    return row.shown;
  }

  async #find(where: { id: string } | { pointId: string }): Promise<VerificationRow | null> {
    return reading(this.database, (source) =>
      source.getRepository(verificationTable).findOne({ where, order: { createdAt: 'DESC', id: 'DESC' } }),
    );
  }
}

/** What `content` found damaged, `stored` does not take back: it does not look as deep. */
const markPoint = async (tx: Transaction, shown: Verification): Promise<void> => {
  const mark = markOf(shown);
  if (!mark) return;
  const keepsDeeper = mark.depth === 'stored' && mark.state === 'sound';
  await tx.query(
    `UPDATE point SET verification = $2 WHERE id = $1
       AND NOT ($3 AND coalesce(verification @> '{"depth": "content", "state": "damaged"}', false))`,
    [shown.pointId, JSON.stringify(mark), keepsDeeper],
  );
};
