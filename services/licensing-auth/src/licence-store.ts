import { Fault } from '@casvault/contracts';
import { inTransaction, pageFrom, readCursor, reading } from '@casvault/persistence';
import { type DataSource } from 'typeorm';
import { licenceTable, type LicenceRow } from './licence.table.js';

export { type LicenceRow };

/** Licences as they were imported. They are kept when they have expired. */
export class LicenceStore {
  constructor(private readonly database: DataSource) {}

  /** The row that is there afterwards: this one, or the same licence as it was imported before. ALREADY_EXISTS when another has its id. */
  async add(row: LicenceRow): Promise<LicenceRow> {
    const kept = await inTransaction(this.database, async (tx) => {
      await tx.createQueryBuilder().insert().into(licenceTable).values(row).orIgnore().execute();
      return tx.getRepository(licenceTable).findOneByOrFail({ id: row.id });
    });
    if (kept.text !== row.text)
      throw new Fault('ALREADY_EXISTS', `another licence has the id ${row.id}`, { details: { id: row.id } });
    return kept;
  }

  /** Newest first. */
  async page({ cursor, limit }: { cursor?: string | undefined; limit: number }): Promise<{
    items: LicenceRow[];
    nextCursor: string | null;
  }> {
    const after = readCursor(cursor, 2);
    const rows = await reading(this.database, (source) => {
      const query = source
        .getRepository(licenceTable)
        .createQueryBuilder('l')
        .orderBy({ 'l.importedAt': 'DESC', 'l.id': 'DESC' })
        .take(limit + 1);
      if (after) query.where('(l.importedAt, l.id) < (:at, :id)', { at: after[0], id: after[1] });
      return query.getMany();
    });
    return pageFrom(
      rows,
      limit,
      (row) => [row.importedAt.toISOString(), row.id],
      (row) => row,
    );
  }
}
