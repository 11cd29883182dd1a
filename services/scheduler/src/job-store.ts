import {
  Fault,
  type HostId,
  type Job,
  type JobId,
  type PageRequest,
  type RunId,
  type VmId,
} from '@casvault/contracts';
import { pageFrom, readCursor, reading, type Transaction } from '@casvault/persistence';
import { IsNull, type DataSource, type EntityManager } from 'typeorm';
import { jobTable, type JobRow } from './job.table.js';

type Due = { readonly jobId: string; readonly dueAt: Date | null };

const domainOf = ({ deletedAt: _, ...row }: JobRow, dues: readonly Due[]): Job => ({
  ...row,
  id: row.id as JobId,
  lastRunId: row.lastRunId as RunId | null,
  nextRunAt: dues.find(({ jobId }) => jobId === row.id)?.dueAt?.toISOString() ?? null,
  createdAt: row.createdAt.toISOString(),
});

const nextDues = (source: EntityManager, ids: readonly string[]): Promise<Due[]> =>
  source.query<Due[]>(
    'SELECT job_id AS "jobId", min(due_at) AS "dueAt" FROM job_plan WHERE job_id = ANY ($1) GROUP BY job_id',
    [ids],
  );

const missing = (id: JobId): Fault => new Fault('NOT_FOUND', `there is no job ${id}`);

/** What a user changes of a job. */
export type JobChange = Pick<Job, 'name' | 'definition' | 'plans' | 'timeZone'>;

/** Jobs, without the deleted ones. When their plans are due is in PostgresPlanStore. */
export class JobStore {
  constructor(private readonly database: DataSource) {}

  async insert(tx: Transaction, { nextRunAt: _, ...job }: Job): Promise<void> {
    await tx.getRepository(jobTable).insert({ ...job, createdAt: new Date(job.createdAt) });
  }

  async find(id: JobId): Promise<Job | null> {
    return reading(this.database, (source) => this.#find(source, id));
  }

  /** Those of them that are there, in no order. */
  async those(ids: readonly JobId[]): Promise<Job[]> {
    return reading(this.database, async (source) => {
      const rows = await source
        .getRepository(jobTable)
        .createQueryBuilder('j')
        .where('j.id = ANY (:ids) AND j.deletedAt IS NULL', { ids })
        .getMany();
      const dues = await nextDues(source, ids);
      return rows.map((row) => domainOf(row, dues));
    });
  }

  async get(id: JobId): Promise<Job> {
    const job = await this.find(id);
    if (!job) throw missing(id);
    return job;
  }

  /** As `get`, and nobody changes it before the transaction ends. */
  async hold(tx: Transaction, id: JobId): Promise<Job> {
    await tx.query('SELECT FROM job WHERE id = $1 FOR UPDATE', [id]);
    const job = await this.#find(tx, id);
    if (!job) throw missing(id);
    return job;
  }

  async change(tx: Transaction, id: JobId, change: JobChange): Promise<void> {
    await tx.getRepository(jobTable).update({ id }, { ...change, version: () => 'version + 1' });
  }

  async enable(tx: Transaction, id: JobId, enabled: boolean): Promise<void> {
    await tx.getRepository(jobTable).update({ id }, { enabled });
  }

  async remove(tx: Transaction, id: JobId, now: Date): Promise<void> {
    await tx.getRepository(jobTable).update({ id }, { deletedAt: now });
  }

  /** S8: the oldest backup job whose content has the VM: named, or of a whole host and not left out. */
  async protecting({
    vmId,
    hostId,
  }: {
    vmId: VmId;
    hostId: HostId;
  }): Promise<Pick<Job, 'id' | 'name'> | null> {
    const rows = await reading(this.database, (source) =>
      source.query<Pick<Job, 'id' | 'name'>[]>(
        `SELECT id, name FROM job
          WHERE deleted_at IS NULL AND definition ->> 'kind' = 'backup'
            AND (definition -> 'vmIds' @> to_jsonb($1::text)
              OR definition -> 'hostIds' @> to_jsonb($2::text)
                AND NOT coalesce(definition -> 'excludedVmIds' @> to_jsonb($1::text), false))
          ORDER BY created_at, id LIMIT 1`,
        [vmId, hostId],
      ),
    );
    return rows[0] ?? null;
  }

  /** Newest first. */
  async page({ cursor, limit }: PageRequest): Promise<{ items: Job[]; nextCursor: string | null }> {
    const after = readCursor(cursor, 2);
    return reading(this.database, async (source) => {
      const query = source
        .getRepository(jobTable)
        .createQueryBuilder('j')
        .where('j.deletedAt IS NULL')
        .orderBy({ 'j.createdAt': 'DESC', 'j.id': 'DESC' })
        .take(limit + 1);
      if (after) query.andWhere('(j.createdAt, j.id) < (:at, :id)', { at: after[0], id: after[1] });
      const rows = await query.getMany();
      const dues = await nextDues(
        source,
        rows.map(({ id }) => id),
      );
      return pageFrom(
        rows,
        limit,
        (row) => [row.createdAt.toISOString(), row.id],
        (row) => domainOf(row, dues),
      );
    });
  }

  async #find(source: EntityManager, id: JobId): Promise<Job | null> {
    const row = await source.getRepository(jobTable).findOneBy({ id, deletedAt: IsNull() });
    return row && domainOf(row, await nextDues(source, [id]));
  }
}
