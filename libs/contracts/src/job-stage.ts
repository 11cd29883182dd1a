import { z } from 'zod';
import { defineQuery } from './define.js';
import { faultSchema } from './fault.js';
import {
  contentShape,
  copyDefinitionSchema,
  openBackupDefinitionSchema,
  refuseContent,
  refuseSamePool,
  verifyDefinitionSchema,
} from './job-definition.js';
import { plansSchema } from './plan.js';
import { contentPreviewSchema, planPreviewSchema } from './scheduler.js';

const { diskIds, poolId, group } = openBackupDefinitionSchema.shape;
const backupOptionsSchema = openBackupDefinitionSchema.omit({
  kind: true,
  vmIds: true,
  hostIds: true,
  excludedVmIds: true,
  diskIds: true,
  poolId: true,
  group: true,
});

const verified = verifyDefinitionSchema.shape;
const copied = copyDefinitionSchema.shape;
const verifyOptionsSchema = z.object({ depth: verified.depth, parallel: verified.parallel });
const copyOptionsSchema = z.object({ parallel: copied.parallel, options: copied.options });

/** Kinds of jobs that are put together page by page; absent: a backup. */
const kind = z.enum(['backup', 'verify', 'copy']).optional();
const backup = z.literal('backup').optional();
const [verify, copy] = [z.literal('verify'), z.literal('copy')];
const [content, options] = [z.literal('content'), z.literal('options')];

const contentStageSchema = z.discriminatedUnion('kind', [
  z.object({
    stage: content,
    kind: backup,
    definition: z.object({ ...contentShape, diskIds }).superRefine(refuseContent),
  }),
  z.object({
    stage: content,
    kind: verify,
    definition: z.object({
      poolId: verified.poolId,
      vmIds: verified.vmIds,
      points: verified.points,
      mostPoints: verified.mostPoints,
    }),
  }),
  z.object({
    stage: content,
    kind: copy,
    definition: z
      .object({
        sourcePoolId: copied.sourcePoolId,
        poolId: copied.poolId,
        vmIds: copied.vmIds,
        points: copied.points,
        mostPoints: copied.mostPoints,
      })
      .superRefine(refuseSamePool),
  }),
]);

const optionsStageSchema = z.discriminatedUnion('kind', [
  z.object({ stage: options, kind: backup, definition: backupOptionsSchema.prefault({}) }),
  z.object({ stage: options, kind: verify, definition: verifyOptionsSchema.prefault({}) }),
  z.object({ stage: options, kind: copy, definition: copyOptionsSchema.prefault({}) }),
]);

/** What one page of a wizard has gathered of a backup, verify or copy job: the same fields, to the same rules, as in the job. */
export const jobStageSchema = z.discriminatedUnion('stage', [
  contentStageSchema,
  z.object({ stage: z.literal('target'), kind, definition: z.object({ poolId, group }) }),
  z.object({
    stage: z.literal('plans'),
    kind,
    plans: plansSchema,
    definition: z.object({ group }).prefault({}),
  }),
  optionsStageSchema,
]);
export type JobStage = z.output<typeof jobStageSchema>;

export const checkedStageSchema = z.object({
  /** What `create-job` would refuse of it now; empty: nothing. `details.field` names the field. */
  refusals: z.array(faultSchema),
  /** Of the stage `content`: what a run would be made of now. */
  content: contentPreviewSchema.nullable(),
  /** Of the stage `target`: backup hosts of the group that are online; with none, a run waits for one. */
  hostsOnline: z.number().int().nullable(),
  /** Of the stage `plans`: the next three times of each. */
  plans: z.array(planPreviewSchema).nullable(),
  /** Of the stage `options`: all of them, with the defaults of those that were left out. */
  options: z
    .union([verifyOptionsSchema.strict(), copyOptionsSchema.strict(), backupOptionsSchema])
    .nullable(),
});
export type CheckedStage = z.infer<typeof checkedStageSchema>;

/** D9: judges one stage of a backup, verify or copy job that is being put together; nothing is made. A restore is judged by `preview-restore`. */
export const checkJobStage = defineQuery('scheduler', 'check-job-stage', 1, {
  request: z.object({ job: jobStageSchema }),
  reply: checkedStageSchema,
});
