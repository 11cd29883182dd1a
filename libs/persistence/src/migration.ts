import { createHash } from 'node:crypto';
import { Fault } from '@casvault/contracts';

/** A step forward of a schema. Written once, never edited: its checksum is kept in the database. */
export interface Migration {
  /** `0001-create-user`: sorts into the order of application, unique within the schema. */
  readonly name: string;
  /** Statements of Postgres, run inside one transaction with the schema as search path. */
  readonly sql: string;
  /**
   * True: builds from before it go on beside it, start on it and do right by what newer builds write; otherwise they are refused. So it
   * only adds, and nothing that an older build would have to heed.
   */
  readonly expands?: boolean;
}

export type Query = (sql: string, parameters?: unknown[]) => Promise<unknown>;

interface Applied {
  readonly name: string;
  readonly checksum: string;
  readonly expands: boolean;
}

const checksum = (sql: string): string => createHash('sha256').update(sql.trim()).digest('hex');

/**
 * Brings a schema up to this build: everything in one transaction under a lock, so that replicas starting together
 * migrate once. A schema that holds migrations unknown to this build is refused with CONFLICT unless all of them expand it, and so
 * are different ones under the same name: an older build must not write to a schema that was not made to be written to by it.
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
  await query('ALTER TABLE migration ADD COLUMN IF NOT EXISTS expands boolean NOT NULL DEFAULT false');
  const rows = (await query('SELECT name, checksum, expands FROM migration')) as Applied[];
  refuseForeign(schema, migrations, rows);
  const applied = new Set(rows.map(({ name }) => name));
  const fresh = [...migrations]
    .filter(({ name }) => !applied.has(name))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const { name, sql, expands = false } of fresh) {
    await query(sql);
    const row = [name, checksum(sql), expands];
    await query('INSERT INTO migration (name, checksum, expands) VALUES ($1, $2, $3)', row);
  }
  return fresh.map(({ name }) => name);
};

const refuseForeign = (
  schema: string,
  migrations: readonly Migration[],
  applied: readonly Applied[],
): void => {
  const known = new Map(migrations.map(({ name, sql }) => [name, checksum(sql)]));
  for (const { name, checksum: sum, expands } of applied) {
    if (!known.has(name) && !expands)
      throw new Fault('CONFLICT', `schema ${schema} holds migration ${name}, unknown to this version`, {
        details: { schema, migration: name },
      });
    if (known.has(name) && known.get(name) !== sum)
      throw new Fault('CONFLICT', `schema ${schema}: migration ${name} is not the one that was applied`, {
        details: { schema, migration: name },
      });
  }
};
