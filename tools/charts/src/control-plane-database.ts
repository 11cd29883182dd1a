import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { openDatabase, provisionSchema, schemaOf, type DatabaseOptions } from '@casvault/persistence';
import { TestLogger } from '@casvault/testkit';
import pg from 'pg';
import { repositoryRoot } from './helm.js';

/** The services that have a schema. */
export const services = [
  'licensing-auth',
  'inventory',
  'scheduler',
  'snapshot-engine',
  'data-mover',
] as const;
export type Service = (typeof services)[number];
export const schemas: readonly string[] = services.map(schemaOf);

/** URL of each service's own role, its password included. */
export type ServiceUrls = Readonly<Record<Service, string>>;

/** What one client does with the database at `url`. */
export const withClient = async <T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> => {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
};

/**
 * A database `casvault` on a server with nothing on it, with the roles and schemas of the services, as production has it: with the passwords
 * of `before`, or with new ones.
 */
export const provisionDatabase = async (
  serverUrl: string,
  before?: ServiceUrls,
): Promise<{ adminUrl: string; urls: ServiceUrls }> => {
  await withClient(serverUrl, (client) => client.query('CREATE DATABASE casvault'));
  const adminUrl = new URL(serverUrl);
  adminUrl.pathname = '/casvault';
  const urls: [Service, string][] = [];
  for (const service of services) {
    const password = before === undefined ? {} : { password: new URL(before[service]).password };
    urls.push([service, await provisionSchema(adminUrl.href, service, password)]);
  }
  return { adminUrl: adminUrl.href, urls: Object.fromEntries(urls) as Record<Service, string> };
};

type ServiceDatabase = Pick<DatabaseOptions, 'tables' | 'migrations'>;

/** What the compiled service itself starts with. */
const databaseOf = async (service: Service): Promise<ServiceDatabase> => {
  const file = join(repositoryRoot, 'services', service, 'dist/src/data-source.js');
  const module = (await import(pathToFileURL(file).href)) as Readonly<Record<string, ServiceDatabase>>;
  const [database] = Object.values(module);
  if (database === undefined) throw new Error(`${service} tells no database`);
  return database;
};

/** Migrates the schema of every service as its start does. Returns which migrations were applied, `<schema>: <name>`. */
export const migrateServices = async (urls: ServiceUrls): Promise<string[]> => {
  const applied: string[] = [];
  for (const service of services) {
    const logger = new TestLogger();
    const own = await databaseOf(service);
    const schema = schemaOf(service);
    const source = await openDatabase({ url: urls[service], schema, ...own, logger, poolSize: 1 });
    await source.destroy();
    for (const { fields } of logger.lines)
      if ('applied' in fields)
        applied.push(...(fields.applied as string[]).map((name) => `${schema}: ${name}`));
  }
  return applied;
};

/** A value of a type that most columns take. */
const sampleOf = (type: string): string => {
  if (type === 'uuid') return 'gen_random_uuid()';
  if (type.startsWith('timestamp')) return 'now()';
  if (type === 'jsonb') return `'{"sample": [1, "ü", null]}'`;
  return type === 'ARRAY' ? `'{}'` : `'1'`;
};

interface Column {
  readonly table: string;
  readonly name: string | null;
  readonly type: string;
}

/**
 * Puts a row into every table of the services that takes one made of samples; those that others refer to come first, so it goes through
 * them again until no more take one. Returns how many tables have rows then.
 */
export const fillTables = (adminUrl: string): Promise<number> =>
  withClient(adminUrl, async (client) => {
    const { rows: columns } = await client.query<Column>(
      `SELECT format('%I.%I', t.table_schema, t.table_name) AS table, c.column_name AS name, c.data_type AS type
       FROM information_schema.tables t LEFT JOIN information_schema.columns c
         ON c.table_schema = t.table_schema AND c.table_name = t.table_name AND c.is_nullable = 'NO'
         AND c.column_default IS NULL AND c.is_identity = 'NO' AND c.is_generated = 'NEVER'
       WHERE t.table_schema = ANY ($1) AND t.table_name <> 'migration'`,
      [schemas],
    );
    const empty = new Map(columns.map(({ table }) => [table, columns.filter((one) => one.table === table)]));
    const filled = new Set<string>();
    for (let before = -1; before < filled.size;) {
      before = filled.size;
      for (const [table, own] of empty)
        if (!filled.has(table) && (await takesRow(client, table, own))) filled.add(table);
    }
    return filled.size;
  });

const takesRow = async (client: pg.Client, table: string, columns: readonly Column[]): Promise<boolean> => {
  const given = columns.flatMap(({ name, type }) => (name === null ? [] : [[name, sampleOf(type)] as const]));
  const names = given.map(([name]) => client.escapeIdentifier(name)).join(', ');
  const values = given.map(([, value]) => value).join(', ');
  const row = given.length === 0 ? 'DEFAULT VALUES' : `(${names}) VALUES (${values})`;
  try {
    await client.query(`INSERT INTO ${table} ${row}`);
    return true;
  } catch {
    return false;
  }
};
