import { type Job } from '@casvault/contracts';
import { EntitySchema } from 'typeorm';

export interface JobRow {
  id: string;
  name: string;
  definition: Job['definition'];
  plans: Job['plans'];
  enabled: boolean;
  version: number;
  timeZone: string;
  lastRunId: string | null;
  lastRunState: Job['lastRunState'];
  createdAt: Date;
  deletedAt: Date | null;
}

export const jobTable = new EntitySchema<JobRow>({
  name: 'job',
  columns: {
    id: { type: 'uuid', primary: true },
    name: { type: 'text' },
    definition: { type: 'jsonb' },
    plans: { type: 'jsonb' },
    enabled: { type: 'boolean' },
    version: { type: 'integer' },
    timeZone: { type: 'text', name: 'time_zone' },
    lastRunId: { type: 'uuid', name: 'last_run_id', nullable: true },
    lastRunState: { type: 'text', name: 'last_run_state', nullable: true },
    createdAt: { type: 'timestamptz', name: 'created_at' },
    deletedAt: { type: 'timestamptz', name: 'deleted_at', nullable: true },
  },
});
