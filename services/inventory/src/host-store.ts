import { Fault, type Host, type HostId, type PageRequest, type PlatformId } from '@casvault/contracts';
import { pageFrom, readCursor, reading } from '@casvault/persistence';
import { type DataSource, IsNull } from 'typeorm';
import { type HostRow, hostTable } from './host.table.js';

const domainOf = (row: HostRow): Host => ({
  id: row.id as HostId,
  platformId: row.platformId as PlatformId,
  externalId: row.externalId,
  name: row.name,
  ip: row.ip,
  status: row.status as Host['status'],
  cpuCount: row.cpuCount,
  memoryMiB: row.memoryMiB,
  vmCount: row.vmCount,
});

const presentOf = (row: HostRow): Host => {
  if (row.deletedAt === null) return domainOf(row);
  const { id: hostId, platformId, name, ip } = row;
  const since = row.deletedAt.toISOString();
  throw new Fault(
    'NOT_FOUND',
    `host ${name} (${ip}) is no longer on the platform since ${since}; if it was added again, choose it anew (R13)`,
    { details: { hostId, platformId, name } },
  );
};

export class HostStore {
  constructor(private readonly database: DataSource) {}

  /** A host of this platform that is there now. R13: one that was removed and added again is another host. */
  async get(platformId: PlatformId, id: HostId): Promise<Host> {
    const row = await this.find({ id, platformId });
    if (row === null)
      throw new Fault('NOT_FOUND', `the platform has no host ${id}`, { details: { hostId: id, platformId } });
    return presentOf(row);
  }

  /** As `get`, whatever platform it is of. */
  async byId(id: HostId): Promise<Host> {
    const row = await this.find({ id });
    if (row === null) throw new Fault('NOT_FOUND', `no host ${id} is known`, { details: { hostId: id } });
    return presentOf(row);
  }

  /** All that the platform has now. Memory: some 300 bytes each. */
  async all(platformId: PlatformId): Promise<Host[]> {
    const rows = await reading(this.database, (source) =>
      source.getRepository(hostTable).findBy({ platformId, deletedAt: IsNull() }),
    );
    return rows.map(domainOf);
  }

  async page(
    request: PageRequest & { platformId: PlatformId },
  ): Promise<{ items: Host[]; nextCursor: string | null }> {
    const after = readCursor(request.cursor, 2);
    const rows = await reading(this.database, (source) => {
      const query = source
        .getRepository(hostTable)
        .createQueryBuilder('h')
        .where('h.platform_id = :platformId AND h.deleted_at IS NULL', { platformId: request.platformId })
        .orderBy('h.name')
        .addOrderBy('h.id')
        .take(request.limit + 1);
      if (after !== null) query.andWhere('(h.name, h.id) > (:name, :id)', { name: after[0], id: after[1] });
      return query.getMany();
    });
    return pageFrom(rows, request.limit, (row) => [row.name, row.id], domainOf);
  }

  private find(where: { id: HostId; platformId?: PlatformId }): Promise<HostRow | null> {
    return reading(this.database, (source) => source.getRepository(hostTable).findOneBy(where));
  }
}
