import { Fault, type PageRequest, type Pool, type PoolId } from '@casvault/contracts';
import { inTransaction, isUniqueViolation, pageFrom, readCursor, reading } from '@casvault/persistence';
import { type DataSource } from 'typeorm';
import { type PoolRow, poolTable } from './pool.table.js';

const domainOf = (row: PoolRow): Pool => ({
  id: row.id as PoolId,
  name: row.name,
  type: row.type as Pool['type'],
  location: row.location,
  createdAt: row.createdAt.toISOString(),
});

export class PoolStore {
  constructor(private readonly database: DataSource) {}

  async find(id: PoolId): Promise<Pool | null> {
    const row = await reading(this.database, (source) => source.getRepository(poolTable).findOneBy({ id }));
    return row === null ? null : domainOf(row);
  }

  async get(id: PoolId): Promise<Pool> {
    const found = await this.find(id);
    if (found === null)
      throw new Fault('NOT_FOUND', `there is no storage pool ${id}`, { details: { poolId: id } });
    return found;
  }

  /** ALREADY_EXISTS when the name is taken or the place is another pool's. */
  async refuseTaken(name: string, place: string): Promise<void> {
    const rows = await reading(this.database, (source) =>
      source.query<{ name: string; place: string }[]>(
        'SELECT name, place FROM pool WHERE lower(name) = lower($1) OR place = $2',
        [name, place],
      ),
    );
    const holder = rows.find((row) => row.place === place);
    if (holder !== undefined) throw placeTaken(holder.name);
    if (rows.length > 0) throw nameTaken(name);
  }

  async add(pool: Pool, place: string): Promise<void> {
    const row: PoolRow = { ...pool, place, createdAt: new Date(pool.createdAt) };
    try {
      await inTransaction(this.database, (tx) => tx.getRepository(poolTable).insert(row));
    } catch (error) {
      if (isUniqueViolation(error, 'pool_name')) throw nameTaken(pool.name);
      if (isUniqueViolation(error, 'pool_place')) throw placeTaken('another');
      if (isUniqueViolation(error))
        throw new Fault('ALREADY_EXISTS', `storage pool ${pool.id} exists already`);
      throw error;
    }
  }

  async page(request: PageRequest): Promise<{ items: Pool[]; nextCursor: string | null }> {
    const after = readCursor(request.cursor, 2);
    const rows = await reading(this.database, (source) => {
      const query = source
        .getRepository(poolTable)
        .createQueryBuilder('p')
        .orderBy('p.name')
        .addOrderBy('p.id')
        .take(request.limit + 1);
      if (after !== null) query.where('(p.name, p.id) > (:name, :id)', { name: after[0], id: after[1] });
      return query.getMany();
    });
    return pageFrom(rows, request.limit, (row) => [row.name, row.id], domainOf);
  }
}

const nameTaken = (name: string): Fault =>
  new Fault('ALREADY_EXISTS', `name: a storage pool "${name}" exists already`, {
    details: { field: 'name' },
  });
const placeTaken = (holder: string): Fault =>
  new Fault('ALREADY_EXISTS', `location: storage pool "${holder}" lies there already`, {
    details: { field: 'location' },
  });
