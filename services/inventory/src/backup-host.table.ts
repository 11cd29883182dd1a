import { EntitySchema } from 'typeorm';

export interface BackupHostRow {
  id: string;
  name: string;
  group: string;
  address: string;
  timeZone: string;
  version: string;
  contentUrl: string | null;
  lastSeenAt: Date;
}

export const backupHostTable = new EntitySchema<BackupHostRow>({
  name: 'backup_host',
  columns: {
    id: { type: 'uuid', primary: true },
    name: { type: 'text' },
    group: { type: 'text', name: 'host_group' },
    address: { type: 'text' },
    timeZone: { type: 'text', name: 'time_zone' },
    version: { type: 'text' },
    contentUrl: { type: 'text', name: 'content_url', nullable: true },
    lastSeenAt: { type: 'timestamptz', name: 'last_seen_at' },
  },
});
