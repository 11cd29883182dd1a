import { textOf } from './tables.js';

const files = [
  'libs/persistence/src/shared-migrations.ts',
  ...['data-mover', 'inventory', 'licensing-auth', 'scheduler', 'snapshot-engine'].map(
    (service) => `services/${service}/src/migrations.ts`,
  ),
];

const migration = /name: '([^']+)',\n\s*sql: ([`'"])([^]*?)\2,\n(\s*expands: true,\n)?/g;
const migrationsOf = (text: string) =>
  [...text.matchAll(migration)].map(([, name = '', , sql = '', mark]) => ({
    name,
    sql,
    expands: mark !== undefined,
  }));

/** What adds without being in the way of a build that knows nothing of it; a unique index on a table that was there is. */
const adding = [
  /^CREATE TABLE \w+ \([^]*\)$/,
  /^CREATE INDEX \w+ ON \w+ \([^]*\)( WHERE [^]*)?$/,
  /^CREATE SEQUENCE \w+( AS \w+)?$/,
  /^ALTER TABLE \w+( ADD COLUMN \w+ \w+( NOT NULL DEFAULT [^,]+| GENERATED ALWAYS AS \([^]*\) STORED)?,?)+$/,
];

/** Indexes that a text makes and that only make reading faster: no build misses them. */
const plainIndexesOf = (text: string): string[] =>
  [...text.matchAll(/CREATE INDEX (\w+) ON/g)].map(([, name = '']) => name);

/** Statements of a migration that do more than add, or than drop one of the `plainIndexes`. */
const contracting = (sql: string, plainIndexes: readonly string[] = []): string[] =>
  sql
    .replaceAll(/--[^\n]*/g, '')
    .split(';')
    .map((statement) => statement.trim().replaceAll(/\s+/g, ' '))
    .filter((statement) => statement !== '' && !adding.some((pattern) => pattern.test(statement)))
    .filter((statement) => !plainIndexes.includes(/^DROP INDEX (\w+)$/.exec(statement)?.[1] ?? ''));

describe('migrations', () => {
  it.each([
    ['CREATE TABLE a (id uuid PRIMARY KEY); CREATE INDEX b ON a (id) WHERE id IS NOT NULL;', 0],
    ["ALTER TABLE a ADD COLUMN b text NOT NULL DEFAULT '', ADD COLUMN c jsonb; -- DROP TABLE a", 0],
    ['ALTER TABLE a ADD COLUMN b text GENERATED ALWAYS AS (lower(c)) STORED', 0],
    ['ALTER TABLE a ADD COLUMN b text NOT NULL', 1],
    ['ALTER TABLE a ADD COLUMN b text, DROP COLUMN c', 1],
    ['ALTER TABLE a ALTER COLUMN b DROP NOT NULL; UPDATE a SET b = 1', 2],
    ['CREATE UNIQUE INDEX b ON a (id)', 1],
  ])('of which %j does more than add in %d statements', (sql, count) => {
    expect(contracting(sql)).toHaveLength(count);
  });

  it('may drop an index that only made reading faster', () => {
    const text = 'CREATE INDEX a ON t (x); CREATE UNIQUE INDEX b ON t (y);';
    expect(contracting('DROP INDEX a; DROP INDEX b', plainIndexesOf(text))).toEqual(['DROP INDEX b']);
  });

  it.each(files)('in %s that are marked as expanding only add, and all have names in order', async (file) => {
    const text = await textOf(file);
    const all = migrationsOf(text);
    expect(all).toHaveLength(text.match(/^ +name: '/gm)?.length ?? 0);
    expect(all.map(({ name }) => name)).toEqual(all.map(({ name }) => name).sort());
    for (const { name, sql, expands } of all)
      expect({ name, contracting: expands ? contracting(sql, plainIndexesOf(text)) : [] }).toEqual({
        name,
        contracting: [],
      });
  });

  it('are told apart: some expand, some do not', async () => {
    const all = (await Promise.all(files.flatMap((file) => [textOf(file)]))).flatMap(migrationsOf);
    expect(all.some(({ expands }) => expands)).toBe(true);
    expect(all.some(({ sql }) => contracting(sql).length > 0)).toBe(true);
  });
});
