export {
  inTransaction,
  openDatabase,
  reading,
  schemaOf,
  type DatabaseOptions,
  type Transaction,
} from './database.js';
export { isUniqueViolation } from './database-fault.js';
export { PostgresMachineStore, type ProjectedStep } from './machine-store.js';
export { type Migration } from './migration.js';
export { pageFrom, readCursor, type Keyset } from './page.js';
export { provisionSchema, type ProvisionOptions } from './provision.js';
