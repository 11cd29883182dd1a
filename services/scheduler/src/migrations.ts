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
  {
    name: '0006-raise-alerts',
    sql: `
      -- false: what has to be told of its end is still to be written; nothing is told of the past
      ALTER TABLE run ADD COLUMN alerted boolean NOT NULL DEFAULT false;
      UPDATE run SET alerted = true WHERE finished_at IS NOT NULL;
      CREATE INDEX run_unalerted ON run (finished_at) WHERE NOT alerted;
      CREATE INDEX run_finished ON run (finished_at);

      CREATE TABLE alert (
        id uuid PRIMARY KEY,
        run_id uuid NOT NULL REFERENCES run (id) ON DELETE CASCADE,
        job_id uuid NOT NULL,
        kind text NOT NULL,
        severity text NOT NULL,
        alert jsonb NOT NULL,
        -- whole milliseconds: pages go on at it
        raised_at timestamptz NOT NULL,
        -- false: the event is still to be published
        told boolean NOT NULL DEFAULT false,
        acknowledged_at timestamptz,
        acknowledged_by text
      );
      CREATE INDEX alert_newest ON alert (raised_at DESC, id DESC);
      CREATE INDEX alert_by_run ON alert (run_id);
      CREATE INDEX alert_untold ON alert (raised_at) WHERE NOT told;

      CREATE TABLE alert_channel (
        id uuid PRIMARY KEY,
        name text COLLATE "C" NOT NULL,
        enabled boolean NOT NULL,
        filter jsonb NOT NULL,
        -- its secrets sealed
        settings jsonb NOT NULL,
        created_at timestamptz NOT NULL
      );
      CREATE UNIQUE INDEX alert_channel_name ON alert_channel (name);

      CREATE TABLE alert_delivery (
        alert_id uuid NOT NULL REFERENCES alert (id) ON DELETE CASCADE,
        channel_id uuid NOT NULL REFERENCES alert_channel (id) ON DELETE CASCADE,
        state text NOT NULL DEFAULT 'waiting',
        attempts integer NOT NULL DEFAULT 0,
        error text,
        claim uuid,
        -- while claimed: when the claim ends; else: when the next attempt may begin
        due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        delivered_at timestamptz,
        PRIMARY KEY (alert_id, channel_id)
      );
      CREATE INDEX alert_delivery_due ON alert_delivery (due_at) WHERE state = 'waiting';
      CREATE INDEX alert_delivery_claim ON alert_delivery (claim) WHERE claim IS NOT NULL;
      CREATE INDEX alert_delivery_channel ON alert_delivery (channel_id);`,
  },
  {
    name: '0007-log-runs',
    sql: `
      CREATE TABLE run_log (
        run_id uuid NOT NULL REFERENCES run (id) ON DELETE CASCADE,
        seq integer NOT NULL,
        at timestamptz NOT NULL,
        level text NOT NULL,
        item_id uuid,
        vm_name text,
        code text NOT NULL,
        reason text,
        params jsonb NOT NULL,
        PRIMARY KEY (run_id, seq)
      );
      CREATE TABLE run_log_count (
        run_id uuid PRIMARY KEY REFERENCES run (id) ON DELETE CASCADE,
        -- lines in all, those that were not kept included
        told integer NOT NULL,
        dropped integer NOT NULL DEFAULT 0
      );`,
  },
  {
    name: '0008-group-transfer-options',
    sql: `
      UPDATE job SET definition = definition || jsonb_build_object(
        'network', jsonb_build_object('preferred', 'auto'),
        'options', (definition -> 'options') - 'reconnectMinutes' - 'bufferKiB' || jsonb_build_object(
          'reconnect', jsonb_build_object('minutes', coalesce(definition -> 'options' -> 'reconnectMinutes', '10'), 'bufferMiB', 10),
          'speedLimit', '[]'::jsonb,
          'transport', jsonb_build_object(
            'bufferKiB', coalesce(definition -> 'options' -> 'bufferKiB', '1024'), 'logLevel', 'info', 'connectMinutes', 10)));
      UPDATE run SET definition = definition || jsonb_build_object(
        'network', jsonb_build_object('preferred', 'auto'),
        'options', (definition -> 'options') - 'reconnectMinutes' - 'bufferKiB' || jsonb_build_object(
          'reconnect', jsonb_build_object('minutes', coalesce(definition -> 'options' -> 'reconnectMinutes', '10'), 'bufferMiB', 10),
          'speedLimit', '[]'::jsonb,
          'transport', jsonb_build_object(
            'bufferKiB', coalesce(definition -> 'options' -> 'bufferKiB', '1024'), 'logLevel', 'info', 'connectMinutes', 10)));`,
  },
  {
    name: '0009-try-again',
    sql: `
      ALTER TABLE run_item ADD COLUMN attempt smallint NOT NULL DEFAULT 1;
      -- what snapshot-engine knows the present attempt by
      ALTER TABLE run_item ADD COLUMN attempt_id uuid;
      UPDATE run_item SET attempt_id = id;
      ALTER TABLE run_item ALTER COLUMN attempt_id SET NOT NULL;
      CREATE UNIQUE INDEX run_item_attempt ON run_item (attempt_id);
      -- when it is tried again, and why the attempt before failed
      ALTER TABLE run_item ADD COLUMN not_before timestamptz;
      ALTER TABLE run_item ADD COLUMN earlier_fault jsonb;
      -- what was saved without a reserve goes on without one
      UPDATE job SET definition = '{"retry": {"count": 3, "intervalMinutes": 10}, "reserve": {"freePercent": null, "freeGiB": null}, "hostIds": [], "excludedVmIds": []}' || definition
        WHERE definition ->> 'kind' = 'backup';
      UPDATE job SET definition = jsonb_set(definition, '{parallel,channels}', '64') WHERE definition ->> 'kind' <> 'backup';
      UPDATE run SET definition = jsonb_set(definition, '{parallel,channels}', '64') WHERE definition ->> 'kind' <> 'backup';
      UPDATE run SET definition = '{"retry": {"count": 0, "intervalMinutes": 0}, "reserve": {"freePercent": null, "freeGiB": null}, "hostIds": [], "excludedVmIds": []}' || definition
        WHERE definition ->> 'kind' = 'backup';`,
  },
  {
    name: '0010-hook-runs',
    sql: `
      -- what was asked of backup hosts around a run: its precondition, its scripts
      CREATE TABLE run_hook (
        run_id uuid NOT NULL REFERENCES run (id) ON DELETE CASCADE,
        hook text NOT NULL,
        state text NOT NULL,
        reasons jsonb NOT NULL,
        fault jsonb,
        exit_code integer,
        http_status integer,
        told_at timestamptz,
        asked_at timestamptz NOT NULL,
        started_at timestamptz,
        finished_at timestamptz,
        PRIMARY KEY (run_id, hook)
      );`,
  },
  {
    name: '0011-gather-parallel',
    sql: `
      UPDATE job SET definition = jsonb_set(definition #- '{options,disksPerVm}' #- '{options,streamsPerDisk}', '{parallel}',
        jsonb_build_object('disksPerVm', coalesce(definition #> '{options,disksPerVm}', '1'),
          'streamsPerDisk', coalesce(definition #> '{options,streamsPerDisk}', '1')) || coalesce(definition -> 'parallel', '{}'));
      UPDATE run SET definition = jsonb_set(definition #- '{options,disksPerVm}' #- '{options,streamsPerDisk}', '{parallel}',
        jsonb_build_object('disksPerVm', coalesce(definition #> '{options,disksPerVm}', '1'),
          'streamsPerDisk', coalesce(definition #> '{options,streamsPerDisk}', '1')) || coalesce(definition -> 'parallel', '{}'));`,
  },
  {
    name: '0012-measure-pace',
    sql: `
      -- by disk: how far it was when it was last measured, and how fast it went
      ALTER TABLE run_item ADD COLUMN pace jsonb NOT NULL DEFAULT '{}';`,
    expands: true,
  },
  {
    name: '0013-find-newest-backup',
    sql: `
      CREATE INDEX run_item_backed_up ON run_item (vm_id, started_at DESC) WHERE kind = 'backup' AND state = 'succeeded';`,
  },
];
