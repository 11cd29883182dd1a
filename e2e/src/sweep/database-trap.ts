import pg from 'pg';

/** Services whose durable steps are commits, by the names of their schemas. */
const schemas = ['scheduler', 'snapshot_engine', 'data_mover', 'inventory'] as const;
export type Schema = (typeof schemas)[number];

/** Inventory's copies of what it reads from platforms and hears from hosts: read again after any crash, at any time. */
const copies = [
  'platform',
  'host',
  'vm',
  'storage',
  'virtual_switch',
  'network_profile',
  'backup_host',
  'migration',
];

/** Key of the advisory locks; the second key is the schema's. */
const lockSpace = 4711;

/**
 * A step is a transaction; its name is what it changes: tables, kinds, states before and after, kinds of effects; `again` is a
 * row whose state stays (claims, renewals, progress), however often and in whatever state. It is told
 * by a deferred trigger, which runs within COMMIT: who is held there has done all its work and asked for the commit. Ended,
 * it is rolled back; let go, it commits and nobody hears of it. These are the two sides of a crash at this step, exactly.
 */
const machinery = `
  CREATE SCHEMA sweep;
  CREATE TABLE sweep.step (id text PRIMARY KEY, service text NOT NULL, name text NOT NULL);
  CREATE TABLE sweep.covered (id text PRIMARY KEY);
  CREATE TABLE sweep.armed (service text PRIMARY KEY);

  CREATE FUNCTION sweep.words(line jsonb) RETURNS text LANGUAGE sql STABLE AS $$
    WITH value AS (SELECT CASE jsonb_typeof(line->'state') WHEN 'object' THEN line->'state' ELSE '{}' END AS state)
    SELECT concat_ws(' ', CASE WHEN line->>'kind' NOT IN ('full', 'incremental') THEN line->>'kind' END, split_part(line->>'scope', '/', 1), line->'effect'->>'type', line->'effect'->>'action',
      state#>>'{request,spec,kind}', state->>'stage', state->>'phase', state->>'pointState', state->>'state',
      CASE jsonb_typeof(line->'state') WHEN 'string' THEN line->>'state' END, line->>'phase')
    FROM value $$;

  CREATE FUNCTION sweep.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
  DECLARE
    was text := CASE WHEN TG_OP <> 'INSERT' THEN sweep.words(to_jsonb(OLD)) END;
    becomes text := CASE WHEN TG_OP <> 'DELETE' THEN sweep.words(to_jsonb(NEW)) END;
    change text := CASE TG_OP WHEN 'INSERT' THEN '+ ' || becomes WHEN 'DELETE' THEN '- ' || was
      ELSE CASE WHEN was = becomes THEN split_part(was, ' ', 1) || ' again' ELSE was || ' > ' || becomes END END;
  BEGIN
    PERFORM set_config('sweep.changes',
      coalesce(current_setting('sweep.changes', true), '') || TG_TABLE_NAME || ' ' || change || E'\\n', true);
    RETURN NULL;
  END $$;

  CREATE FUNCTION sweep.commit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
  DECLARE
    changes text := current_setting('sweep.changes', true);
    told text;
  BEGIN
    IF coalesce(changes, '') = '' THEN RETURN NULL; END IF;
    PERFORM set_config('sweep.changes', '', true);
    SELECT string_agg(DISTINCT line, '; ' ORDER BY line) INTO told
      FROM regexp_split_to_table(changes, E'\\n') line WHERE line <> '';
    IF EXISTS (SELECT FROM sweep.armed WHERE service = TG_TABLE_SCHEMA)
      AND NOT EXISTS (SELECT FROM sweep.covered WHERE id = md5(TG_TABLE_SCHEMA || told)) THEN
      PERFORM set_config('application_name', 'sweep ' || md5(TG_TABLE_SCHEMA || told), false);
      PERFORM pg_advisory_xact_lock_shared(${String(lockSpace)}, hashtext(TG_TABLE_SCHEMA));
    END IF;
    IF NOT EXISTS (SELECT FROM sweep.step WHERE id = md5(TG_TABLE_SCHEMA || told)) THEN
      INSERT INTO sweep.step VALUES (md5(TG_TABLE_SCHEMA || told), TG_TABLE_SCHEMA, told) ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
  END $$;`;

