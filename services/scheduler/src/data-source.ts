import { jobTable } from './job.table.js';
import { migrations } from './migrations.js';
import { runHookTable } from './run-hook.table.js';
import { runItemTable } from './run-item.table.js';
import { runTable } from './run.table.js';

/**
 * Of the connections the planner takes eight when many runs are due at once: two for everybody else let users wait (p99 of saving a
 * job 317 ms), ten let their runs begin late (2.2 s); see bench/CONTROL-PLANE.md.
 */
const poolSize = 14;

export const schedulerDatabase = {
  tables: [jobTable, runTable, runItemTable, runHookTable],
  migrations,
  poolSize,
};
