import { type PlatformId, type RunItemId, type VmId } from '@casvault/contracts';
import { inTransaction, reading } from '@casvault/persistence';
import { type DataSource, Not } from 'typeorm';
import { isHeir, type Shutdown, type ShutdownState } from './shutdown.js';
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

  /**
   * Ends the item's own, if other items have the VM off or are about to, and leaves the start to them: as if they had found it running.
   * Says whether there are any; else it is `starting`, and nobody leaves the start to it any more: what it still does may come late.
   * Of two that give the VM back at once the second finds the first to have ended.
   */
  async handOver({ itemId, vmId }: Pick<Shutdown, 'itemId' | 'vmId'>): Promise<boolean> {
    return inTransaction(this.database, async (tx) => {
      const rows = await tx.query<{ itemId: string; state: ShutdownState }[]>(
        'SELECT item_id AS "itemId", state FROM vm_shutdown WHERE vm_id = $1 ORDER BY item_id FOR UPDATE',
        [vmId],
      );
      const heirs = rows.filter((row) => row.itemId !== itemId && isHeir(row)).map((row) => row.itemId);
      await tx.query('UPDATE vm_shutdown SET was_running = true WHERE vm_id = $1 AND item_id = ANY($2)', [
        vmId,
        heirs,
      ]);
      const isLeft = heirs.length > 0;
      await tx.query(
        `UPDATE vm_shutdown SET state = $3 WHERE vm_id = $1 AND item_id = $2 AND state <> 'ended'`,
        [vmId, itemId, isLeft ? 'ended' : 'starting'],
      );
      return isLeft;
    });
  }

  /** Ends the item's own; false, and nothing is done, when another has said since it was read what it is to be: `handOver`, `leaveOff`. */
  async end({ itemId, vmId, wasRunning }: Shutdown): Promise<boolean> {
    return inTransaction(this.database, async (tx) => {
      const [, count] = await tx.query<[unknown, number]>(
        `UPDATE vm_shutdown SET state = 'ended' WHERE item_id = $1 AND vm_id = $2 AND was_running = $3 AND state <> 'ended'`,
        [itemId, vmId, wasRunning],
      );
      return count > 0;
    });
  }

  /** Ends the item's own; the others that have the VM off, or are about to, do not start it either unless they are told to. */
  async leaveOff({ itemId, vmId }: Pick<Shutdown, 'itemId' | 'vmId'>): Promise<void> {
    await inTransaction(this.database, (tx) =>
      tx.query(
        `UPDATE vm_shutdown SET was_running = false, state = CASE item_id WHEN $2 THEN 'ended' ELSE state END
         WHERE vm_id = $1`,
        [vmId, itemId],
      ),
    );
  }

  /** `wasRunning` is that of the first time, or what others have said since: `handOver`, `leaveOff`. What has ended stays so. */
  async save({ itemId, vmId, platformId, state, wasRunning, askedAt }: Shutdown): Promise<void> {
    await inTransaction(this.database, (tx) =>
      tx.query(
        `INSERT INTO vm_shutdown (item_id, vm_id, platform_id, state, was_running, asked_at)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (item_id, vm_id) DO UPDATE SET platform_id = excluded.platform_id, state = excluded.state,
           asked_at = excluded.asked_at
         WHERE vm_shutdown.state <> 'ended'`,
        [itemId, vmId, platformId, state, wasRunning, askedAt],
      ),
    );
  }
}
