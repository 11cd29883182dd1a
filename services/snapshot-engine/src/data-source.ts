import { deletionTable } from './deletion.table.js';
import { migrations } from './migrations.js';
import { chainTable, pointTable } from './point.table.js';

export const snapshotEngineDatabase = { tables: [chainTable, pointTable, deletionTable], migrations };
