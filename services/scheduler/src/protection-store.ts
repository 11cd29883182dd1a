import { reading } from '@casvault/persistence';
import { type DataSource } from 'typeorm';

/** VMs of backup jobs, by the age of their newest backup in seconds: `upTo` is the largest that counts. */
export interface BackedUpVms {
  readonly upTo: number;
  readonly vms: number;
}
export interface OldestBackup {
  readonly vmId: string;
  readonly vmName: string;
  readonly ageSeconds: number;
}
export interface ProtectionReading {
  /** VMs of backup jobs. */
  readonly vms: number;
  /** Those of them that have a backup. */
  readonly protectedVms: number;
  readonly ages: readonly BackedUpVms[];
  /** The oldest first. */
  readonly oldest: readonly OldestBackup[];
}

/**
 * VMs that a job names, and those that the newest run of a job found on its hosts; what became of their newest backup that
 * succeeded. Its age counts from its beginning, which is before the state that it holds: never less than what would be lost.
 */
const content = `
  WITH content AS (
    SELECT named.vm_id::uuid AS vm_id FROM job j, jsonb_array_elements_text(j.definition -> 'vmIds') AS named (vm_id)
     WHERE j.deleted_at IS NULL AND j.definition ->> 'kind' = 'backup'
    UNION
    SELECT i.vm_id FROM job j JOIN run_item i ON i.run_id = j.last_run_id
     WHERE j.deleted_at IS NULL AND i.kind = 'backup' AND i.vm_id IS NOT NULL
  ), newest AS (
    SELECT c.vm_id, b.vm_name, extract(epoch FROM clock_timestamp() - b.started_at)::float8 AS age
      FROM content c LEFT JOIN LATERAL (
        SELECT vm_name, started_at FROM run_item
         WHERE vm_id = c.vm_id AND kind = 'backup' AND state = 'succeeded' ORDER BY started_at DESC LIMIT 1
      ) b ON true
  )`;

/** What backups have come to, for those who watch. Cost: one look into an index for each VM of a job. */
export class ProtectionStore {
  constructor(private readonly database: DataSource) {}

  /** Memory: `oldest` VMs and one number for each of `bounds` (seconds). */
  async read(bounds: readonly number[], oldest: number): Promise<ProtectionReading> {
    return reading(this.database, async (source) => {
      const [counts] = await source.query<
        { vms: number; protectedVms: number; ages: number[] | null; oldest: OldestBackup[] | null }[]
      >(
        `${content}
         SELECT (SELECT count(*)::int FROM newest) AS vms,
                (SELECT count(age)::int FROM newest) AS "protectedVms",
                (SELECT array_agg((SELECT count(*)::int FROM newest WHERE age <= b.bound) ORDER BY b.bound)
                   FROM unnest($1::float8[]) AS b (bound)) AS ages,
                (SELECT json_agg(json_build_object('vmId', o.vm_id, 'vmName', o.vm_name, 'ageSeconds', o.age) ORDER BY o.age DESC)
                   FROM (SELECT * FROM newest WHERE age IS NOT NULL ORDER BY age DESC, vm_id LIMIT $2) o) AS oldest`,
        [bounds, oldest],
      );
      return {
        vms: counts?.vms ?? 0,
        protectedVms: counts?.protectedVms ?? 0,
        ages: bounds.map((upTo, index) => ({ upTo, vms: counts?.ages?.[index] ?? 0 })),
        oldest: counts?.oldest ?? [],
      };
    });
  }
}
