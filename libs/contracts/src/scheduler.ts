import { z } from 'zod';
import {
  bytesSchema,
  defineEvent,
  defineQuery,
  emptySchema,
  instantSchema,
  pageOf,
  pageRequestSchema,
} from './define.js';
import { diskProgressSchema } from './data-mover.js';
import { faultSchema } from './fault.js';
import { runHookSchema } from './hook.js';
import {
  chainIdSchema,
  hostIdSchema,
  jobIdSchema,
  pointIdSchema,
  runIdSchema,
  runItemIdSchema,
  vmIdSchema,
} from './ids.js';
import {
  backupDefinitionSchema,
  contentShape,
  creationDefinitionSchema,
  jobDefinitionSchema,
  oneVmParallelSchema,
  refuseContent,
  restoreDefinitionSchema,
  restoreWishSchema,
  rollbackDefinitionSchema,
} from './job-definition.js';
import { planSchema, plansSchema, timeZoneSchema } from './plan.js';
import { pointKindSchema } from './point.js';
import { reasonCodeSchema } from './reason.js';
import { creationTargetSchema, restoreOutlineSchema, rollbackTargetSchema } from './restore.js';
import { itemKindSchema, itemPhaseSchema } from './snapshot-engine.js';

export const runStateSchema = z.enum([
  'queued',
  'running',
  'stopping',
  'succeeded',
  'partly failed',
  'failed',
  'stopped',
  /** Not begun: the last run went on when it was due (D7), or there was nothing to do: no VM, no point. */
  'skipped',
  /** D7: not begun, for nobody was there to begin it when it was due, nor within the grace after it. */
  'missed',
  /** D10: not begun, for the precondition of its job did not hold. */
  'given up',
]);
export type RunState = z.infer<typeof runStateSchema>;

export const jobSchema = z.object({
  id: jobIdSchema,
  name: z.string(),
  definition: jobDefinitionSchema,
  plans: plansSchema,
  /** Its plans run; a disabled job runs only when somebody starts it. */
  enabled: z.boolean(),
  /** Rises with every edit. */
  version: z.number().int().min(1),
  /** In which its plans are read: that of its backup hosts. */
  timeZone: timeZoneSchema,
  /** When one of its plans is due next; null: never by itself. */
  nextRunAt: instantSchema.nullable(),
  lastRunId: runIdSchema.nullable(),
  lastRunState: runStateSchema.nullable(),
  createdAt: instantSchema,
});
export type Job = z.infer<typeof jobSchema>;

export const runItemSchema = z.object({
  id: runItemIdSchema,
  kind: itemKindSchema,
  vmId: vmIdSchema.nullable(),
  vmName: z.string(),
  /** `skipped`: without an error, as `cbt.fallback` says; it does not spoil the run. */
  state: z.enum(['queued', 'running', 'succeeded', 'skipped', 'failed', 'stopped']),
  /** `cleaning` in an item that is `stopped`: the run did not wait for what is still being cleaned up. */
  phase: itemPhaseSchema.nullable(),
  /** Rises whenever it is tried again (`retry`). All below is of this attempt. */
  attempt: z.number().int().min(1).default(1),
  /** Why the attempt before this one failed. */
  earlierFault: faultSchema.nullable().default(null),
  /** Failed, and is tried again then; null: does not wait for that. */
  retryAt: instantSchema.nullable().default(null),
  pointId: pointIdSchema.nullable(),
  restoredVmId: vmIdSchema.nullable(),
  /** F9: the name on the platform of the volume that the item makes. */
  volumeName: z.string().nullable().default(null),
  /** F9: the name on the platform of the image that the item makes, and the CVM's id of it once it is made. */
  imageName: z.string().nullable().default(null),
  imageId: z.string().nullable().default(null),
  progress: z.array(
    diskProgressSchema.extend({
      /** Smoothed over half a minute; null: not measured, or not under way. */
      bytesPerSecond: z.number().min(0).nullable().default(null),
      /** Until it is done, at that speed; null: before a tenth of it is done, and where nobody knows. */
      etaSeconds: z.number().int().min(0).nullable().default(null),
    }),
  ),
  /** Of its slowest disk, of those that are known by now; null: as of a disk. */
  etaSeconds: z.number().int().min(0).nullable().default(null),
  reasons: z.array(reasonCodeSchema),
  fault: faultSchema.nullable(),
  startedAt: instantSchema.nullable(),
  finishedAt: instantSchema.nullable(),
});
export type RunItem = z.infer<typeof runItemSchema>;

