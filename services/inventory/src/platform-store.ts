import {
  Fault,
  networkTypeSchema,
  type PageRequest,
  type PlatformId,
  sealedSchema,
} from '@casvault/contracts';
import { inTransaction, isUniqueViolation, pageFrom, readCursor, reading } from '@casvault/persistence';
import { type DataSource, IsNull } from 'typeorm';
import { type RegisteredPlatform } from './platform.js';
import { type PlatformRow, platformTable } from './platform.table.js';

const domainOf = (row: PlatformRow): RegisteredPlatform => ({
  id: row.id as PlatformId,
  name: row.name,
  type: 'h3c-cas',
  address: row.address,
  ssl: row.ssl,
  sslIgnoreErrors: row.sslIgnoreErrors,
  port: row.port,
  userName: row.userName,
  password: sealedSchema.parse(row.password),
  diskService: {
    network: networkTypeSchema.parse(row.dataNetwork),
    port: row.diskServicePort,
    token: sealedSchema.parse(row.diskServiceToken),
  },
  version: row.version,
  architecture: row.architecture as RegisteredPlatform['architecture'],
  state: row.state as RegisteredPlatform['state'],
  stateMessage: row.stateMessage,
  lastSyncAt: row.lastSyncAt?.toISOString() ?? null,
  createdAt: row.createdAt.toISOString(),
});

export class PlatformStore {
  constructor(private readonly database: DataSource) {}

  /** Null when it was never registered or is deregistered. */
  async find(id: PlatformId): Promise<RegisteredPlatform | null> {
    const row = await reading(this.database, (source) =>
      source.getRepository(platformTable).findOneBy({ id, deletedAt: IsNull() }),
    );
    return row === null ? null : domainOf(row);
  }

  async get(id: PlatformId): Promise<RegisteredPlatform> {
    const found = await this.find(id);
    if (found === null)
      throw new Fault('NOT_FOUND', `no platform ${id} is registered`, { details: { platformId: id } });
    return found;
  }

  async isNameFree(name: string): Promise<boolean> {
    const rows = await reading(this.database, (source) =>
      source.query<unknown[]>('SELECT 1 FROM platform WHERE lower(name) = lower($1) AND deleted_at IS NULL', [
        name,
      ]),
    );
    return rows.length === 0;
  }

  /** Saves a new platform; ALREADY_EXISTS when its name is taken. Due for its first synchronisation at once. */
  async add(platform: RegisteredPlatform): Promise<void> {
    const createdAt = new Date(platform.createdAt);
    const row: PlatformRow = {
      id: platform.id,
      name: platform.name,
      address: platform.address,
      ssl: platform.ssl,
      sslIgnoreErrors: platform.sslIgnoreErrors,
      port: platform.port,
      userName: platform.userName,
      password: platform.password,
      dataNetwork: platform.diskService.network,
      diskServicePort: platform.diskService.port,
      diskServiceToken: platform.diskService.token,
      version: platform.version,
      architecture: platform.architecture,
      state: platform.state,
      stateMessage: null,
      lastSyncAt: null,
      syncedFrom: null,
      nextSyncAt: createdAt,
      createdAt,
      deletedAt: null,
    };
    try {
      await inTransaction(this.database, (tx) => tx.getRepository(platformTable).insert(row));
    } catch (error) {
      if (isUniqueViolation(error, 'platform_name')) throw nameTaken(platform.name);
      if (isUniqueViolation(error))
        throw new Fault('ALREADY_EXISTS', `platform ${platform.id} is registered already, or was once`);
      throw error;
    }
  }

  async page(request: PageRequest): Promise<{ items: RegisteredPlatform[]; nextCursor: string | null }> {
    const after = readCursor(request.cursor, 2);
    const rows = await reading(this.database, (source) => {
      const query = source
        .getRepository(platformTable)
        .createQueryBuilder('p')
        .where('p.deleted_at IS NULL')
        .orderBy('p.name')
        .addOrderBy('p.id')
        .take(request.limit + 1);
      if (after !== null) query.andWhere('(p.name, p.id) > (:name, :id)', { name: after[0], id: after[1] });
      return query.getMany();
    });
    return pageFrom(rows, request.limit, (row) => [row.name, row.id], domainOf);
  }

  /**
   * Takes one platform whose synchronisation is due and puts its next one off, so that replicas share the work.
   * Null when none is due.
   */
  async takeDue(now: Date, intervalMs: number): Promise<PlatformId | null> {
    const rows = await inTransaction(this.database, (tx) =>
      tx.query<{ id: PlatformId }[]>(
        `WITH due AS (
           SELECT id FROM platform WHERE deleted_at IS NULL AND next_sync_at <= $1
           ORDER BY next_sync_at LIMIT 1 FOR UPDATE SKIP LOCKED),
         taken AS (
           UPDATE platform p SET next_sync_at = $2 FROM due WHERE p.id = due.id RETURNING p.id)
         SELECT id FROM taken`,
        [now, new Date(now.getTime() + intervalMs)],
      ),
    );
    return rows[0]?.id ?? null;
  }

  /** What a failed synchronisation leaves: the message, and `offline` when the platform can't be used now. */
  async recordFailure(id: PlatformId, message: string, isOffline: boolean): Promise<void> {
    await inTransaction(this.database, (tx) =>
      tx.query(
        `UPDATE platform SET state_message = $2, state = CASE WHEN $3 THEN 'offline' ELSE state END
         WHERE id = $1 AND deleted_at IS NULL`,
        [id, message, isOffline],
      ),
    );
  }

  /**
   * Hides the platform with all it has and forgets its secrets. Its rows stay, because points name its VMs.
   * True when there was something to do.
   */
  async deregister(id: PlatformId, now: Date): Promise<boolean> {
    return inTransaction(this.database, async (tx) => {
      const done = await tx
        .getRepository(platformTable)
        .update({ id, deletedAt: IsNull() }, { deletedAt: now, password: '', diskServiceToken: '' });
      await tx.query('UPDATE vm SET deleted_at = $2 WHERE platform_id = $1 AND deleted_at IS NULL', [
        id,
        now,
      ]);
      await tx.query('UPDATE host SET deleted_at = $2 WHERE platform_id = $1 AND deleted_at IS NULL', [
        id,
        now,
      ]);
      await tx.query('DELETE FROM storage WHERE platform_id = $1', [id]);
      await tx.query('DELETE FROM virtual_switch WHERE platform_id = $1', [id]);
      await tx.query('DELETE FROM network_profile WHERE platform_id = $1', [id]);
      return (done.affected ?? 0) > 0;
    });
  }

  async countByState(): Promise<{ online: number; offline: number; vms: number }> {
    const rows = await reading(this.database, (source) =>
      source.query<{ online: number; offline: number; vms: number }[]>(
        `SELECT (SELECT count(*)::int FROM platform WHERE deleted_at IS NULL AND state = 'online') AS online,
                (SELECT count(*)::int FROM platform WHERE deleted_at IS NULL AND state = 'offline') AS offline,
                (SELECT count(*)::int FROM vm WHERE deleted_at IS NULL) AS vms`,
      ),
    );
    return rows[0] ?? { online: 0, offline: 0, vms: 0 };
  }
}

export const nameTaken = (name: string): Fault =>
  new Fault('ALREADY_EXISTS', `name: a platform "${name}" is registered already`, {
    details: { field: 'name' },
  });
