import { EntitySchema } from 'typeorm';
import { type TransferKind, type TransferStateName } from './transfer.js';

export interface TransferRow {
  id: string;
  kind: TransferKind;
  ownerId: string;
  group: string;
  /** Null: it concerns none. */
  pointId: string | null;
  poolId: string | null;
  state: TransferStateName;
  epoch: number;
  workerId: string | null;
  createdAt: Date;
  finishedAt: Date | null;
}

export const transferTable = new EntitySchema<TransferRow>({
  name: 'transfer',
  columns: {
    id: { type: 'uuid', primary: true },
    kind: { type: 'text' },
    ownerId: { type: 'uuid', name: 'owner_id' },
    group: { type: 'text', name: 'host_group' },
    pointId: { type: 'uuid', name: 'point_id', nullable: true },
    poolId: { type: 'uuid', name: 'pool_id', nullable: true },
    state: { type: 'text' },
    epoch: { type: 'integer' },
    workerId: { type: 'uuid', name: 'worker_id', nullable: true },
    createdAt: { type: 'timestamptz', name: 'created_at' },
    finishedAt: { type: 'timestamptz', name: 'finished_at', nullable: true },
  },
});