export const runSchema = z.object({
  id: runIdSchema,
  jobId: jobIdSchema,
  jobName: z.string(),
  kind: itemKindSchema,
  state: runStateSchema,
  /** D7: when a plan was due that made it; null: somebody started it. */
  dueAt: instantSchema.nullable().default(null),
  /** Why it was not begun. */
  reasons: z.array(reasonCodeSchema).default([]),
  /** What kept it from having items (something that its job names is gone), or from beginning: its precondition, its pre script. */
  fault: faultSchema.nullable().default(null),
  createdAt: instantSchema,
  /** Null also while its precondition is asked. */
  startedAt: instantSchema.nullable(),
  finishedAt: instantSchema.nullable(),
  /** Sums over the items. */
  doneBytes: bytesSchema,
  storedBytes: bytesSchema,
  itemCount: z.number().int(),
});
export type Run = z.infer<typeof runSchema>;
export const runDetailSchema = runSchema.extend({
  /** Of its slowest item; null: also while items wait for their turn. */
  etaSeconds: runItemSchema.shape.etaSeconds,
  items: z.array(runItemSchema),
  /** The precondition and the scripts that were asked for so far. */
  hooks: z.array(runHookSchema).default([]),
});
export type RunDetail = z.infer<typeof runDetailSchema>;

const jobNameSchema = z.string().trim().min(1).max(128);
/**
 * Idempotent by `id`. With an immediate plan the first run is made in the same transaction. What `needsConfirmation` is taken only with the
 * code that `preview-restore` or `preview-backup` issued to the same caller for exactly this request (F6); the code is used up in that
 * transaction too.
 */
export const createJob = defineQuery('scheduler', 'create-job', 1, {
  request: z.object({
    id: jobIdSchema,
    name: jobNameSchema,
    definition: jobDefinitionSchema,
    plans: plansSchema,
    /** F6: of what needs one, and only of that. */
    confirmation: z.string().min(1).max(64).optional(),
  }),
  reply: jobSchema,
});
/** One VM of a restore as it would be made. */
export const restorePreviewItemSchema = z.object({
  /** Of the item in the request, from 0. */
  index: z.number().int().min(0),
  pointId: pointIdSchema,
  /** Of the point; null: there is no such point. */
  sourceVmName: z.string().nullable(),
  capturedAt: instantSchema.nullable(),
  /**
   * All settings: those asked for, else those of `defaults`, else those of the point. Platform, host and storage pool that nobody names are
   * proposed as the source VM has them; a restore that does not name them is refused.
   */
  target: restoreWishSchema,
  /** Null: it could not be judged. */
  outline: restoreOutlineSchema.nullable(),
  /** Every one that can be known beforehand; empty: none. `details.field` names the field of the request. */
  refusals: z.array(faultSchema),
  notices: z.array(reasonCodeSchema),
});
/** F6: good once, for exactly this request of this caller, until `expiresAt`. */
const issuedCodeSchema = z.object({ code: z.string(), expiresAt: instantSchema });
export const restorePreviewSchema = z.object({
  itemCount: z.number().int(),
  /** In the order of the request. Of more than 250 those that are refused, then the first ones. */
  items: z.array(restorePreviewItemSchema),
  /** What is refused of the job as a whole. */
  refusals: z.array(faultSchema),
  /** Null while anything is refused. */
  confirmation: issuedCodeSchema.nullable(),
});
export type RestorePreview = z.infer<typeof restorePreviewSchema>;
/** F4, F6: what a restore job would do and what would be refused, asked of the platforms now; nothing is made but the code. */
export const previewRestore = defineQuery('scheduler', 'preview-restore', 1, {
  request: createJob.request
    .omit({ id: true, confirmation: true })
    .extend({ definition: restoreDefinitionSchema }),
  reply: restorePreviewSchema,
});
export const backupPreviewSchema = z.object({
  /** What is chosen that leaves VMs unprotected without an alert. */
  notices: z.array(reasonCodeSchema),
  /** Null: it is saved without one. */
  confirmation: issuedCodeSchema.nullable(),
});
export type BackupPreview = z.infer<typeof backupPreviewSchema>;
/** F6, `cbt.fallback`: what has to be known before a backup job is saved; nothing is made but the code. */
export const previewBackup = defineQuery('scheduler', 'preview-backup', 1, {
  request: createJob.request
    .omit({ id: true, confirmation: true })
    .extend({ definition: backupDefinitionSchema }),
  reply: backupPreviewSchema,
});
/**
 * `version` is the one that was edited: CONFLICT when it is no longer the job's. Runs keep the definition that they began
 * with, and an immediate plan runs only when a job is created. Idempotent.
 */
