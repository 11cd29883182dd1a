import { transferTable } from './controller/transfer.table.js';
import { migrations } from './migrations.js';

export const dataMoverDatabase = { tables: [transferTable], migrations };
