import { databaseShape, readConfig, serviceShape } from '@casvault/service-host';
import { z } from 'zod';

/** `archive=1,fast=4` */
const groupRunsSchema = z
  .string()
  .regex(/^([^=,]{1,64}=[1-9]\d{0,2}(,(?!$)|$))*$/, 'must be groups with their limits, as archive=1,fast=4')
  .default('')
  .transform(
    (text): ReadonlyMap<string, number> =>
      new Map(
        text
          .split(',')
          .filter((pair) => pair !== '')
          .map((pair) => [pair.slice(0, pair.indexOf('=')), Number(pair.slice(pair.indexOf('=') + 1))]),
      ),
  );

export const schedulerShape = {
  CASVAULT_SCHEDULER_GROUP_RUNS: groupRunsSchema.describe(
    'R15: runs at the same time for a group of backup hosts, others queue; group=limit, comma-separated; a group not named has no limit',
  ),
  CASVAULT_SCHEDULER_GRACE_MINUTES: z.coerce
    .number()
    .int()
    .min(0)
    .max(10_080)
    .default(60)
    .describe(
      'D7: a run that was missed while the system was down is made up for when it was due no longer ago',
    ),
  CASVAULT_SCHEDULER_HISTORY_DAYS: z.coerce
    .number()
    .int()
    .min(1)
    .max(36_500)
    .default(365)
    .describe('D9: runs that ended longer ago are forgotten, with their items, log and alerts'),
  CASVAULT_SCHEDULER_HISTORY_RUNS: z.coerce
    .number()
    .int()
    .min(1)
    .max(10_000)
    .default(50)
    .describe('D9: of each job the newest so many runs are kept, however old'),
} as const;

const schema = z.object({ ...serviceShape, ...databaseShape, ...schedulerShape });
export type SchedulerConfig = z.output<typeof schema>;

/** Throws ConfigProblems with everything that is wrong. */
export const schedulerConfig = (): SchedulerConfig => readConfig(schema, process.env);
