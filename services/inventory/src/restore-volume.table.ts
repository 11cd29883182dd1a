import { EntitySchema } from 'typeorm';

export interface RestoreVolumeRow {
  restoreId: string;
  platformId: string;
  hostId: string;
  storageName: string;
  volumeName: string;
  attachTo: string | null;
  format: string;
  bus: string;
  state: string;
  createdAt: Date;
}

export const restoreVolumeTable = new EntitySchema<RestoreVolumeRow>({
  name: 'restore_volume',
  columns: {
    restoreId: { type: 'uuid', primary: true, name: 'restore_id' },
    platformId: { type: 'uuid', name: 'platform_id' },
    hostId: { type: 'uuid', name: 'host_id' },
    storageName: { type: 'text', name: 'storage_name' },
    volumeName: { type: 'text', name: 'volume_name' },
    attachTo: { type: 'uuid', name: 'attach_to', nullable: true },
    format: { type: 'text' },
    bus: { type: 'text' },
    state: { type: 'text' },
    createdAt: { type: 'timestamptz', name: 'created_at' },
  },
});
