import { jobTable } from './job.table.js';
import { migrations } from './migrations.js';
import { runHookTable } from './run-hook.table.js';
import { runItemTable } from './run-item.table.js';
import { runTable } from './run.table.js';

/**
 * Of the connections the planner takes eight when many runs are due at once. With 40 of them (bench/CONTROL-PLANE.md) two for everybody
 * else let users wait for longer than the 300 ms of the API, and ten let the runs begin later than after 2 s.
 */
const poolSize = 14;

export const schedulerDatabase = {
  tables: [jobTable, runTable, runItemTable, runHookTable],
  migrations,
  poolSize,
};
