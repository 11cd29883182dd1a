import { EntitySchema } from 'typeorm';
import { type OriginalPath } from './original-path.rules.js';
import { type Swap } from './overwriting.rules.js';

export interface RestoreVmRow {
  restoreId: string;
  platformId: string;
  hostId: string;
  vmName: string;
  state: string;
  vmUuid: string | null;
  keepsVolumes: boolean;
  becomesTemplate: boolean;
  overwrites: string | null;
  swap: Swap | null;
  original: OriginalPath | null;
  createdAt: Date;
}

export const restoreVmTable = new EntitySchema<RestoreVmRow>({
  name: 'restore_vm',
  columns: {
    restoreId: { type: 'uuid', primary: true, name: 'restore_id' },
    platformId: { type: 'uuid', name: 'platform_id' },
    hostId: { type: 'uuid', name: 'host_id' },
    vmName: { type: 'text', name: 'vm_name' },
    state: { type: 'text' },
    vmUuid: { type: 'uuid', name: 'vm_uuid', nullable: true },
    keepsVolumes: { type: 'boolean', name: 'keeps_volumes' },
    becomesTemplate: { type: 'boolean', name: 'becomes_template' },
    overwrites: { type: 'uuid', nullable: true },
    swap: { type: 'jsonb', nullable: true },
    original: { type: 'jsonb', nullable: true },
    createdAt: { type: 'timestamptz', name: 'created_at' },
  },
});
