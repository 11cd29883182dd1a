import { EntitySchema } from 'typeorm';

export interface ShutdownRow {
  itemId: string;
  vmId: string;
  platformId: string;
  state: string;
  wasRunning: boolean;
  askedAt: Date;
}

export const shutdownTable = new EntitySchema<ShutdownRow>({
  name: 'vm_shutdown',
  columns: {
    itemId: { type: 'uuid', primary: true, name: 'item_id' },
    vmId: { type: 'uuid', primary: true, name: 'vm_id' },
    platformId: { type: 'uuid', name: 'platform_id' },
    state: { type: 'text' },
    wasRunning: { type: 'boolean', name: 'was_running' },
    askedAt: { type: 'timestamptz', name: 'asked_at' },
  },
});
