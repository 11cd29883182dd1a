import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { asDatabaseFault } from './database-fault.js';
import { schemaOf } from './database.js';

export interface ProvisionOptions {
  /** Kept from an earlier provision; without it a new one is generated, which ends the validity of the old one. */
  readonly password?: string;
  /** Prefix of the role's name; roles are shared by all databases of a server. */
  readonly rolePrefix?: string;
}

/**
 * Makes (or repairs) a service's role and schema: the role owns its schema and has no right on any other, nor on
 * `public`. Safe to run again. Returns the service's database URL, password included.
 */
export const provisionSchema = async (
  adminUrl: string,
  service: string,
  options: ProvisionOptions = {},
): Promise<string> => {
  const schema = schemaOf(service);
  const role = `${options.rolePrefix ?? 'casvault'}_${schema}`;
  const password = options.password ?? randomBytes(24).toString('base64url');
  const client = new pg.Client({ connectionString: adminUrl, connectionTimeoutMillis: 5_000 });
  try {
    await client.connect();
    await client.query('BEGIN');
    await client.query("SELECT pg_advisory_xact_lock(hashtext('casvault-provision'))");
    await grant(client, schema, role, password);
    await client.query('COMMIT');
  } catch (error) {
    throw asDatabaseFault(error);
  } finally {
    await client.end();
  }
  const url = new URL(adminUrl);
  url.username = role;
  url.password = password;
  return url.href;
};

const grant = async (client: pg.Client, schema: string, role: string, password: string): Promise<void> => {
  const [roleId, schemaId] = [client.escapeIdentifier(role), client.escapeIdentifier(schema)];
  const { rowCount } = await client.query('SELECT 1 FROM pg_roles WHERE rolname = $1', [role]);
  const verb = rowCount ? 'ALTER' : 'CREATE';
  // Roles take no parameters in SQL: the password is quoted by the client.
  await client.query(
    `${verb} ROLE ${roleId} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD ${client.escapeLiteral(password)}`,
  );
  const { rows } = await client.query<{ name: string }>('SELECT current_database() AS name');
  const database = client.escapeIdentifier(rows[0]?.name ?? '');
  await client.query('REVOKE ALL ON SCHEMA public FROM PUBLIC');
  await client.query(`REVOKE ALL ON DATABASE ${database} FROM PUBLIC`);
  await client.query(`GRANT CONNECT ON DATABASE ${database} TO ${roleId}`);
  await client.query(`GRANT ${roleId} TO CURRENT_USER`);
  await client.query(`CREATE SCHEMA IF NOT EXISTS ${schemaId} AUTHORIZATION ${roleId}`);
  await client.query(`ALTER SCHEMA ${schemaId} OWNER TO ${roleId}`);
  await client.query(`ALTER ROLE ${roleId} IN DATABASE ${database} SET search_path = ${schemaId}`);
};
