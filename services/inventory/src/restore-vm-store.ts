import { type HostId, type PlatformId, type RunItemId } from '@casvault/contracts';
import { inTransaction, reading } from '@casvault/persistence';
import { type DataSource, MoreThan } from 'typeorm';
import { type OriginalPath } from './original-path.rules.js';
import { type Swap } from './overwriting.rules.js';
import { type RestoreVmRow, restoreVmTable } from './restore-vm.table.js';

/** `making`: the CVM may have the VM. `finished`: it is the user's. `removed`: gone. */
export type RestoreVmState = 'making' | 'finished' | 'removed';

export interface RestoreVm {
  readonly restoreId: RunItemId;
  readonly platformId: PlatformId;
  readonly hostId: HostId;
  readonly vmName: string;
  readonly state: RestoreVmState;
  /** Known once the CVM has made it. */
  readonly vmUuid: string | null;
  /** Its volumes were there before it (S3): they outlive it. */
  readonly keepsVolumes: boolean;
  /** The CVM was asked to make it a template (F9): it may be one. */
  readonly becomesTemplate: boolean;
  /** S8: the UUID of the VM that gets its disks: until then it carries them under a name of its own. */
  readonly overwrites: string | null;
  /** Written before the first disk changes places. */
  readonly swap: Swap | null;
  /** F3: the VM that it goes over, or that it is made in the place of. */
  readonly original: OriginalPath | null;
  readonly createdAt: Date;
}

const domainOf = (row: RestoreVmRow): RestoreVm => ({
  ...row,
  restoreId: row.restoreId as RunItemId,
  platformId: row.platformId as PlatformId,
  hostId: row.hostId as HostId,
  state: row.state as RestoreVmState,
});

/** What restores have made, or were about to make, at platforms. */
export class RestoreVmStore {
  constructor(private readonly database: DataSource) {}

  async find(restoreId: RunItemId): Promise<RestoreVm | null> {
    const row = await reading(this.database, (source) =>
      source.getRepository(restoreVmTable).findOneBy({ restoreId }),
    );
    return row && domainOf(row);
  }

  /**
   * What the CVM may have and is not handed over: those being made, and those removed that were asked for since `since` (a request
   * that was cut off may still be carried out). The oldest `limit` first.
   */
  async suspects(platformId: PlatformId, since: Date, limit: number): Promise<RestoreVm[]> {
    const rows = await reading(this.database, (source) =>
      source.getRepository(restoreVmTable).find({
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

  async save(vm: RestoreVm): Promise<void> {
    await inTransaction(this.database, (tx) =>
      tx.getRepository(restoreVmTable).upsert({ ...vm }, ['restoreId']),
    );
  }

  async rememberUuid(restoreId: RunItemId, vmUuid: string): Promise<void> {
    await inTransaction(this.database, (tx) =>
      tx.getRepository(restoreVmTable).update({ restoreId }, { vmUuid }),
    );
  }
}
