import {
  Fault,
  jobDefinitionSchema,
  kindOfPlan,
  newId,
  type ChainId,
  type Clock,
  type createJob,
  type Job,
  type JobId,
  type Plan,
  type Run,
  type RunChoice,
  type RunId,
  type startCreation,
  type startRollback,
} from '@casvault/contracts';
import { isDeepStrictEqual } from 'node:util';
import { inTransaction, isUniqueViolation } from '@casvault/persistence';
import { type DataSource } from 'typeorm';
import { type z } from 'zod';
import { type BackupZones } from './backup-zones.js';
import { together } from './bounded.js';
import { type Confirmations } from './confirmations.js';
import { type DefinitionCheck } from './definition-check.js';
import { firstDues, soonestOf } from './firing.rules.js';
import { type JobStore } from './job-store.js';
import { asksForPlans, judgedPlans } from './plan-check.js';
import { type PostgresPlanStore } from './plan-store.js';
import { type NewRun, type RunStore } from './run-store.js';
import { type Runs } from './runs.js';

type NewJob = z.output<typeof createJob.request>;
type CreationRequest = z.output<typeof startCreation.request>;
type RollbackRequest = z.output<typeof startRollback.request>;

export interface JobsOptions {
  readonly database: DataSource;
  readonly jobs: JobStore;
  readonly runStore: RunStore;
  readonly runs: Runs;
  readonly plans: PostgresPlanStore;
  readonly zones: BackupZones;
  readonly check: DefinitionCheck;
  readonly confirmations: Pick<Confirmations, 'redeem'>;
  readonly clock: Clock;
}

/** The definition as JSON keeps it: without fields that are not given. */
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

/** Whether a request asks for the job as it is kept. */
export const asksFor = (
  { name, definition, plans }: Pick<NewJob, 'name' | 'definition' | 'plans'>,
  job: Job,
): boolean =>
  job.name === name &&
  isDeepStrictEqual(plain(job.definition), plain(definition)) &&
  asksForPlans(plans, job.plans);

const choiceOf = (plan: Plan | undefined): RunChoice => {
  const pointKind = plan && kindOfPlan(plan);
  return pointKind ? { pointKind } : {};
};

/** A job, and the run that is to begin at once. */
interface Made {
  readonly job: Job;
  readonly runId: RunId | null;
}

/** Jobs as they are made, and their runs; edits of them are in JobEdits. */
export class Jobs {
  readonly #o: JobsOptions;

  constructor(options: JobsOptions) {
    this.#o = options;
  }

  /** Idempotent by `id`; the same id with other content is ALREADY_EXISTS. A restore is made only with its code (F6). */
  async create(request: NewJob, signal: AbortSignal, actor = ''): Promise<Job> {
    const { job, runId } = await this.#made(request, signal, actor);
    if (runId === null) return job;
    await this.#o.runs.begin(runId);
    return this.#o.jobs.get(job.id);
  }

