import { Fault, type PointId, type ReadingId } from '@casvault/contracts';
import { inTransaction } from '@casvault/persistence';
import { type DataSource } from 'typeorm';

/** How long a reading counts since something was heard of it. */
export const readingMs = 3 * 60_000;

/** Downloads of points: a point is not deleted while one of its rows has not run out. */
export class ReadingStore {
  constructor(private readonly database: DataSource) {}

  /** Locks the chain first, as whoever takes a point for deletion does: one of two that collide sees the other. CONFLICT: not available. */
  async open(id: ReadingId, pointId: PointId, now: Date): Promise<void> {
    await inTransaction(this.database, async (tx) => {
      await tx.query(
        'SELECT id FROM chain WHERE id = (SELECT chain_id FROM point WHERE id = $1) FOR UPDATE',
        [pointId],
      );
      await tx.query('DELETE FROM point_reading WHERE until < $1', [now]);
      const rows = await tx.query<unknown[]>(
        `INSERT INTO point_reading (id, point_id, until)
         SELECT $1, id, $3 FROM point WHERE id = $2 AND state = 'available' RETURNING 1 AS one`,
        [id, pointId, new Date(now.getTime() + readingMs)],
      );
      if (rows.length === 0)
        throw new Fault('CONFLICT', `point ${pointId} is not available`, { details: { pointId } });
    });
  }

  /** NOT_FOUND when it ran out. */
  async keep(id: ReadingId, now: Date): Promise<void> {
    await inTransaction(this.database, async (tx) => {
      const [rows] = await tx.query<[unknown[], number]>(
        'UPDATE point_reading SET until = $2 WHERE id = $1 AND until > $3 RETURNING 1 AS one',
        [id, new Date(now.getTime() + readingMs), now],
      );
      if (rows.length === 0) throw new Fault('NOT_FOUND', `there is no reading ${id}, or it ran out`);
    });
  }
}
