import { z } from 'zod';
import { defineQuery } from './define.js';
import { faultSchema } from './fault.js';
import { contentShape, openBackupDefinitionSchema, refuseContent } from './job-definition.js';
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

/** What one page of a wizard has gathered of a backup job: the same fields, to the same rules, as in the job. */
export const jobStageSchema = z.discriminatedUnion('stage', [
  z.object({
    stage: z.literal('content'),
    definition: z.object({ ...contentShape, diskIds }).superRefine(refuseContent),
  }),
  z.object({ stage: z.literal('target'), definition: z.object({ poolId, group }) }),
  z.object({
    stage: z.literal('plans'),
    plans: plansSchema,
    definition: z.object({ group }).prefault({}),
  }),
  z.object({ stage: z.literal('options'), definition: backupOptionsSchema.prefault({}) }),
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
  options: backupOptionsSchema.nullable(),
});
export type CheckedStage = z.infer<typeof checkedStageSchema>;

/** D9: judges one stage of a backup job that is being put together; nothing is made. A restore is judged by `preview-restore`. */
export const checkJobStage = defineQuery('scheduler', 'check-job-stage', 1, {
  request: z.object({ job: jobStageSchema }),
  reply: checkedStageSchema,
});
