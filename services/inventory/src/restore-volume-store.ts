import { type NewDisk } from '@casvault/cas-client';
import { type HostId, type PlatformId, type RunItemId, type VmId } from '@casvault/contracts';
import { inTransaction, reading } from '@casvault/persistence';
import { type DataSource, MoreThan } from 'typeorm';
import { type RestoreVolumeRow, restoreVolumeTable } from './restore-volume.table.js';

/** `making`: the platform may have the volume. `finished`: it is the user's. `removed`: gone. */
type RestoreVolumeState = 'making' | 'finished' | 'removed';

export interface RestoreVolume {
  readonly restoreId: RunItemId;
  readonly platformId: PlatformId;
  readonly hostId: HostId;
  readonly storageName: string;
  readonly volumeName: string;
  /** The VM that gets it; null: none. */
  readonly attachTo: VmId | null;
  readonly format: NewDisk['format'];
  readonly bus: NewDisk['bus'];
  readonly state: RestoreVolumeState;
  readonly createdAt: Date;
}

const domainOf = (row: RestoreVolumeRow): RestoreVolume => ({
  ...row,
  restoreId: row.restoreId as RunItemId,
  platformId: row.platformId as PlatformId,
  hostId: row.hostId as HostId,
  attachTo: row.attachTo as VmId | null,
  format: row.format as NewDisk['format'],
  bus: row.bus as NewDisk['bus'],
  state: row.state as RestoreVolumeState,
});

/** Volumes that were made, or were about to be made, from points. */
export class RestoreVolumeStore {
  constructor(private readonly database: DataSource) {}

  async find(restoreId: RunItemId): Promise<RestoreVolume | null> {
    const row = await reading(this.database, (source) =>
      source.getRepository(restoreVolumeTable).findOneBy({ restoreId }),
    );
    return row && domainOf(row);
  }

  /**
   * What the platform may have and is not handed over: those being made, and those removed that were asked for since `since` (a
   * request that was cut off may still be carried out). The oldest `limit` first.
   */
  async suspects(platformId: PlatformId, since: Date, limit: number): Promise<RestoreVolume[]> {
    const rows = await reading(this.database, (source) =>
      source.getRepository(restoreVolumeTable).find({
        where: [
          { platformId, state: 'making' },
          { platformId, state: 'removed', createdAt: MoreThan(since) },
        ],
        order: { createdAt: 'ASC' },
        take: limit,
      }),
    );
    return rows.map(domainOf);
  }

  async save(volume: RestoreVolume): Promise<void> {
    await inTransaction(this.database, (tx) =>
      tx.getRepository(restoreVolumeTable).upsert({ ...volume }, ['restoreId']),
    );
  }
}
