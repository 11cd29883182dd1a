import { licenceTable } from './licence.table.js';
import { migrations } from './migrations.js';
import { apiTokenTable, sessionTable } from './token.table.js';
import { userTable } from './user.table.js';

export const licensingAuthDatabase = {
  tables: [userTable, sessionTable, apiTokenTable, licenceTable],
  migrations,
};