  /** Whether the same request came before is looked at only when this one fails: most are the first, and make one trip less. */
  async #made(request: NewJob, signal: AbortSignal, actor: string): Promise<Made> {
    try {
      return await this.#make(request, signal, actor);
    } catch (error) {
      const earlier = await this.#existing(request);
      if (earlier) return { job: earlier, runId: null };
      throw error;
    }
  }

  async #make(request: NewJob, signal: AbortSignal, actor: string): Promise<Made> {
    const { jobs, plans: planStore, runStore, check, clock } = this.#o;
    const [{ timeZone, plans }, items] = await together(
      judgedPlans(this.#o, request, signal),
      check.items(request.definition, signal),
    );
    const now = clock.now();
    const immediate = plans.find(({ type }) => type === 'immediate');
    const runId = immediate ? newId<RunId>() : null;
    const { id, name, definition } = request;
    const dues = firstDues(plans, timeZone, now);
    const job: Job = {
      id,
      name,
      definition,
      plans,
      timeZone,
      enabled: true,
      version: 1,
      nextRunAt: soonestOf(dues)?.toISOString() ?? null,
      lastRunId: null,
      lastRunState: null,
      createdAt: now.toISOString(),
    };
    await inTransaction(this.#o.database, async (tx) => {
      await jobs.insert(tx, job);
      await this.#o.confirmations.redeem(tx, request, { actor, jobId: id });
      await planStore.setDues(tx, id, dues);
      const choice = choiceOf(immediate);
      if (runId) await runStore.insert(tx, { runId, job, choice, items, dueAt: null }, now);
    });
    return { job, runId };
  }

  /** F8: only with the VM's present name as a confirmation. Idempotent by `id`. */
  async rollBack(request: RollbackRequest, signal: AbortSignal): Promise<Run> {
    const { id, pointId, confirm, group, parallel, network, options, ...target } = request;
    const { jobs, check } = this.#o;
    const name = (await jobs.find(id))?.name ?? (await check.confirmedRollback(pointId, confirm, signal));
    const definition = jobDefinitionSchema.parse({
      kind: 'rollback',
      items: [{ pointId, target }],
      group,
      parallel: { ...parallel, channels: parallel.disksPerVm },
      network,
      options,
    });
    return this.#atOnce({ id, name, definition, plans: [{ type: 'immediate' }] }, signal);
  }

  /** F9. Idempotent by `id`. */
  async createFromPoint(request: CreationRequest, signal: AbortSignal): Promise<Run> {
    const { id, pointId, target, group, parallel, network, options } = request;
    const { jobs, check } = this.#o;
    const name = (await jobs.find(id))?.name ?? (await check.creationName(pointId, target, signal));
    const definition = jobDefinitionSchema.parse({
      kind: 'creation',
      items: [{ pointId, target }],
      group,
      parallel: { ...parallel, channels: parallel.disksPerVm },
      network,
      options,
    });
    return this.#atOnce({ id, name, definition, plans: [{ type: 'immediate' }] }, signal);
  }

  async #atOnce(job: NewJob, signal: AbortSignal): Promise<Run> {
    const { lastRunId } = await this.create(job, signal);
    if (!lastRunId) throw new Fault('BUG', `job ${job.id} was made without its run`);
    return this.#o.runStore.detail(lastRunId);
  }

  /** Idempotent by `runId`. The VMs are looked up now, wherever they are by now. */
  async start(jobId: JobId, runId: RunId, choice: RunChoice, signal: AbortSignal): Promise<Run> {
    const { jobs, runStore, runs, check } = this.#o;
    const job = await jobs.get(jobId);
    if (!(await this.#hasRun(job, runId))) {
      const items = await check.itemsOfRun(job.definition, choice, signal);
      await this.#insertRun({ runId, job, choice, items, dueAt: null });
    }
    await runs.begin(runId);
    return runStore.detail(runId);
  }

  /** Idempotent by `runId`. CONFLICT when the chain has no point to stand on. */
  async extend(chainId: ChainId, runId: RunId, signal: AbortSignal): Promise<Run> {
    const { runStore, check } = this.#o;
    const known = await runStore.find(runId);
    const madeBy = known ?? (await runStore.detail(await check.newestRunOf(chainId, signal)));
    return this.start(madeBy.jobId, runId, { pointKind: 'incremental', chainId }, signal);
  }

  async #hasRun(job: Job, runId: RunId): Promise<boolean> {
    const run = await this.#o.runStore.find(runId);
    if (run && run.jobId !== job.id) throw new Fault('ALREADY_EXISTS', `run ${runId} is another job's`);
    return run !== null;
  }

  async #insertRun(run: NewRun): Promise<void> {
    const { job, runId } = run;
    const { database, jobs, runStore, clock } = this.#o;
    try {
      await inTransaction(database, async (tx) => {
        await jobs.hold(tx, job.id);
        await runStore.insert(tx, run, clock.now());
      });
    } catch (error) {
      if (!isUniqueViolation(error)) throw error;
      // The same request, or another run of the job, a moment earlier.
      if (!(await this.#hasRun(job, runId)))
        throw new Fault('CONFLICT', `another run of job '${job.name}' has just begun`);
    }
  }

  async #existing(request: NewJob): Promise<Job | null> {
    const job = await this.#o.jobs.find(request.id);
    if (job && !asksFor(request, job))
      throw new Fault('ALREADY_EXISTS', `job ${request.id} exists with other content`);
    return job;
  }
}
