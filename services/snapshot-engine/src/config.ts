import { databaseShape, readConfig, serviceShape } from '@casvault/service-host';
import { z } from 'zod';

const schema = z.object({ ...serviceShape, ...databaseShape });
export type SnapshotEngineConfig = z.output<typeof schema>;

/** Throws ConfigProblems with everything that is wrong. */
export const snapshotEngineConfig = (): SnapshotEngineConfig => readConfig(schema, process.env);
