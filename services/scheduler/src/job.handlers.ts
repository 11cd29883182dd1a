import {
  checkJobStage,
  cloneJob,
  createJob,
  deleteJob,
  enableJob,
  extendChain,
  findBackupJob,
  getJob,
  listJobs,
  needsConfirmation,
  previewBackup,
  previewContent,
  previewPlan,
  previewRestore,
  startCreation,
  startRollback,
  startRun,
  updateJob,
  type BackupPreview,
} from '@casvault/contracts';
import { OnQuery, type MessageContext } from '@casvault/messaging';
import { Controller, Inject } from '@nestjs/common';
import { type z } from 'zod';
import { Confirmations } from './confirmations.js';
import { JobEdits } from './job-edits.js';
import { JobStore } from './job-store.js';
import { Jobs } from './jobs.js';
import { RestorePreviews } from './restore-previews.js';
import { StageCheck } from './stage-check.js';

type Request<T extends { request: z.ZodType }> = z.output<T['request']>;

/** Who asks when the message does not say so: another service. */
const nobody = 'system';

@Controller()
export class JobHandlers {
  constructor(
    @Inject(Jobs) private readonly jobs: Jobs,
    @Inject(JobEdits) private readonly edits: JobEdits,
    @Inject(JobStore) private readonly store: JobStore,
    @Inject(RestorePreviews) private readonly previews: RestorePreviews,
    @Inject(StageCheck) private readonly stages: StageCheck,
    @Inject(Confirmations) private readonly confirmations: Pick<Confirmations, 'issue'>,
  ) {}

  @OnQuery(createJob)
  async create(request: Request<typeof createJob>, { actor, signal }: MessageContext) {
    return this.jobs.create(request, signal, actor ?? nobody);
  }

  @OnQuery(updateJob)
  async update(request: Request<typeof updateJob>, { actor, signal }: MessageContext) {
    return this.edits.update(request, actor ?? nobody, signal);
  }

  @OnQuery(enableJob)
  async enable({ jobId, enabled }: Request<typeof enableJob>) {
    return this.edits.enable(jobId, enabled);
  }

  @OnQuery(cloneJob)
  async clone(request: Request<typeof cloneJob>) {
    return this.edits.clone(request);
  }

  @OnQuery(deleteJob)
  async remove({ jobId }: Request<typeof deleteJob>) {
    await this.edits.remove(jobId);
    return {};
  }

  @OnQuery(previewPlan)
  async preview(request: Request<typeof previewPlan>, { signal }: MessageContext) {
    return this.edits.preview(request, signal);
  }

  @OnQuery(previewRestore)
  async previewRestore(request: Request<typeof previewRestore>, { actor, signal }: MessageContext) {
    return this.previews.preview(request, actor ?? nobody, signal);
  }

  @OnQuery(previewBackup)
  async previewBackup(
    request: Request<typeof previewBackup>,
    { actor }: MessageContext,
  ): Promise<BackupPreview> {
    const isSilent = needsConfirmation(request.definition);
    const confirmation = isSilent ? await this.confirmations.issue(request, actor ?? nobody) : null;
    return { notices: isSilent ? ['SKIPS_SILENTLY'] : [], confirmation };
  }

  @OnQuery(previewContent)
  async previewContent(request: Request<typeof previewContent>, { signal }: MessageContext) {
    return this.edits.previewContent(request, signal);
  }

  @OnQuery(checkJobStage)
  async checkStage({ job }: Request<typeof checkJobStage>, { signal }: MessageContext) {
    return this.stages.check(job, signal);
  }

  @OnQuery(startRun)
  async start({ jobId, runId, ...choice }: Request<typeof startRun>, { signal }: MessageContext) {
    return this.jobs.start(jobId, runId, choice, signal);
  }

  @OnQuery(extendChain)
  async extend({ chainId, runId }: Request<typeof extendChain>, { signal }: MessageContext) {
    return this.jobs.extend(chainId, runId, signal);
  }

  @OnQuery(startRollback)
  async rollBack(request: Request<typeof startRollback>, { signal }: MessageContext) {
    return this.jobs.rollBack(request, signal);
  }

  @OnQuery(startCreation)
  async createFromPoint(request: Request<typeof startCreation>, { signal }: MessageContext) {
    return this.jobs.createFromPoint(request, signal);
  }

  @OnQuery(listJobs)
  async list(request: Request<typeof listJobs>) {
    return this.store.page(request);
  }

  @OnQuery(findBackupJob)
  async findBackup(request: Request<typeof findBackupJob>) {
    return { job: await this.store.protecting(request) };
  }

  @OnQuery(getJob)
  async get({ jobId }: Request<typeof getJob>) {
    return this.store.get(jobId);
  }
}
