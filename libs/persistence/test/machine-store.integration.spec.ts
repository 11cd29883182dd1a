import { machineStoreConformance } from '@casvault/machine/testing';
import { PostgresMachineStore } from '../src/index.js';
import { testDatabase, type TestDatabase } from './test-database.js';

let database: TestDatabase;
beforeAll(async () => {
  database = await testDatabase();
});
afterAll(() => database.close());

machineStoreConformance('Postgres', async () => {
  await database.source.query('TRUNCATE machine_instance, machine_effect, handled_message');
  return {
    store: new PostgresMachineStore(database.source),
    pass: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
  };
});
