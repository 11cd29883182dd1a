import { EntitySchema } from 'typeorm';

export interface PlatformRow {
  id: string;
  name: string;
  address: string;
  ssl: boolean;
  sslIgnoreErrors: boolean;
  port: number;
  userName: string;
  password: string;
  dataNetwork: string;
  diskServicePort: number;
  diskServiceToken: string;
  version: string;
  architecture: string;
  state: string;
  stateMessage: string | null;
  lastSyncAt: Date | null;
  syncedFrom: Date | null;
  nextSyncAt: Date;
  createdAt: Date;
  deletedAt: Date | null;
}

export const platformTable = new EntitySchema<PlatformRow>({
  name: 'platform',
  columns: {
    id: { type: 'uuid', primary: true },
    name: { type: 'text' },
    address: { type: 'text' },
    ssl: { type: 'boolean' },
    sslIgnoreErrors: { type: 'boolean', name: 'ssl_ignore_errors' },
    port: { type: 'integer' },
    userName: { type: 'text', name: 'user_name' },
    password: { type: 'text' },
    dataNetwork: { type: 'text', name: 'data_network' },
    diskServicePort: { type: 'integer', name: 'disk_service_port' },
    diskServiceToken: { type: 'text', name: 'disk_service_token' },
    version: { type: 'text' },
    architecture: { type: 'text' },
    state: { type: 'text' },
    stateMessage: { type: 'text', name: 'state_message', nullable: true },
    lastSyncAt: { type: 'timestamptz', name: 'last_sync_at', nullable: true },
    syncedFrom: { type: 'timestamptz', name: 'synced_from', nullable: true },
    nextSyncAt: { type: 'timestamptz', name: 'next_sync_at' },
    createdAt: { type: 'timestamptz', name: 'created_at' },
    deletedAt: { type: 'timestamptz', name: 'deleted_at', nullable: true },
  },
});
