import { type HostId, type PlatformId, type RunItemId } from '@casvault/contracts';
import { inTransaction, reading } from '@casvault/persistence';
import { type DataSource } from 'typeorm';
import { restoreVmTable } from './restore-vm.table.js';

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
  readonly createdAt: Date;
}

/** What restores have made, or were about to make, at platforms. */
export class RestoreVmStore {
  constructor(private readonly database: DataSource) {}

  async find(restoreId: RunItemId): Promise<RestoreVm | null> {
    const row = await reading(this.database, (source) =>
      source.getRepository(restoreVmTable).findOneBy({ restoreId }),
    );
    if (row === null) return null;
    return {
      ...row,
      restoreId,
      platformId: row.platformId as PlatformId,
      hostId: row.hostId as HostId,
      state: row.state as RestoreVmState,
    };
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
