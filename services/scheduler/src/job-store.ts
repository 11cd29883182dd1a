import { Fault, type Job, type JobId, type PageRequest, type RunId } from '@casvault/contracts';
import { pageFrom, readCursor, reading, type Transaction } from '@casvault/persistence';
import { type DataSource } from 'typeorm';
import { jobTable, type JobRow } from './job.table.js';

const domainOf = (row: JobRow): Job => ({
  ...row,
  id: row.id as JobId,
  lastRunId: row.lastRunId as RunId | null,
  createdAt: row.createdAt.toISOString(),
});

export class JobStore {
  constructor(private readonly database: DataSource) {}

  async insert(tx: Transaction, job: Job): Promise<void> {
    await tx.getRepository(jobTable).insert({ ...job, createdAt: new Date(job.createdAt) });
  }

  async find(id: JobId): Promise<Job | null> {
    const row = await reading(this.database, (source) => source.getRepository(jobTable).findOneBy({ id }));
    return row && domainOf(row);
  }

  async get(id: JobId): Promise<Job> {
    const job = await this.find(id);
    if (!job) throw new Fault('NOT_FOUND', `there is no job ${id}`);
    return job;
  }

  /** Newest first. */
  async page({ cursor, limit }: PageRequest): Promise<{ items: Job[]; nextCursor: string | null }> {
    const after = readCursor(cursor, 2);
    const rows = await reading(this.database, (source) => {
      const query = source
        .getRepository(jobTable)
        .createQueryBuilder('j')
        .orderBy({ 'j.createdAt': 'DESC', 'j.id': 'DESC' })
        .take(limit + 1);
      if (after) query.where('(j.createdAt, j.id) < (:at, :id)', { at: after[0], id: after[1] });
      return query.getMany();
    });
    return pageFrom(rows, limit, (row) => [row.createdAt.toISOString(), row.id], domainOf);
  }
}
