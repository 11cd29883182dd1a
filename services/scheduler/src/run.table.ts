import { type FaultJson, type JobDefinition, type Run, type RunChoice } from '@casvault/contracts';
import { EntitySchema } from 'typeorm';

export interface RunRow {
  id: string;
  jobId: string;
  jobName: string;
  definition: JobDefinition;
  choice: RunChoice;
  state: Run['state'];
  dueAt: Date | null;
  reasons: Run['reasons'];
  fault: FaultJson | null;
  told: boolean;
  itemCount: number;
  createdAt: Date;
  startedAt: Date | null;
  finishedAt: Date | null;
}

export const runTable = new EntitySchema<RunRow>({
  name: 'run',
  columns: {
    id: { type: 'uuid', primary: true },
    jobId: { type: 'uuid', name: 'job_id' },
    jobName: { type: 'text', name: 'job_name' },
    definition: { type: 'jsonb' },
    choice: { type: 'jsonb' },
    state: { type: 'text' },
    dueAt: { type: 'timestamptz', name: 'due_at', nullable: true },
    reasons: { type: 'jsonb' },
    fault: { type: 'jsonb', nullable: true },
    told: { type: 'boolean' },
    itemCount: { type: 'integer', name: 'item_count' },
    createdAt: { type: 'timestamptz', name: 'created_at' },
    startedAt: { type: 'timestamptz', name: 'started_at', nullable: true },
    finishedAt: { type: 'timestamptz', name: 'finished_at', nullable: true },
  },
});
