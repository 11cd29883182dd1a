import { createHash } from 'node:crypto';
import { Fault } from '@casvault/contracts';

/** A step forward of a schema. Written once, never edited: its checksum is kept in the database. */
export interface Migration {
  /** `0001-create-user`: sorts into the order of application, unique within the schema. */
  readonly name: string;
  /** Statements of Postgres, run inside one transaction with the schema as search path. */
  readonly sql: string;
}

export type Query = (sql: string, parameters?: unknown[]) => Promise<unknown>;

const checksum = (sql: string): string => createHash('sha256').update(sql.trim()).digest('hex');

/**
 * Brings a schema up to this build: everything in one transaction under a lock, so that replicas starting together
 * migrate once. A schema that holds migrations unknown to this build, or different ones under the same name, is refused
 * with CONFLICT: an older build must not write to a newer schema.
 */
export const migrate = async (
  query: Query,
  schema: string,
  migrations: readonly Migration[],
): Promise<string[]> => {
  await query('SELECT pg_advisory_xact_lock(hashtext($1))', [`casvault-migrate-${schema}`]);
  await query(
    'CREATE TABLE IF NOT EXISTS migration (name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())',
  );
  const rows = (await query('SELECT name, checksum FROM migration')) as { name: string; checksum: string }[];
  const applied = new Map(rows.map((row) => [row.name, row.checksum]));
  refuseForeign(schema, migrations, applied);
  const fresh = [...migrations]
    .filter(({ name }) => !applied.has(name))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const { name, sql } of fresh) {
    await query(sql);
    await query('INSERT INTO migration (name, checksum) VALUES ($1, $2)', [name, checksum(sql)]);
  }
  return fresh.map(({ name }) => name);
};

const refuseForeign = (
  schema: string,
  migrations: readonly Migration[],
  applied: ReadonlyMap<string, string>,
): void => {
  const known = new Map(migrations.map(({ name, sql }) => [name, checksum(sql)]));
  for (const [name, sum] of applied) {
    if (!known.has(name))
      throw new Fault('CONFLICT', `schema ${schema} holds migration ${name}, unknown to this version`, {
        details: { schema, migration: name },
      });
    if (known.get(name) !== sum)
      throw new Fault('CONFLICT', `schema ${schema}: migration ${name} is not the one that was applied`, {
        details: { schema, migration: name },
      });
  }
};
