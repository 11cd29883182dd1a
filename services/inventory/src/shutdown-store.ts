import { type PlatformId, type RunItemId, type VmId } from '@casvault/contracts';
import { inTransaction, reading } from '@casvault/persistence';
import { type DataSource, Not } from 'typeorm';
import { type Shutdown, type ShutdownState } from './shutdown.js';
import { type ShutdownRow, shutdownTable } from './shutdown.table.js';

const domainOf = (row: ShutdownRow): Shutdown => ({
  ...row,
  itemId: row.itemId as RunItemId,
  vmId: row.vmId as VmId,
  platformId: row.platformId as PlatformId,
  state: row.state as ShutdownState,
});

/** Which item shut down which VM. */
export class ShutdownStore {
  constructor(private readonly database: DataSource) {}

  async find(itemId: RunItemId, vmId: VmId): Promise<Shutdown | null> {
    const row = await reading(this.database, (source) =>
      source.getRepository(shutdownTable).findOneBy({ itemId, vmId }),
    );
    return row && domainOf(row);
  }

  /** Those of a platform that have not ended, the oldest `limit` first. */
  async open(platformId: PlatformId, limit: number): Promise<Shutdown[]> {
    const rows = await reading(this.database, (source) =>
      source.getRepository(shutdownTable).find({
        where: { platformId, state: Not('ended') },
        order: { askedAt: 'ASC' },
        take: limit,
      }),
    );
    return rows.map(domainOf);
  }

  async save(shutdown: Shutdown): Promise<void> {
    await inTransaction(this.database, (tx) =>
      tx.getRepository(shutdownTable).upsert({ ...shutdown }, ['itemId', 'vmId']),
    );
  }
}
