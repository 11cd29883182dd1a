import { jobTable } from './job.table.js';
import { migrations } from './migrations.js';
import { runHookTable } from './run-hook.table.js';
import { runItemTable } from './run-item.table.js';
import { runTable } from './run.table.js';

export const schedulerDatabase = { tables: [jobTable, runTable, runItemTable, runHookTable], migrations };
