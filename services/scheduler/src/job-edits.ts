import {
  Fault,
  type cloneJob,
  type Clock,
  type ContentPreview,
  type Job,
  type JobId,
  type PlanPreview,
  type previewContent,
  type previewPlan,
  type updateJob,
} from '@casvault/contracts';
import { inTransaction, isUniqueViolation, type Transaction } from '@casvault/persistence';
import { type DataSource } from 'typeorm';
import { type z } from 'zod';
import { type BackupZones } from './backup-zones.js';
import { together } from './bounded.js';
import { type Confirmations } from './confirmations.js';
import { type DefinitionCheck } from './definition-check.js';
import { firstDues } from './firing.rules.js';
import { type JobStore } from './job-store.js';
import { asksFor } from './jobs.js';
import { judgedPlans } from './plan-check.js';
import { shownDues, withStart } from './plan.rules.js';
import { type PostgresPlanStore } from './plan-store.js';
import { type RunStore } from './run-store.js';

type Edit = z.output<typeof updateJob.request>;
type CloneRequest = z.output<typeof cloneJob.request>;
type PreviewRequest = z.output<typeof previewPlan.request>;

export interface JobEditsOptions {
  readonly database: DataSource;
  readonly jobs: JobStore;
  readonly plans: PostgresPlanStore;
  readonly runs: RunStore;
  readonly zones: BackupZones;
  readonly check: Pick<DefinitionCheck, 'items' | 'preview'>;
  readonly confirmations: Pick<Confirmations, 'redeem'>;
  readonly clock: Clock;
}

/** F8, F9: such a job belongs to the one request that made it. */
const refuseForOneRequest = ({ name, definition: { kind } }: Job): void => {
  if (kind === 'rollback' || kind === 'creation')
    throw new Fault(
      'CONFLICT',
      `job '${name}' was made for one ${kind}, it can only be looked at and deleted`,
    );
};

const due = ({ plans, timeZone, enabled }: Pick<Job, 'plans' | 'timeZone' | 'enabled'>, now: Date) =>
  enabled ? firstDues(plans, timeZone, now) : plans.map(() => null);

/** D9: what users do with jobs that are there. */
export class JobEdits {
  readonly #o: JobEditsOptions;

  constructor(options: JobEditsOptions) {
    this.#o = options;
  }

  /** CONFLICT when the job is no longer of that version; the same edit again changes nothing. A restore takes its code anew (F6). */
  async update({ jobId, version, ...request }: Edit, actor: string, signal: AbortSignal): Promise<Job> {
    const { jobs, check, clock } = this.#o;
    const before = await jobs.get(jobId);
    if (before.version === version + 1 && asksFor(request, before)) return before;
    refuseForOneRequest(before);
    const { name, definition } = request;
    if (definition.kind !== before.definition.kind)
      throw new Fault('INPUT_INVALID', `definition.kind: must stay ${before.definition.kind}`, {
        details: { field: 'definition.kind' },
      });
    const [{ timeZone, plans }] = await together(
      judgedPlans(this.#o, { ...request, kept: before.plans }, signal),
      check.items(definition, signal),
    );
    return this.#changing(jobId, async (tx, job) => {
      if (job.version !== version)
        throw new Fault('CONFLICT', `job '${job.name}' is of version ${job.version} by now, not ${version}`, {
          details: { version: job.version },
        });
      const { enabled } = job;
      await this.#o.confirmations.redeem(tx, request, { actor, jobId });
      await jobs.change(tx, jobId, { name, definition, plans, timeZone });
      await this.#o.plans.setDues(tx, jobId, due({ plans, timeZone, enabled }, clock.now()));
    });
  }

  /** What was due while it was disabled is not made up for. */
  async enable(jobId: JobId, enabled: boolean): Promise<Job> {
    const { jobs, plans, clock } = this.#o;
    return this.#changing(jobId, async (tx, job) => {
      if (job.enabled === enabled) return;
      await jobs.enable(tx, jobId, enabled);
      await plans.setDues(tx, jobId, due({ ...job, enabled }, clock.now()));
    });
  }

  /** Idempotent by `id`. The copy is disabled. */
  async clone({ jobId, id, name }: CloneRequest): Promise<Job> {
    const { database, jobs, plans, clock } = this.#o;
    const [job, existing] = [await jobs.get(jobId), await jobs.find(id)];
    if (existing) return this.#sameClone(existing, name);
    refuseForOneRequest(job);
    const fresh = { enabled: false, version: 1, nextRunAt: null, lastRunId: null, lastRunState: null };
    const copy: Job = { ...job, ...fresh, id, name, createdAt: clock.now().toISOString() };
    try {
      await inTransaction(database, async (tx) => {
        await jobs.insert(tx, copy);
        await plans.setDues(tx, id, due(copy, clock.now()));
      });
    } catch (error) {
      if (!isUniqueViolation(error)) throw error;
      return this.#sameClone(await jobs.get(id), name);
    }
    return jobs.get(id);
  }

  /** CONFLICT while a run of it goes on. Runs and points stay. */
  async remove(jobId: JobId): Promise<void> {
    const { database, jobs, plans, runs, clock } = this.#o;
    await inTransaction(database, async (tx) => {
      const { name } = await jobs.hold(tx, jobId);
      const going = await runs.going(tx, jobId);
      if (going)
        throw new Fault('CONFLICT', `run ${going} of job '${name}' goes on`, { details: { runId: going } });
      await plans.setDues(tx, jobId, []);
      await jobs.remove(tx, jobId, clock.now());
    });
  }

  async preview({ plan, group, count, ...asked }: PreviewRequest, signal: AbortSignal): Promise<PlanPreview> {
    const now = this.#o.clock.now();
    const timeZone = asked.timeZone ?? (await this.#o.zones.of(group, signal));
    return { timeZone, dues: shownDues(withStart(plan, timeZone, now), timeZone, now, count) };
  }

  /** D1: what a run of this content would be made of now. */
  async previewContent(
    content: z.output<typeof previewContent.request>,
    signal: AbortSignal,
  ): Promise<ContentPreview> {
    return this.#o.check.preview(content, signal);
  }

  #sameClone(existing: Job, name: string): Job {
    if (existing.name === name) return existing;
    throw new Fault('ALREADY_EXISTS', `job ${existing.id} exists with other content`);
  }

  async #changing(jobId: JobId, work: (tx: Transaction, job: Job) => Promise<void>): Promise<Job> {
    const { database, jobs } = this.#o;
    await inTransaction(database, async (tx) => work(tx, await jobs.hold(tx, jobId)));
    return jobs.get(jobId);
  }
}
