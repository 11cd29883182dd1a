import { type Migration } from '@casvault/persistence';

/** Forward only; never edited once released. */
export const migrations: readonly Migration[] = [
  {
    name: '0001-create-user',
    sql: `
      CREATE TABLE app_user (
        id uuid PRIMARY KEY,
        name text NOT NULL,
        -- argon2id, with its own parameters and salt
        password_hash text NOT NULL,
        roles jsonb NOT NULL,
        created_at timestamptz NOT NULL
      );
      CREATE UNIQUE INDEX app_user_name ON app_user (lower(name));

      CREATE TABLE session (
        -- SHA-256 of the token: the token itself is nowhere
        token_hash text PRIMARY KEY,
        user_id uuid NOT NULL REFERENCES app_user (id),
        created_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL
      );
      CREATE INDEX session_by_expiry ON session (expires_at);

      CREATE TABLE api_token (
        id uuid PRIMARY KEY,
        user_id uuid NOT NULL REFERENCES app_user (id),
        name text NOT NULL,
        token_hash text NOT NULL,
        created_at timestamptz NOT NULL,
        expires_at timestamptz,
        last_used_at timestamptz,
        revoked_at timestamptz
      );
      CREATE UNIQUE INDEX api_token_hash ON api_token (token_hash);
      CREATE INDEX api_token_by_user ON api_token (user_id, created_at DESC, id DESC);

      -- failed sign-ins in a row, by user name and by client address
      CREATE TABLE sign_in_failure (
        subject text PRIMARY KEY,
        failures int NOT NULL,
        last_at timestamptz NOT NULL
      );`,
  },
  {
    name: '0002-create-licence',
    sql: `
      CREATE TABLE licence (
        id uuid PRIMARY KEY,
        -- as it was signed: what it says is read out of it
        text text NOT NULL,
        imported_at timestamptz NOT NULL
      );
      CREATE INDEX licence_by_import ON licence (imported_at DESC, id DESC);`,
  },
];
