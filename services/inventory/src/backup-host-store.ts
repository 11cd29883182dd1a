import { type BackupHost, type BackupHostId, type PageRequest } from '@casvault/contracts';
import { inTransaction, pageFrom, readCursor, reading } from '@casvault/persistence';
import { type DataSource } from 'typeorm';
import { silenceMs, stateOf } from './backup-host.js';
import { type BackupHostRow, backupHostTable } from './backup-host.table.js';

const domainOf =
  (now: Date) =>
  (row: BackupHostRow): BackupHost => ({
    ...row,
    id: row.id as BackupHostId,
    state: stateOf(row.lastSeenAt, now),
    lastSeenAt: row.lastSeenAt.toISOString(),
  });

export class BackupHostStore {
  constructor(private readonly database: DataSource) {}

  /** A heartbeat; registers the host the first time. */
  async report(host: Omit<BackupHostRow, 'lastSeenAt'>, now: Date): Promise<void> {
    await inTransaction(this.database, (tx) =>
      tx.getRepository(backupHostTable).upsert({ ...host, lastSeenAt: now }, ['id']),
    );
  }

  async page(request: PageRequest, now: Date): Promise<{ items: BackupHost[]; nextCursor: string | null }> {
    const after = readCursor(request.cursor, 2);
    const rows = await reading(this.database, (source) => {
      const query = source
        .getRepository(backupHostTable)
        .createQueryBuilder('b')
        .orderBy('b.name')
        .addOrderBy('b.id')
        .take(request.limit + 1);
      if (after !== null) query.where('(b.name, b.id) > (:name, :id)', { name: after[0], id: after[1] });
      return query.getMany();
    });
    return pageFrom(rows, request.limit, (row) => [row.name, row.id], domainOf(now));
  }

  async countByState(now: Date): Promise<{ group: string; online: number; offline: number }[]> {
    const since = new Date(now.getTime() - silenceMs);
    return reading(this.database, (source) =>
      source.query<{ group: string; online: number; offline: number }[]>(
        `SELECT host_group AS "group", count(*) FILTER (WHERE last_seen_at >= $1)::int AS online,
                count(*) FILTER (WHERE last_seen_at < $1)::int AS offline
         FROM backup_host GROUP BY host_group`,
        [since],
      ),
    );
  }
}