const onTable = (schema: string, table: string): string => `
  CREATE TRIGGER sweep_note AFTER INSERT OR UPDATE OR DELETE ON ${schema}.${table}
    FOR EACH ROW EXECUTE FUNCTION sweep.note();
  CREATE CONSTRAINT TRIGGER sweep_commit AFTER INSERT OR UPDATE OR DELETE ON ${schema}.${table}
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sweep.commit();`;

export interface DatabaseStep {
  readonly id: string;
  readonly service: Schema;
  readonly name: string;
}

interface Held {
  readonly pid: number;
  readonly id: string;
  readonly schema: Schema;
}

/** Holds services at the commits that are not covered yet. One connection: calls follow each other. */
export class DatabaseTrap implements AsyncDisposable {
  readonly #client: pg.Client;

  private constructor(client: pg.Client) {
    this.#client = client;
  }

  /** Watches every table of the services' schemas but `copies`. Nothing is held before `arm`. */
  static async install(adminUrl: string): Promise<DatabaseTrap> {
    const client = new pg.Client({ connectionString: adminUrl });
    await client.connect();
    // What this connection writes is no step of a service.
    await client.query('SET session_replication_role = replica');
    await client.query(machinery);
    const { rows } = await client.query<{ schema: string; name: string }>(
      `SELECT schemaname AS schema, tablename AS name FROM pg_tables
       WHERE schemaname = ANY($1) AND NOT (schemaname = 'inventory' AND tablename = ANY($2))
         AND tablename NOT LIKE '%migration%'`,
      [schemas, copies],
    );
    for (const { schema, name } of rows) await client.query(onTable(schema, name));
    for (const schema of schemas)
      await client.query('SELECT pg_advisory_lock($1, hashtext($2))', [lockSpace, schema]);
    return new DatabaseTrap(client);
  }

  /** From now on all services are held where they come to a step that is not covered; or none any more. */
  async arm(armed: boolean): Promise<void> {
    await this.#client.query(
      armed
        ? 'INSERT INTO sweep.armed SELECT unnest($1::text[]) ON CONFLICT DO NOTHING'
        : 'DELETE FROM sweep.armed WHERE service = ANY($1)',
      [schemas],
    );
  }

  async cover(ids: readonly string[]): Promise<void> {
    await this.#client.query('INSERT INTO sweep.covered SELECT unnest($1::text[]) ON CONFLICT DO NOTHING', [
      ids,
    ]);
  }

  async steps(): Promise<DatabaseStep[]> {
    return (
      await this.#client.query<DatabaseStep>(
        'SELECT id, service, name FROM sweep.step ORDER BY service, name',
      )
    ).rows;
  }

  async held(): Promise<Held[]> {
    const { rows } = await this.#client.query<{ pid: number; id: string; schema: Schema }>(
      `SELECT a.pid, substr(a.application_name, 7) AS id, n.nspname AS schema
       FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid AND l.locktype = 'advisory' AND NOT l.granted
         JOIN pg_namespace n ON n.nspname = ANY($1) AND l.objid::bigint = hashtext(n.nspname)::bigint & 4294967295
       WHERE a.application_name LIKE 'sweep %' AND l.classid = $2`,
      [schemas, lockSpace],
    );
    return rows;
  }

  /**
   * After its service was killed: what `schema` is held at is rolled back, or commits unheard. The effects that the dead had
   * claimed are free at once, as they would be when their lease of 30 seconds is over.
   */
  async end(schema: Schema, held: readonly Held[], fate: 'rolled back' | 'committed'): Promise<void> {
    if (fate === 'rolled back')
      for (const { pid } of held) await this.#client.query('SELECT pg_terminate_backend($1, 5000)', [pid]);
    await this.#client.query('SELECT pg_advisory_unlock($1, hashtext($2))', [lockSpace, schema]);
    // Behind all who wait: they have gone on when it is ours again.
    await this.#client.query('SELECT pg_advisory_lock($1, hashtext($2))', [lockSpace, schema]);
    await this.#client.query(
      `UPDATE ${schema}.machine_effect SET due_at = clock_timestamp() WHERE claim IS NOT NULL`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.end();
  }
}
