import { type FaultJson, type HookKind, type ReasonCode, type RunHook } from '@casvault/contracts';
import { EntitySchema } from 'typeorm';

export interface RunHookRow {
  runId: string;
  hook: HookKind;
  state: RunHook['state'];
  reasons: ReasonCode[];
  fault: FaultJson | null;
  exitCode: number | null;
  httpStatus: number | null;
  /** The sender's time of the newest news. */
  toldAt: Date | null;
  askedAt: Date;
  startedAt: Date | null;
  finishedAt: Date | null;
}

export const runHookTable = new EntitySchema<RunHookRow>({
  name: 'run_hook',
  columns: {
    runId: { type: 'uuid', name: 'run_id', primary: true },
    hook: { type: 'text', primary: true },
    state: { type: 'text' },
    reasons: { type: 'jsonb' },
    fault: { type: 'jsonb', nullable: true },
    exitCode: { type: 'integer', name: 'exit_code', nullable: true },
    httpStatus: { type: 'integer', name: 'http_status', nullable: true },
    toldAt: { type: 'timestamptz', name: 'told_at', nullable: true },
    askedAt: { type: 'timestamptz', name: 'asked_at' },
    startedAt: { type: 'timestamptz', name: 'started_at', nullable: true },
    finishedAt: { type: 'timestamptz', name: 'finished_at', nullable: true },
  },
});
