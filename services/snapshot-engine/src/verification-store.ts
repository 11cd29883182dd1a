import { Fault, type Point, type PointId, type Verification, type VerificationId } from '@casvault/contracts';
import { reading, type ProjectedStep, type Transaction } from '@casvault/persistence';
import { type DataSource } from 'typeorm';
import { markAfter } from './damage.rules.js';
import { verificationOf, type VerificationState } from './verification.js';
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

const markPoint = async (tx: Transaction, shown: Verification): Promise<void> => {
  const [point] = await tx.query<Pick<Point, 'verification'>[]>(
    'SELECT verification FROM point WHERE id = $1 FOR UPDATE',
    [shown.pointId],
  );
  const mark = point ? markAfter(point.verification, shown) : null;
  if (mark === null) return;
  await tx.query('UPDATE point SET verification = $2 WHERE id = $1', [shown.pointId, JSON.stringify(mark)]);
};
