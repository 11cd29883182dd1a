import { EntitySchema } from 'typeorm';

export interface HostRow {
  id: string;
  platformId: string;
  externalId: string;
  name: string;
  ip: string;
  status: string;
  cpuCount: number;
  memoryMiB: number;
  vmCount: number;
  architecture: string;
  seenAt: Date;
  deletedAt: Date | null;
}

export const hostTable = new EntitySchema<HostRow>({
  name: 'host',
  columns: {
    id: { type: 'uuid', primary: true },
    platformId: { type: 'uuid', name: 'platform_id' },
    externalId: { type: 'text', name: 'external_id' },
    name: { type: 'text' },
    ip: { type: 'text' },
    status: { type: 'text' },
    cpuCount: { type: 'integer', name: 'cpu_count' },
    memoryMiB: { type: 'integer', name: 'memory_mib' },
    vmCount: { type: 'integer', name: 'vm_count' },
    architecture: { type: 'text' },
    seenAt: { type: 'timestamptz', name: 'seen_at' },
    deletedAt: { type: 'timestamptz', name: 'deleted_at', nullable: true },
  },
});
