import { randomBytes } from 'node:crypto';
import { startPostgres, TestLogger, type PostgresServer } from '@casvault/testkit';
import { type DataSource } from 'typeorm';
import { openDatabase, provisionSchema, type Migration } from '../src/index.js';

export interface TestDatabase {
  readonly server: PostgresServer;
  readonly url: string;
  readonly source: DataSource;
  readonly logger: TestLogger;
  /** Another connection pool, as another replica has. */
  open(migrations?: readonly Migration[]): Promise<DataSource>;
  close(): Promise<void>;
}

/** A provisioned and migrated schema `test_service` on a server of the suite's own. */
export const testDatabase = async (migrations: readonly Migration[] = []): Promise<TestDatabase> => {
  const server = await startPostgres();
  const rolePrefix = `t${randomBytes(4).toString('hex')}`;
  const url = await provisionSchema(server.adminUrl, 'test-service', { rolePrefix });
  const logger = new TestLogger();
  const sources: DataSource[] = [];
  const open = async (own: readonly Migration[] = migrations) => {
    const source = await openDatabase({ url, schema: 'test_service', tables: [], migrations: own, logger });
    sources.push(source);
    return source;
  };
  const source = await open();
  const close = async () => {
    for (const opened of sources) await opened.destroy();
    await server[Symbol.asyncDispose]();
  };
  return { server, url, source, logger, open, close };
};
