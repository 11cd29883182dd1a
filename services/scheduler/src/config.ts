import { databaseShape, readConfig, serviceShape } from '@casvault/service-host';
import { z } from 'zod';

const schema = z.object({ ...serviceShape, ...databaseShape });
export type SchedulerConfig = z.output<typeof schema>;

/** Throws ConfigProblems with everything that is wrong. */
export const schedulerConfig = (): SchedulerConfig => readConfig(schema, process.env);