export const updateJob = defineQuery('scheduler', 'update-job', 1, {
  request: createJob.request.omit({ id: true }).extend({
    jobId: jobIdSchema,
    version: jobSchema.shape.version,
  }),
  reply: jobSchema,
});
/** Idempotent. What was due while the job was disabled is not made up for. */
export const enableJob = defineQuery('scheduler', 'enable-job', 1, {
  request: z.object({ jobId: jobIdSchema, enabled: z.boolean() }),
  reply: jobSchema,
});
/** A disabled copy, so that nothing runs before it was looked at. Idempotent by `id`, the copy's. */
export const cloneJob = defineQuery('scheduler', 'clone-job', 1, {
  request: z.object({ jobId: jobIdSchema, id: jobIdSchema, name: jobNameSchema }),
  reply: jobSchema,
});
/** CONFLICT while a run of it goes on. Its runs stay in the history, and its points in their pool. */
export const deleteJob = defineQuery('scheduler', 'delete-job', 1, {
  request: z.object({ jobId: jobIdSchema }),
  reply: emptySchema,
});
export const planPreviewSchema = z.object({
  timeZone: timeZoneSchema,
  /** Fewer than asked for when the plan ends. */
  dues: z.array(
    z.object({
      at: instantSchema,
      /** What the clock at the backup host shows then. */
      local: z.iso.datetime({ local: true }),
    }),
  ),
});
export type PlanPreview = z.infer<typeof planPreviewSchema>;
/** The next instants at which a plan is due, in a zone or else in that of a group's backup hosts. */
export const previewPlan = defineQuery('scheduler', 'preview-plan', 1, {
  request: z.object({
    plan: planSchema,
    timeZone: timeZoneSchema.optional(),
    group: backupDefinitionSchema.shape.group,
    count: z.number().int().min(1).max(100).default(10),
  }),
  reply: planPreviewSchema,
});
/** D1: one that a run of this content would have now. */
const contentItemSchema = z.object({
  /** Null: a host that is gone. */
  vmId: vmIdSchema.nullable(),
  vmName: z.string(),
  /** Of a verify or copy job. */
  pointId: pointIdSchema.optional(),
  hostName: z.string().nullable(),
  /** Why it would fail: it is gone. */
  fault: faultSchema.nullable(),
});
export const contentPreviewSchema = z.object({
  itemCount: z.number().int(),
  /** The first 1000. */
  items: z.array(contentItemSchema),
});
export type ContentPreview = z.infer<typeof contentPreviewSchema>;
/** D1: what a run of this content would be made of if it began now. */
export const previewContent = defineQuery('scheduler', 'preview-content', 1, {
  request: z.object(contentShape).superRefine(refuseContent),
  reply: contentPreviewSchema,
});
export const listJobs = defineQuery('scheduler', 'list-jobs', 1, {
  request: pageRequestSchema,
  reply: pageOf(jobSchema),
});
export const getJob = defineQuery('scheduler', 'get-job', 1, {
  request: z.object({ jobId: jobIdSchema }),
  reply: jobSchema,
});
/** S8: a backup job that protects this VM, by its name or as one of this host; disabled ones too. Null: none does. */
export const findBackupJob = defineQuery('scheduler', 'find-backup-job', 1, {
  request: z.object({ vmId: vmIdSchema, hostId: hostIdSchema }),
  reply: z.object({ job: z.object({ id: jobIdSchema, name: z.string() }).nullable() }),
});
/** What one run of a backup job does otherwise than its definition says. */
export const runChoiceSchema = z.object({
  pointKind: pointKindSchema.optional(),
  /** Extends this chain, by a run of its VM alone. */
  chainId: chainIdSchema.optional(),
});
export type RunChoice = z.infer<typeof runChoiceSchema>;
/** Idempotent by `runId`. A choice that does not fit the job is INPUT_INVALID. */
export const startRun = defineQuery('scheduler', 'start-run', 1, {
  request: z.object({ jobId: jobIdSchema, runId: runIdSchema, ...runChoiceSchema.shape }),
  reply: runSchema,
});
/** Idempotent by `runId`: a run of the job that made the chain's newest point, for its VM alone, by an incremental point on it. */
export const extendChain = defineQuery('scheduler', 'extend-chain', 1, {
  request: z.object({ chainId: chainIdSchema, runId: runIdSchema }),
  reply: runSchema,
});
/** F8: a job of its own, with one run that begins at once. Idempotent by `id`, the job's. */
export const startRollback = defineQuery('scheduler', 'start-rollback', 1, {
  request: rollbackTargetSchema.extend({
    id: jobIdSchema,
    pointId: pointIdSchema,
    /** The VM's name as it is now: what its disks hold is overwritten. */
    confirm: z.string().min(1).max(255),
    group: rollbackDefinitionSchema.shape.group,
    parallel: oneVmParallelSchema,
    network: rollbackDefinitionSchema.shape.network,
    options: rollbackDefinitionSchema.shape.options,
  }),
  reply: runSchema,
});
/** F9: a job of its own, with one run that begins at once. Idempotent by `id`, the job's. */
export const startCreation = defineQuery('scheduler', 'start-creation', 1, {
  request: z.object({
    id: jobIdSchema,
    pointId: pointIdSchema,
    target: creationTargetSchema,
    group: creationDefinitionSchema.shape.group,
    parallel: oneVmParallelSchema,
    network: creationDefinitionSchema.shape.network,
    options: creationDefinitionSchema.shape.options,
  }),
  reply: runSchema,
});
export const stopRun = defineQuery('scheduler', 'stop-run', 1, {
  request: z.object({ runId: runIdSchema }),
  reply: emptySchema,
});
export const listRuns = defineQuery('scheduler', 'list-runs', 1, {
  request: pageRequestSchema.extend({ jobId: jobIdSchema.optional() }),
  reply: pageOf(runSchema),
});
/** With the first 1000 items; `itemCount` says how many there are. */
export const getRun = defineQuery('scheduler', 'get-run', 1, {
  request: z.object({ runId: runIdSchema }),
  reply: runDetailSchema,
});
/** The run or one of its items changed; the gateway streams it to browsers. Of its items at most 200: those that run, then those that changed last. */
export const runChanged = defineEvent('scheduler', 'run-changed', 1, { payload: runDetailSchema });
