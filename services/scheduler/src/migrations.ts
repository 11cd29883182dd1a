import { type Migration } from '@casvault/persistence';

/** Forward only; never edited once released. */
export const migrations: readonly Migration[] = [
  {
    name: '0001-create-job',
    sql: `
      CREATE TABLE job (
        id uuid PRIMARY KEY,
        name text NOT NULL,
        definition jsonb NOT NULL,
        plan jsonb NOT NULL,
        enabled boolean NOT NULL,
        last_run_id uuid,
        last_run_state text,
        created_at timestamptz NOT NULL
      );
      CREATE INDEX job_newest ON job (created_at DESC, id DESC);

      CREATE TABLE run (
        id uuid PRIMARY KEY,
        job_id uuid NOT NULL REFERENCES job (id),
        job_name text NOT NULL,
        -- as it was when the run was made
        definition jsonb NOT NULL,
        state text NOT NULL,
        item_count integer NOT NULL,
        created_at timestamptz NOT NULL,
        started_at timestamptz,
        finished_at timestamptz
      );
      CREATE INDEX run_newest ON run (created_at DESC, id DESC);
      CREATE INDEX run_by_job ON run (job_id, created_at DESC, id DESC);
      CREATE INDEX run_queued ON run (created_at) WHERE state = 'queued';
      -- one run of a job at a time
      CREATE UNIQUE INDEX run_going ON run (job_id) WHERE state IN ('queued', 'running', 'stopping');

      CREATE TABLE run_item (
        id uuid PRIMARY KEY,
        run_id uuid NOT NULL REFERENCES run (id),
        seq integer NOT NULL,
        kind text NOT NULL,
        vm_id uuid,
        vm_name text NOT NULL,
        host text,
        point_id uuid,
        target jsonb,
        restored_vm_id uuid,
        state text NOT NULL,
        phase text,
        progress jsonb NOT NULL DEFAULT '[]',
        reasons jsonb NOT NULL DEFAULT '[]',
        fault jsonb,
        done_bytes bigint NOT NULL DEFAULT 0,
        stored_bytes bigint NOT NULL DEFAULT 0,
        -- the sender's time of the newest news, and ours
        told_at timestamptz,
        heard_at timestamptz,
        started_at timestamptz,
        finished_at timestamptz
      );
      CREATE UNIQUE INDEX run_item_order ON run_item (run_id, seq);`,
  },
  {
    name: '0002-choose-point-kind',
    sql: `
      -- what a run does otherwise than its definition says
      ALTER TABLE run ADD COLUMN choice jsonb NOT NULL DEFAULT '{}';
      UPDATE job SET definition = '{"pointKind": "incremental", "powerOff": false, "cbt": {"enable": true, "fallback": "full"}}' || definition
        WHERE definition ->> 'kind' = 'backup';
      UPDATE run SET definition = '{"pointKind": "full", "powerOff": false, "cbt": {"enable": true, "fallback": "full"}}' || definition
        WHERE definition ->> 'kind' = 'backup';`,
  },
  {
    name: '0003-tell-image-id',
    sql: `
      -- the CVM's id of the image that the item made
      ALTER TABLE run_item ADD COLUMN image_id text;`,
  },
  {
    name: '0004-plan-runs',
    sql: `
      ALTER TABLE job ADD COLUMN plans jsonb;
      UPDATE job SET plans = jsonb_build_array(plan);
      ALTER TABLE job ALTER COLUMN plans SET NOT NULL;
      ALTER TABLE job DROP COLUMN plan;
      ALTER TABLE job ADD COLUMN version integer NOT NULL DEFAULT 1;
      ALTER TABLE job ADD COLUMN time_zone text NOT NULL DEFAULT 'UTC';
      -- its runs stay in the history
      ALTER TABLE job ADD COLUMN deleted_at timestamptz;

      ALTER TABLE run ADD COLUMN due_at timestamptz;
      ALTER TABLE run ADD COLUMN reasons jsonb NOT NULL DEFAULT '[]';
      ALTER TABLE run ADD COLUMN fault jsonb;
      -- false: its end is still to be published
      ALTER TABLE run ADD COLUMN told boolean NOT NULL DEFAULT true;
      CREATE INDEX run_untold ON run (created_at) WHERE NOT told;

      -- when each plan of a job is due next
      CREATE TABLE job_plan (
        job_id uuid NOT NULL REFERENCES job (id),
        seq smallint NOT NULL,
        due_at timestamptz,
        PRIMARY KEY (job_id, seq)
      );
      CREATE INDEX job_plan_due ON job_plan (due_at) WHERE due_at IS NOT NULL;
      INSERT INTO job_plan (job_id, seq) SELECT id, 0 FROM job;`,
  },
  {
    name: '0005-confirm-restores',
    sql: `
      -- F6: codes with which restores are submitted, once; those long expired are dropped when one is issued
      CREATE TABLE restore_confirmation (
        code_hash text PRIMARY KEY,
        actor text NOT NULL,
        request_hash text NOT NULL,
        expires_at timestamptz NOT NULL,
        job_id uuid
      );
      CREATE INDEX restore_confirmation_expired ON restore_confirmation (expires_at);`,
  },
];
