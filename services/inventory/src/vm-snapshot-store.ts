import { type PlatformId, type RunItemId, type VmId } from '@casvault/contracts';
import { inTransaction, reading } from '@casvault/persistence';
import { type DataSource } from 'typeorm';
import { type DiskPlace, type SnapshotKind } from './vm-snapshot.rules.js';
import { type VmSnapshotRow, vmSnapshotTable } from './vm-snapshot.table.js';

/** `making`: the CVM may have it. `made`: it has. `removed`: it has not, as far as was seen. */
export type VmSnapshotState = 'making' | 'made' | 'removed';

/** A snapshot that an item asked for. */
export interface VmSnapshot {
  readonly itemId: RunItemId;
  readonly vmId: VmId;
  readonly platformId: PlatformId;
  readonly kind: SnapshotKind;
  readonly state: VmSnapshotState;
  /** The disks that it takes, as they lay before it. */
  readonly before: readonly DiskPlace[];
  readonly takenAt: Date | null;
  readonly askedAt: Date;
}

const domainOf = (row: VmSnapshotRow): VmSnapshot => ({
  ...row,
  itemId: row.itemId as RunItemId,
  vmId: row.vmId as VmId,
  platformId: row.platformId as PlatformId,
  kind: row.kind as SnapshotKind,
  state: row.state as VmSnapshotState,
});

/** Which item asked for which snapshot: written before the CVM is asked, kept after it is gone. */
export class VmSnapshotStore {
  constructor(private readonly database: DataSource) {}

  async find(itemId: RunItemId, vmId: VmId): Promise<VmSnapshot | null> {
    const row = await reading(this.database, (source) =>
      source.getRepository(vmSnapshotTable).findOneBy({ itemId, vmId }),
    );
    return row && domainOf(row);
  }

  /**
   * What the CVM may have: those not removed, and those asked for since `since` (a request that was cut off may still be
   * carried out after its removal). The oldest `limit` first.
   */
  async suspects(platformId: PlatformId, since: Date, limit: number): Promise<VmSnapshot[]> {
    const rows = await reading(this.database, (source) =>
      source
        .getRepository(vmSnapshotTable)
        .createQueryBuilder('s')
        .where('s.platformId = :platformId', { platformId })
        .andWhere("(s.state <> 'removed' OR s.askedAt > :since)", { since })
        .orderBy('s.askedAt', 'ASC')
        .take(limit)
        .getMany(),
    );
    return rows.map(domainOf);
  }

  async save(snapshot: VmSnapshot): Promise<void> {
    await inTransaction(this.database, (tx) =>
      tx.getRepository(vmSnapshotTable).upsert({ ...snapshot }, ['itemId', 'vmId']),
    );
  }
}
