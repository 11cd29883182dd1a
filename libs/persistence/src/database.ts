import { setTimeout as sleep } from 'node:timers/promises';
import { Fault, type Logger } from '@casvault/contracts';
import { DataSource, type EntityManager, type EntitySchema } from 'typeorm';
import { asDatabaseFault, isConcurrencyError } from './database-fault.js';
import { migrate, type Migration } from './migration.js';
import { preparingClient, StatementNames } from './prepared.js';
import { sharedMigrations } from './shared-migrations.js';

/** What happens inside a transaction goes through it. */
export type Transaction = EntityManager;

export interface DatabaseOptions {
  /** `postgres://role:password@host:port/database`, the service's own role. */
  readonly url: string;
  /** The service's own schema; also its name towards Postgres. See `schemaOf`. */
  readonly schema: string;
  readonly tables: readonly EntitySchema[];
  readonly migrations: readonly Migration[];
  readonly logger: Logger;
  /** Connections at the same time; a transaction holds one. */
  readonly poolSize?: number;
  /** Ends the wait for a database that isn't there yet. */
  readonly signal?: AbortSignal;
}

/** The schema of a service: its name as a plain identifier. */
export const schemaOf = (service: string): string => service.replaceAll('-', '_');

const connectTimeoutMs = 5_000;
const statementTimeoutMs = 30_000;

const dataSource = (options: DatabaseOptions): DataSource =>
  new DataSource({
    type: 'postgres',
    url: options.url,
    schema: options.schema,
    applicationName: `casvault-${options.schema}`,
    entities: [...options.tables],
    synchronize: false,
    migrationsRun: false,
    logging: false,
    installExtensions: false,
    poolSize: options.poolSize ?? 10,
    connectTimeoutMS: connectTimeoutMs,
    // A dead idle connection is taken out of the pool by pg; the next query opens another.
    poolErrorHandler: (error: unknown) =>
      options.logger.warn({ err: error }, 'a database connection was lost'),
    extra: {
      options: `-c search_path=${options.schema} -c statement_timeout=${statementTimeoutMs} -c idle_in_transaction_session_timeout=60000`,
      keepAlive: true,
      // A server that vanished without a word is noticed by the query, not after minutes of TCP retries.
      query_timeout: statementTimeoutMs + 5_000,
      idleTimeoutMillis: 30_000,
      Client: preparingClient(new StatementNames()),
    },
  });

/**
 * Connects to the service's schema and brings it up to this build's migrations. Waits for a database that isn't there
 * yet, with a line in the log for every attempt; a wrong password or a refused migration is thrown at once.
 */
export const openDatabase = async (options: DatabaseOptions): Promise<DataSource> => {
  for (let attempt = 1; ; attempt++) {
    const source = dataSource(options);
    try {
      await source.initialize();
      const all = [...sharedMigrations, ...options.migrations];
      const applied = await source.transaction((tx) =>
        migrate((sql, parameters) => tx.query(sql, parameters), options.schema, all),
      );
      if (applied.length > 0) options.logger.info({ schema: options.schema, applied }, 'schema migrated');
      return source;
    } catch (error) {
      if (source.isInitialized) await source.destroy();
      const fault = asDatabaseFault(error);
      if (!Fault.is(fault) || fault.kind !== 'unavailable' || options.signal?.aborted) throw fault;
      options.logger.warn({ err: fault.cause, attempt }, 'the database is not there yet');
      await sleep(Math.min(5_000, 250 * 2 ** Math.min(attempt, 10)), undefined, {
        ...(options.signal ? { signal: options.signal } : {}),
      });
    }
  }
};

const concurrencyAttempts = 5;

/**
 * Runs `work` in one transaction (read committed). A deadlock or serialization failure runs it again from the start, so
 * `work` has no effects besides the database. A lost connection is DEPENDENCY_UNAVAILABLE; whether the commit took
 * place is then unknown.
 */
export const inTransaction = async <T>(
  database: DataSource,
  work: (tx: Transaction) => Promise<T>,
): Promise<T> => {
  for (let attempt = 1; ; attempt++)
    try {
      return await database.transaction(work);
    } catch (error) {
      if (!isConcurrencyError(error) || attempt === concurrencyAttempts) throw asDatabaseFault(error);
    }
};

/** Runs reads outside a transaction with database errors as faults. */
export const reading = async <T>(
  database: DataSource,
  work: (source: EntityManager) => Promise<T>,
): Promise<T> => {
  try {
    return await work(database.manager);
  } catch (error) {
    throw asDatabaseFault(error);
  }
};
