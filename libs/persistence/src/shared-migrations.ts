import { type Migration } from './migration.js';

/** Tables that every service's schema has. Their names sort before a service's own `0001-…`. */
export const sharedMigrations: readonly Migration[] = [
  {
    name: '0000-01-machine',
    sql: `
      CREATE TABLE machine_instance (
        kind text NOT NULL,
        id text NOT NULL,
        state jsonb,
        version bigint NOT NULL DEFAULT 0,
        wake_at timestamptz,
        done boolean NOT NULL DEFAULT false,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (kind, id)
      );
      CREATE INDEX machine_instance_due ON machine_instance (kind, wake_at) WHERE wake_at IS NOT NULL;
      CREATE TABLE machine_effect (
        id text PRIMARY KEY,
        seq bigint GENERATED ALWAYS AS IDENTITY,
        kind text NOT NULL,
        instance_id text NOT NULL,
        lane text NOT NULL,
        effect jsonb NOT NULL,
        traceparent text,
        attempt integer NOT NULL DEFAULT 0,
        claim uuid,
        -- while claimed: when the claim ends; else: when the next attempt may begin
        due_at timestamptz NOT NULL DEFAULT clock_timestamp()
      );
      CREATE INDEX machine_effect_due ON machine_effect (kind, due_at);
      CREATE INDEX machine_effect_lane ON machine_effect (kind, instance_id, lane, seq);`,
  },
  {
    name: '0000-02-messages',
    sql: `
      CREATE TABLE handled_message (
        scope text NOT NULL,
        message_id text NOT NULL,
        handled_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (scope, message_id)
      );
      CREATE INDEX handled_message_age ON handled_message (handled_at);`,
  },
  {
    name: '0000-03-machine-trace',
    sql: 'ALTER TABLE machine_instance ADD COLUMN traceparent text;',
  },
  {
    name: '0000-04-machine-order',
    sql: `
      -- The first that are due are found without a look at all that wait; and with due_at in no index a claim touches none.
      CREATE INDEX machine_effect_order ON machine_effect (kind, seq);
      DROP INDEX machine_effect_due;`,
    expands: true,
  },
];
