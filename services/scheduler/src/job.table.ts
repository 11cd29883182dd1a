import { type Job } from '@casvault/contracts';
import { EntitySchema } from 'typeorm';

export interface JobRow {
  id: string;
  name: string;
  definition: Job['definition'];
  plan: Job['plan'];
  enabled: boolean;
  lastRunId: string | null;
  lastRunState: Job['lastRunState'];
  createdAt: Date;
}

export const jobTable = new EntitySchema<JobRow>({
  name: 'job',
  columns: {
    id: { type: 'uuid', primary: true },
    name: { type: 'text' },
    definition: { type: 'jsonb' },
    plan: { type: 'jsonb' },
    enabled: { type: 'boolean' },
    lastRunId: { type: 'uuid', name: 'last_run_id', nullable: true },
    lastRunState: { type: 'text', name: 'last_run_state', nullable: true },
    createdAt: { type: 'timestamptz', name: 'created_at' },
  },
});
