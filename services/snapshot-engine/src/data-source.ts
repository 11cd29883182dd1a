import { deletionTable } from './deletion.table.js';
import { migrations } from './migrations.js';
import { chainTable, pointTable } from './point.table.js';
import { verificationTable } from './verification.table.js';

export const snapshotEngineDatabase = {
  tables: [chainTable, pointTable, deletionTable, verificationTable],
  migrations,
};
