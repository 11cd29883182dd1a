import { EntitySchema } from 'typeorm';
import { type DiskPlace } from './vm-snapshot.rules.js';

export interface VmSnapshotRow {
  itemId: string;
  vmId: string;
  platformId: string;
  kind: string;
  state: string;
  before: readonly DiskPlace[];
  takenAt: Date | null;
  askedAt: Date;
}

export const vmSnapshotTable = new EntitySchema<VmSnapshotRow>({
  name: 'vm_snapshot',
  columns: {
    itemId: { type: 'uuid', primary: true, name: 'item_id' },
    vmId: { type: 'uuid', primary: true, name: 'vm_id' },
    platformId: { type: 'uuid', name: 'platform_id' },
    kind: { type: 'text' },
    state: { type: 'text' },
    before: { type: 'jsonb' },
    takenAt: { type: 'timestamptz', name: 'taken_at', nullable: true },
    askedAt: { type: 'timestamptz', name: 'asked_at' },
  },
});
