import { type DiskProgress, type RunItem } from '@casvault/contracts';
import { EntitySchema } from 'typeorm';
import { type Paces } from './eta.rules.js';
import { type ItemTarget } from './run-item.js';

export interface RunItemRow {
  id: string;
  runId: string;
  seq: number;
  kind: RunItem['kind'];
  vmId: string | null;
  vmName: string;
  host: string | null;
  pointId: string | null;
  target: ItemTarget | null;
  restoredVmId: string | null;
  imageId: string | null;
  attempt: number;
  /** What snapshot-engine knows this attempt by. */
  attemptId: string;
  notBefore: Date | null;
  earlierFault: RunItem['fault'];
  state: RunItem['state'];
  phase: RunItem['phase'];
  progress: DiskProgress[];
  /** By disk. */
  pace: Paces;
  reasons: RunItem['reasons'];
  fault: RunItem['fault'];
  doneBytes: string;
  storedBytes: string;
  toldAt: Date | null;
  heardAt: Date | null;
  startedAt: Date | null;
  finishedAt: Date | null;
}

export const runItemTable = new EntitySchema<RunItemRow>({
  name: 'run_item',
  columns: {
    id: { type: 'uuid', primary: true },
    runId: { type: 'uuid', name: 'run_id' },
    seq: { type: 'integer' },
    kind: { type: 'text' },
    vmId: { type: 'uuid', name: 'vm_id', nullable: true },
    vmName: { type: 'text', name: 'vm_name' },
    host: { type: 'text', nullable: true },
    pointId: { type: 'uuid', name: 'point_id', nullable: true },
    target: { type: 'jsonb', nullable: true },
    restoredVmId: { type: 'uuid', name: 'restored_vm_id', nullable: true },
    imageId: { type: 'text', name: 'image_id', nullable: true },
    attempt: { type: 'smallint' },
    attemptId: { type: 'uuid', name: 'attempt_id' },
    notBefore: { type: 'timestamptz', name: 'not_before', nullable: true },
    earlierFault: { type: 'jsonb', name: 'earlier_fault', nullable: true },
    state: { type: 'text' },
    phase: { type: 'text', nullable: true },
    progress: { type: 'jsonb' },
    pace: { type: 'jsonb' },
    reasons: { type: 'jsonb' },
    fault: { type: 'jsonb', nullable: true },
    doneBytes: { type: 'bigint', name: 'done_bytes' },
    storedBytes: { type: 'bigint', name: 'stored_bytes' },
    toldAt: { type: 'timestamptz', name: 'told_at', nullable: true },
    heardAt: { type: 'timestamptz', name: 'heard_at', nullable: true },
    startedAt: { type: 'timestamptz', name: 'started_at', nullable: true },
    finishedAt: { type: 'timestamptz', name: 'finished_at', nullable: true },
  },
});
