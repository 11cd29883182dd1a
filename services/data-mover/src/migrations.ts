import { type Migration } from '@casvault/persistence';

/** Forward only; never edited once released. */
export const migrations: readonly Migration[] = [
  {
    name: '0001-create-transfer',
    sql: `
      -- what queries and metrics need of a transfer; its machine holds the rest
      CREATE TABLE transfer (
        id uuid PRIMARY KEY,
        kind text NOT NULL,
        owner_id uuid NOT NULL,
        host_group text NOT NULL,
        point_id uuid NOT NULL,
        pool_id uuid NOT NULL,
        state text NOT NULL,
        epoch integer NOT NULL,
        worker_id uuid,
        created_at timestamptz NOT NULL,
        finished_at timestamptz
      );
      CREATE INDEX transfer_going ON transfer (state, host_group) WHERE state IN ('queued', 'running');
      CREATE INDEX transfer_by_point ON transfer (point_id);`,
  },
  {
    name: '0002-run-hooks',
    sql: `
      -- hooks of runs concern no point and no pool
      ALTER TABLE transfer ALTER COLUMN point_id DROP NOT NULL;
      ALTER TABLE transfer ALTER COLUMN pool_id DROP NOT NULL;`,
  },
  {
    name: '0003-create-mover-retirement',
    sql: `
      -- workers that the scaler of movers retires: they get no transfers any more
      CREATE TABLE mover_retirement (
        worker_id uuid PRIMARY KEY,
        host_group text NOT NULL,
        pod text NOT NULL,
        number integer NOT NULL,
        state text NOT NULL CHECK (state IN ('retiring', 'lowering'))
      );
      -- of an attempt; negated it is a pod's deletion cost, so it may never go back
      CREATE SEQUENCE mover_retirement_number AS integer;
      CREATE INDEX transfer_by_worker ON transfer (worker_id) WHERE state IN ('queued', 'running');`,
  },
];
