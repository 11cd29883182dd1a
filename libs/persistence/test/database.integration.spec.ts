import { randomBytes } from 'node:crypto';
import { startPostgres, TestLogger, type PostgresServer } from '@casvault/testkit';
import pg from 'pg';
import { type DataSource } from 'typeorm';
import {
  inTransaction,
  isUniqueViolation,
  openDatabase,
  provisionSchema,
  type Migration,
} from '../src/index.js';

const table: Migration = {
  name: '0001-thing',
  sql: 'CREATE TABLE thing (id int PRIMARY KEY, n int NOT NULL DEFAULT 0)',
};

describe('a schema of its own', () => {
  let server: PostgresServer;
  const rolePrefix = `t${randomBytes(4).toString('hex')}`;
  const sources: DataSource[] = [];
  const logger = new TestLogger();
  const url = (service: string, password?: string) =>
    provisionSchema(server.adminUrl, service, { rolePrefix, ...(password ? { password } : {}) });
  const open = async (service: string, databaseUrl: string, migrations: Migration[] = []) => {
    const source = await openDatabase({
      url: databaseUrl,
      schema: service.replaceAll('-', '_'),
      tables: [],
      migrations,
      logger,
    });
    sources.push(source);
    return source;
  };

  beforeAll(async () => {
    server = await startPostgres();
  });
  afterEach(async () => {
    for (const source of sources.splice(0)) await source.destroy();
  });
  afterAll(() => server[Symbol.asyncDispose]());

  it('is provisioned again without loss, and keeps a given password', async () => {
    const first = await url('again', 'kept-password');
    await (await open('again', first, [table])).query('INSERT INTO thing VALUES (1)');
    const second = await url('again', 'kept-password');
    expect(second).toBe(first);
    expect(await (await open('again', second, [table])).query('SELECT id FROM thing')).toEqual([{ id: 1 }]);
  });

  it('is closed to every other service', async () => {
    const one = await open('one', await url('one'), [table]);
    const two = await open('two-services', await url('two-services'));
    await one.query('INSERT INTO thing VALUES (1)');
    await expect(two.query('SELECT * FROM one.thing')).rejects.toThrow(/permission denied/);
    await expect(two.query('CREATE TABLE one.mine (id int)')).rejects.toThrow(/permission denied/);
    await expect(two.query('CREATE TABLE public.mine (id int)')).rejects.toThrow(/permission denied/);
    await expect(two.query('CREATE SCHEMA mine')).rejects.toThrow(/permission denied/);
    await expect(two.query('CREATE ROLE mine')).rejects.toThrow(/permission denied/);
  });

  it('is migrated once by replicas that start together', async () => {
    const databaseUrl = await url('together');
    const opened = await Promise.all([1, 2, 3, 4].flatMap(() => [open('together', databaseUrl, [table])]));
    const rows: unknown = await opened[0]?.query('SELECT name FROM migration ORDER BY name');
    expect(rows).toEqual([
      { name: '0000-01-machine' },
      { name: '0000-02-messages' },
      { name: '0000-03-machine-trace' },
      { name: '0000-04-machine-order' },
      { name: '0001-thing' },
    ]);
  });

  it('refuses an older build, and a migration that was edited', async () => {
    const databaseUrl = await url('newer');
    await open('newer', databaseUrl, [table]);
    await expect(open('newer', databaseUrl, [])).rejects.toMatchObject({
      code: 'CONFLICT',
      message: expect.stringContaining('0001-thing') as string,
    });
    const edited = { ...table, sql: `${table.sql}; SELECT 1` };
    await expect(open('newer', databaseUrl, [edited])).rejects.toMatchObject({ code: 'CONFLICT' });
  });

  it('lets an older build in where the schema was only expanded, and not once it was changed otherwise', async () => {
    const databaseUrl = await url('expanded');
    const wider = {
      name: '0002-wider',
      sql: "ALTER TABLE thing ADD COLUMN colour text NOT NULL DEFAULT 'grey'",
      expands: true,
    };
    const newer = await open('expanded', databaseUrl, [table, wider]);
    const older = await open('expanded', databaseUrl, [table]);
    await older.query('INSERT INTO thing VALUES (1)');
    expect(await newer.query('SELECT colour FROM thing')).toEqual([{ colour: 'grey' }]);
    const narrower = { name: '0003-narrower', sql: 'ALTER TABLE thing ALTER COLUMN colour DROP DEFAULT' };
    await open('expanded', databaseUrl, [table, wider, narrower]);
    await expect(open('expanded', databaseUrl, [table, wider])).rejects.toMatchObject({
      code: 'CONFLICT',
      message: expect.stringContaining('0003-narrower') as string,
    });
  });

  it('knows what expands in schemas from before that was kept', async () => {
    const databaseUrl = await url('before');
    const source = await open('before', databaseUrl, [table]);
    await source.query('ALTER TABLE migration DROP COLUMN expands');
    await open('before', databaseUrl, [table]);
    await expect(open('before', databaseUrl, [])).rejects.toMatchObject({ code: 'CONFLICT' });
  });

  it('stays as it was when a migration fails', async () => {
    const databaseUrl = await url('broken');
    const broken = { name: '0002-broken', sql: 'CREATE TABLE half (id int); SELECT no_such_function()' };
    await expect(open('broken', databaseUrl, [table, broken])).rejects.toThrow(/no_such_function/);
    const source = await open('broken', databaseUrl, [table]);
    expect(await source.query("SELECT to_regclass('half') AS half")).toEqual([{ half: null }]);
  });

  it('refuses a wrong password at once', async () => {
    const wrong = new URL(await url('secret'));
    if (server.own) {
      // The embedded server trusts loopback: a role that doesn't exist is refused in the same way.
      wrong.username = 'nobody_at_all';
    }
    wrong.password = 'wrong';
    await expect(open('secret', wrong.href)).rejects.toThrow(/does not exist|password/);
  });

  it('runs a transaction again after a deadlock', async () => {
    const source = await open('deadlock', await url('deadlock'), [table]);
    await source.query('INSERT INTO thing VALUES (1), (2)');
    let tries = 0;
    const cross = (first: number, second: number) =>
      inTransaction(source, async (tx) => {
        tries += 1;
        await tx.query('UPDATE thing SET n = n + 1 WHERE id = $1', [first]);
        await new Promise((resolve) => setTimeout(resolve, 200));
        await tx.query('UPDATE thing SET n = n + 1 WHERE id = $1', [second]);
      });
    await Promise.all([cross(1, 2), cross(2, 1)]);
    expect(tries).toBeGreaterThan(2);
    expect(await source.query('SELECT n FROM thing ORDER BY id')).toEqual([{ n: 2 }, { n: 2 }]);
  });

  it('tells a unique violation apart', async () => {
    const source = await open('unique', await url('unique'), [table]);
    const insert = () => inTransaction(source, (tx) => tx.query('INSERT INTO thing VALUES (1)'));
    await insert();
    const error: unknown = await insert().catch((caught: unknown) => caught);
    expect(isUniqueViolation(error, 'thing_pkey')).toBe(true);
    expect(isUniqueViolation(error, 'other')).toBe(false);
  });

  it('needs no right to more than itself: the role owns nothing else', async () => {
    await url('owner');
    const client = new pg.Client({ connectionString: server.adminUrl });
    await client.connect();
    const { rows } = await client.query<{ nspname: string }>(
      'SELECT nspname FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner WHERE r.rolname = $1',
      [`${rolePrefix}_owner`],
    );
    await client.end();
    expect(rows).toEqual([{ nspname: 'owner' }]);
  });
});
