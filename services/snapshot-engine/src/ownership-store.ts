import { checkpointName, type RunItemId, type VmId } from '@casvault/contracts';
import { reading } from '@casvault/persistence';
import { type DataSource } from 'typeorm';
import { isNeededSql } from './checkpoint-need.js';
import { mayHaveWritten, type RollbackState } from './rollback.js';

interface ItemRow {
  readonly id: RunItemId;
  readonly kind: string;
  readonly done: boolean;
  readonly state: unknown;
}

/** A roll-back that failed over half-written disks leaves its VM off: nobody else starts it. */
const keepsVmOff = ({ kind, state }: ItemRow): boolean => {
  if (kind !== 'rollback') return false;
  const rollback = state as RollbackState;
  return rollback.phase !== 'succeeded' && mayHaveWritten(rollback);
};

/** What of the things on platforms is still somebody's. */
export class OwnershipStore {
  constructor(private readonly database: DataSource) {}

  async liveItems(itemIds: readonly RunItemId[]): Promise<RunItemId[]> {
    const rows = await reading(this.database, (source) =>
      source.query<ItemRow[]>(
        `SELECT id, kind, done, CASE WHEN kind = 'rollback' THEN state END AS state
         FROM machine_instance WHERE id = ANY($1) AND (NOT done OR kind = 'rollback')`,
        [itemIds],
      ),
    );
    return rows.filter((row) => !row.done || keepsVmOff(row)).map((row) => row.id);
  }

  async protectedVms(vmIds: readonly VmId[]): Promise<VmId[]> {
    const rows = await reading(this.database, (source) =>
      source.query<{ id: VmId }[]>(
        `SELECT v.id FROM unnest($1::uuid[]) AS v (id)
         WHERE EXISTS (SELECT 1 FROM point WHERE vm_id = v.id)
           OR EXISTS (SELECT 1 FROM deleted_point WHERE vm_id = v.id)`,
        [vmIds],
      ),
    );
    return rows.map((row) => row.id);
  }

  async judgeCheckpoints(names: readonly string[]): Promise<{ needed: string[]; unknown: string[] }> {
    const ids = names.map((name) => name.slice(checkpointName('').length));
    const rows = await reading(this.database, (source) =>
      source.query<{ id: string; needed: boolean }[]>(
        `SELECT p.id, ${isNeededSql} AS needed FROM point p WHERE p.id = ANY($1::uuid[])
         UNION ALL SELECT d.id, false FROM deleted_point d WHERE d.id = ANY($1::uuid[])`,
        [ids],
      ),
    );
    const known = new Map(rows.map((row) => [checkpointName(row.id), row.needed]));
    return {
      needed: names.filter((name) => known.get(name) === true),
      unknown: names.filter((name) => !known.has(name)),
    };
  }
}
