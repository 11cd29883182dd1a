import { type Migration } from '@casvault/persistence';

/** Forward only; never edited once released. */
export const migrations: readonly Migration[] = [
  {
    name: '0001-create-point',
    sql: `
      CREATE TABLE chain (
        id uuid PRIMARY KEY,
        vm_id uuid NOT NULL,
        vm_name text NOT NULL,
        pool_id uuid NOT NULL,
        created_at timestamptz NOT NULL
      );
      CREATE INDEX chain_by_vm ON chain (vm_id, created_at);

      CREATE TABLE point (
        id uuid PRIMARY KEY,
        chain_id uuid NOT NULL REFERENCES chain (id),
        parent_point_id uuid,
        -- the run item that made it: also the id of its protection machine
        item_id uuid NOT NULL,
        kind text NOT NULL,
        state text NOT NULL,
        platform_id uuid NOT NULL,
        vm_id uuid NOT NULL,
        vm_name text NOT NULL,
        pool_id uuid NOT NULL,
        run_id uuid NOT NULL,
        created_at timestamptz NOT NULL,
        captured_at timestamptz,
        available_at timestamptz,
        method text,
        disks jsonb NOT NULL,
        reasons jsonb NOT NULL,
        fault jsonb,
        -- what a restore needs to make the VM again
        hardware jsonb NOT NULL,
        configuration jsonb NOT NULL
      );
      CREATE INDEX point_newest ON point (created_at DESC, id DESC);
      CREATE INDEX point_by_vm ON point (vm_id, created_at DESC, id DESC);
      CREATE INDEX point_by_chain ON point (chain_id, created_at DESC, id DESC);
      CREATE INDEX point_available ON point (vm_id, pool_id, available_at DESC) WHERE state = 'available';`,
  },
  {
    name: '0002-widen-point',
    sql: `
      -- null: of the whole VM
      ALTER TABLE chain ADD COLUMN disk_ids jsonb;
      ALTER TABLE point
        ADD COLUMN consistency text NOT NULL DEFAULT 'crash',
        ADD COLUMN excluded_disks jsonb NOT NULL DEFAULT '[]',
        ADD COLUMN pool_bytes double precision NOT NULL DEFAULT 0;
      UPDATE point SET disks = (
        SELECT coalesce(jsonb_agg('{"reasons": [], "tracked": false, "suspect": false}' || d ORDER BY n), '[]')
        FROM jsonb_array_elements(disks) WITH ORDINALITY AS e (d, n));`,
  },
  {
    name: '0003-create-vm-mark',
    sql: `
      -- R14: what of a VM's disks was, or may have been, written by a roll-back; points before it are no basis of an incremental
      CREATE TABLE vm_mark (
        vm_id uuid NOT NULL,
        -- the run item that did it
        item_id uuid NOT NULL,
        restored_at timestamptz NOT NULL,
        PRIMARY KEY (vm_id, item_id)
      );`,
  },
  {
    name: '0004-create-deletion',
    sql: `
      -- G2: who holds it, since when and why
      ALTER TABLE chain ADD COLUMN hold jsonb;
      -- the deletion that took the point
      ALTER TABLE point ADD COLUMN hold jsonb, ADD COLUMN deletion_id uuid;

      -- A run that reads a point, or makes one that stands on it: counts as long as its machine is not done.
      CREATE TABLE point_use (
        item_id uuid NOT NULL,
        point_id uuid NOT NULL REFERENCES point (id) ON DELETE CASCADE,
        -- the kind of the machine
        kind text NOT NULL,
        run_id uuid,
        PRIMARY KEY (item_id, point_id)
      );
      CREATE INDEX point_use_by_point ON point_use (point_id);

      CREATE TABLE deletion (
        id uuid PRIMARY KEY,
        chain_id uuid NOT NULL,
        state text NOT NULL,
        created_at timestamptz NOT NULL,
        -- as the API shows it
        shown jsonb NOT NULL
      );
      CREATE INDEX deletion_newest ON deletion (created_at DESC, id DESC);
      CREATE INDEX deletion_by_chain ON deletion (chain_id, created_at DESC, id DESC);`,
  },
  {
    name: '0005-create-point-reading',
    sql: `
      -- downloads under way
      CREATE TABLE point_reading (
        id uuid PRIMARY KEY,
        point_id uuid NOT NULL REFERENCES point (id) ON DELETE CASCADE,
        until timestamptz NOT NULL
      );
      CREATE INDEX point_reading_by_point ON point_reading (point_id);`,
  },
  {
    name: '0006-create-verification',
    sql: `
      -- what the newest verification found
      ALTER TABLE point ADD COLUMN verification jsonb;

      CREATE TABLE verification (
        id uuid PRIMARY KEY,
        point_id uuid NOT NULL,
        created_at timestamptz NOT NULL,
        -- as the API shows it
        shown jsonb NOT NULL
      );
      CREATE INDEX verification_by_point ON verification (point_id, created_at DESC, id DESC);`,
  },
  {
    name: '0007-create-deleted-point',
    sql: `
      -- D6: points that were deleted; what is left of them on a platform is known as ours
      CREATE TABLE deleted_point (
        id uuid PRIMARY KEY,
        vm_id uuid NOT NULL
      );
      CREATE INDEX deleted_point_by_vm ON deleted_point (vm_id);
      INSERT INTO deleted_point
        SELECT DISTINCT ON (id) (p ->> 'id')::uuid AS id, (shown ->> 'vmId')::uuid
        FROM deletion, jsonb_array_elements(shown -> 'points') AS p WHERE state = 'deleted';`,
  },
  {
    name: '0008-create-copy',
    sql: `
      -- E7: what they are copies of, which may be gone; of a copy of a copy the first. Backups do not extend such chains.
      ALTER TABLE chain ADD COLUMN copy_of uuid;
      ALTER TABLE point ADD COLUMN copy_of uuid;
      CREATE INDEX point_by_origin ON point (coalesce(copy_of, id), pool_id);
      CREATE INDEX point_in_pool ON point (pool_id, chain_id, created_at, id) WHERE state = 'available';`,
  },
];
