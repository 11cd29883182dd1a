import { type Migration } from '@casvault/persistence';

/** Forward only; never edited once released. */
export const migrations: readonly Migration[] = [
  {
    name: '0001-create-platform',
    sql: `
      CREATE TABLE platform (
        id uuid PRIMARY KEY,
        name text NOT NULL,
        address text NOT NULL,
        ssl boolean NOT NULL,
        ssl_ignore_errors boolean NOT NULL,
        port integer NOT NULL,
        user_name text NOT NULL,
        -- sealed; empty once deregistered
        password text NOT NULL,
        disk_service_port integer NOT NULL,
        disk_service_token text NOT NULL,
        version text NOT NULL,
        architecture text NOT NULL,
        state text NOT NULL,
        state_message text,
        last_sync_at timestamptz,
        -- when the reading began whose result is stored
        synced_from timestamptz,
        next_sync_at timestamptz NOT NULL,
        created_at timestamptz NOT NULL,
        deleted_at timestamptz
      );
      CREATE UNIQUE INDEX platform_name ON platform (lower(name)) WHERE deleted_at IS NULL;
      CREATE INDEX platform_due ON platform (next_sync_at) WHERE deleted_at IS NULL;

      CREATE TABLE host (
        id uuid PRIMARY KEY,
        platform_id uuid NOT NULL REFERENCES platform (id),
        external_id text NOT NULL,
        name text NOT NULL,
        ip text NOT NULL,
        status text NOT NULL,
        cpu_count integer NOT NULL,
        memory_mib integer NOT NULL,
        vm_count integer NOT NULL,
        architecture text NOT NULL,
        seen_at timestamptz NOT NULL,
        -- gone from the platform; kept, because jobs and points name it
        deleted_at timestamptz,
        CONSTRAINT host_external UNIQUE (platform_id, external_id)
      );

      CREATE TABLE vm (
        id uuid PRIMARY KEY,
        platform_id uuid NOT NULL REFERENCES platform (id),
        uuid uuid NOT NULL,
        external_id text NOT NULL,
        name text NOT NULL,
        title text NOT NULL,
        host_id uuid NOT NULL REFERENCES host (id),
        power_state text NOT NULL,
        cpu_count integer NOT NULL,
        memory_mib integer NOT NULL,
        disks jsonb NOT NULL,
        nics jsonb NOT NULL,
        -- what the row of the list said when the details were read, and when that was
        list_mark text NOT NULL,
        detail_at timestamptz NOT NULL,
        seen_at timestamptz NOT NULL,
        deleted_at timestamptz,
        CONSTRAINT vm_uuid UNIQUE (platform_id, uuid)
      );
      CREATE INDEX vm_name ON vm (name, id) WHERE deleted_at IS NULL;
      CREATE INDEX vm_host ON vm (host_id) WHERE deleted_at IS NULL;

      CREATE TABLE storage (
        host_id uuid NOT NULL REFERENCES host (id),
        platform_id uuid NOT NULL REFERENCES platform (id),
        name text NOT NULL,
        title text NOT NULL,
        type text NOT NULL,
        path text NOT NULL,
        capacity_bytes bigint NOT NULL,
        free_bytes bigint NOT NULL,
        active boolean NOT NULL,
        PRIMARY KEY (host_id, name)
      );
      CREATE INDEX storage_page ON storage (platform_id, name, host_id);

      CREATE TABLE virtual_switch (
        host_id uuid NOT NULL REFERENCES host (id),
        platform_id uuid NOT NULL REFERENCES platform (id),
        external_id text NOT NULL,
        name text NOT NULL,
        mode text NOT NULL,
        network_type text NOT NULL,
        address text,
        PRIMARY KEY (host_id, external_id)
      );
      CREATE INDEX virtual_switch_page ON virtual_switch (platform_id, name, host_id, external_id);

      CREATE TABLE network_profile (
        platform_id uuid NOT NULL REFERENCES platform (id),
        external_id text NOT NULL,
        name text NOT NULL,
        description text NOT NULL,
        PRIMARY KEY (platform_id, external_id)
      );`,
  },
  {
    name: '0002-create-restore-vm',
    sql: `
      -- Written before the CVM is asked to make the VM: what is made is always found again.
      CREATE TABLE restore_vm (
        restore_id uuid PRIMARY KEY,
        platform_id uuid NOT NULL REFERENCES platform (id),
        host_id uuid NOT NULL REFERENCES host (id),
        vm_name text NOT NULL,
        state text NOT NULL,
        -- the VM's, once it is made
        vm_uuid uuid,
        created_at timestamptz NOT NULL
      );`,
  },
  {
    name: '0003-create-backup-host-and-pool',
    sql: `
      CREATE TABLE backup_host (
        id uuid PRIMARY KEY,
        name text NOT NULL,
        host_group text NOT NULL,
        address text NOT NULL,
        time_zone text NOT NULL,
        version text NOT NULL,
        last_seen_at timestamptz NOT NULL
      );
      CREATE INDEX backup_host_page ON backup_host (name, id);

      CREATE TABLE pool (
        id uuid PRIMARY KEY,
        name text NOT NULL,
        type text NOT NULL,
        -- secrets in it are sealed
        location jsonb NOT NULL,
        -- where it is, in one comparable text: no two pools share a place
        place text NOT NULL,
        created_at timestamptz NOT NULL,
        CONSTRAINT pool_place UNIQUE (place)
      );
      CREATE UNIQUE INDEX pool_name ON pool (lower(name));`,
  },
  {
    name: '0004-create-vm-shutdown-and-vm-snapshot',
    sql: `
      -- Both are written before the CVM is asked: what an item did to a VM is known after any crash.
      CREATE TABLE vm_shutdown (
        item_id uuid NOT NULL,
        vm_id uuid NOT NULL REFERENCES vm (id),
        platform_id uuid NOT NULL REFERENCES platform (id),
        state text NOT NULL,
        -- when the item first asked
        was_running boolean NOT NULL,
        asked_at timestamptz NOT NULL,
        PRIMARY KEY (item_id, vm_id)
      );
      CREATE INDEX vm_shutdown_open ON vm_shutdown (platform_id, asked_at) WHERE state <> 'ended';

      CREATE TABLE vm_snapshot (
        item_id uuid NOT NULL,
        vm_id uuid NOT NULL REFERENCES vm (id),
        platform_id uuid NOT NULL REFERENCES platform (id),
        kind text NOT NULL,
        state text NOT NULL,
        -- targets and paths of the disks that it takes, as they lay before it
        before jsonb NOT NULL,
        taken_at timestamptz,
        asked_at timestamptz NOT NULL,
        PRIMARY KEY (item_id, vm_id)
      );
      CREATE INDEX vm_snapshot_suspect ON vm_snapshot (platform_id, asked_at);`,
  },
  {
    name: '0005-add-content-url',
    sql: `
      ALTER TABLE backup_host ADD COLUMN content_url text;`,
  },
  {
    name: '0006-add-keeps-volumes',
    sql: `
      -- the volumes of the VM were there before it: they outlive it
      ALTER TABLE restore_vm ADD COLUMN keeps_volumes boolean NOT NULL DEFAULT false;`,
  },
  {
    name: '0007-add-data-network',
    sql: `
      ALTER TABLE platform ADD COLUMN data_network text NOT NULL DEFAULT 'management';`,
  },
  {
    name: '0008-create-restore-volume',
    sql: `
      -- Written before the CVM is asked to make the volume: what is made is always found again.
      CREATE TABLE restore_volume (
        restore_id uuid PRIMARY KEY,
        platform_id uuid NOT NULL REFERENCES platform (id),
        host_id uuid NOT NULL REFERENCES host (id),
        storage_name text NOT NULL,
        volume_name text NOT NULL,
        -- the VM that gets it; null: none
        attach_to uuid,
        format text NOT NULL,
        bus text NOT NULL,
        state text NOT NULL,
        created_at timestamptz NOT NULL
      );
      CREATE INDEX restore_volume_suspect ON restore_volume (platform_id, created_at);`,
  },
  {
    name: '0009-create-image',
    sql: `
      -- set before the CVM is asked to make the VM a template
      ALTER TABLE restore_vm ADD COLUMN becomes_template boolean NOT NULL DEFAULT false;

      CREATE TABLE image (
        platform_id uuid NOT NULL REFERENCES platform (id),
        external_id text NOT NULL,
        -- null: its host is not known
        host_id uuid REFERENCES host (id),
        name text NOT NULL,
        title text NOT NULL,
        cpu_count integer NOT NULL,
        memory_mib integer NOT NULL,
        PRIMARY KEY (platform_id, external_id)
      );
      CREATE INDEX image_page ON image (platform_id, name, external_id);`,
  },
  {
    name: '0010-overwrite-vm',
    sql: `
      -- S8: the VM that gets the disks, by its UUID
      ALTER TABLE restore_vm ADD COLUMN overwrites uuid;
      -- set before the first disk changes places: which it had, and which it gets
      ALTER TABLE restore_vm ADD COLUMN swap jsonb;`,
  },
  {
    name: '0011-original-path',
    sql: `
      -- F3: the VM that a restore goes over or stands in for, and what it gets besides its disks
      ALTER TABLE restore_vm ADD COLUMN original jsonb;`,
  },
  {
    name: '0012-search-vm',
    sql: `
      -- C5: what is looked through, in lower case once and not at every search
      ALTER TABLE vm ADD COLUMN search text GENERATED ALWAYS AS (lower(name || chr(31) || title)) STORED;`,
    expands: true,
  },
];
