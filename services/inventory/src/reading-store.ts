import { type Disk, type DiskId, type HostId, newId, type PlatformId, type VmId } from '@casvault/contracts';
import { inTransaction } from '@casvault/persistence';
import { type DataSource, type EntityManager } from 'typeorm';
import { disksOf, nicsOf, type StoragePlace } from './disk.js';
import { type HostReading, type PlatformReading, type VmReading } from './platform-reading.js';
import { keptVms } from './vm-store.js';

/** VMs in one statement: bounds the size of its parameter (some 3 KiB for each VM). */
const batch = 500;

type Profiles = PlatformReading['profiles'];

interface Change {
  readonly platformId: PlatformId;
  /** When the reading began: what was seen later is newer than it. */
  readonly startedAt: Date;
  readonly now: Date;
}

/** Stores what was read from a CVM. Product ids are kept by external identity: a host's CVM id, a VM's UUID. */
export class ReadingStore {
  constructor(private readonly database: DataSource) {}

  /**
   * Stores a whole reading in one transaction: new and changed rows, and tombstones for hosts and VMs that are gone.
   * False when the reading of a later start is stored already, or the platform was deregistered meanwhile.
   */
  async apply(
    platformId: PlatformId,
    reading: PlatformReading,
    startedAt: Date,
    now: Date,
  ): Promise<boolean> {
    const change = { platformId, startedAt, now };
    return inTransaction(this.database, async (tx) => {
      const claimed = await tx.query<unknown[]>(
        `WITH claimed AS (
           UPDATE platform SET synced_from = $2, last_sync_at = $3, state = 'online', state_message = NULL,
                               version = $4, architecture = $5
           WHERE id = $1 AND deleted_at IS NULL AND (synced_from IS NULL OR synced_from < $2) RETURNING 1)
         SELECT 1 FROM claimed`,
        [platformId, startedAt, now, reading.release, reading.architecture],
      );
      if (claimed.length === 0) return false;
      const hostIds = await saveHosts(tx, change, reading.hosts);
      for (const host of reading.hosts) await saveHostParts(tx, change, host, hostIds);
      await replaceProfiles(tx, platformId, reading.profiles);
      await replaceImages(tx, platformId, reading.templates, hostIds);
      await saveVms(tx, change, reading.vms, hostIds, reading.profiles);
      await tombstone(tx, change);
      return true;
    });
  }

  /**
   * Stores one VM as just read (with details). Null when its host is not known yet: then a whole synchronisation
   * is due.
   */
  async applyVm(platformId: PlatformId, vm: VmReading, now: Date): Promise<VmId | null> {
    return inTransaction(this.database, async (tx) => {
      const hosts = await tx.query<{ id: HostId; externalId: string }[]>(
        'SELECT id, external_id AS "externalId" FROM host WHERE platform_id = $1 AND deleted_at IS NULL',
        [platformId],
      );
      const hostIds = new Map(hosts.map((host) => [host.externalId, host.id]));
      if (!hostIds.has(vm.hostExternalId)) return null;
      const profiles = await tx.query<Profiles[number][]>(
        'SELECT external_id AS "externalId", name, description FROM network_profile WHERE platform_id = $1',
        [platformId],
      );
      await saveVms(tx, { platformId, startedAt: now, now }, [vm], hostIds, profiles);
      const kept = await keptVms(tx, platformId, [vm.uuid]);
      return kept.get(vm.uuid)?.id ?? null;
    });
  }
}

const saveHosts = async (
  tx: EntityManager,
  { platformId, startedAt }: Change,
  hosts: readonly HostReading[],
): Promise<Map<string, HostId>> => {
  const rows = hosts.map((host) => ({
    id: newId<HostId>(),
    external_id: host.externalId,
    name: host.name,
    ip: host.ip,
    status: host.status,
    cpu_count: host.cpuCount,
    memory_mib: host.memoryMiB,
    vm_count: host.vmCount,
    architecture: host.architecture,
  }));
  await tx.query(
    `INSERT INTO host (id, platform_id, external_id, name, ip, status, cpu_count, memory_mib, vm_count, architecture, seen_at)
     SELECT r.id, $1, r.external_id, r.name, r.ip, r.status, r.cpu_count, r.memory_mib, r.vm_count, r.architecture, $2
     FROM jsonb_to_recordset($3::jsonb) AS r (id uuid, external_id text, name text, ip text, status text,
       cpu_count int, memory_mib int, vm_count int, architecture text)
     ON CONFLICT ON CONSTRAINT host_external DO UPDATE SET
       name = excluded.name, ip = excluded.ip, status = excluded.status, cpu_count = excluded.cpu_count,
       memory_mib = excluded.memory_mib, vm_count = excluded.vm_count, architecture = excluded.architecture,
       seen_at = excluded.seen_at, deleted_at = NULL`,
    [platformId, startedAt, JSON.stringify(rows)],
  );
  const saved = await tx.query<{ id: HostId; externalId: string }[]>(
    'SELECT id, external_id AS "externalId" FROM host WHERE platform_id = $1',
    [platformId],
  );
  return new Map(saved.map((host) => [host.externalId, host.id]));
};

const saveHostParts = async (
  tx: EntityManager,
  { platformId }: Change,
  host: HostReading,
  hostIds: ReadonlyMap<string, HostId>,
): Promise<void> => {
  const hostId = hostIds.get(host.externalId);
  if (host.storages !== null) {
    await tx.query('DELETE FROM storage WHERE host_id = $1', [hostId]);
    await tx.query(
      `INSERT INTO storage (host_id, platform_id, name, title, type, path, capacity_bytes, free_bytes, active)
       SELECT $1, $2, r.name, r.title, r.type, r.path, r."capacityBytes", r."freeBytes", r.active
       FROM jsonb_to_recordset($3::jsonb) AS r (name text, title text, type text, path text,
         "capacityBytes" bigint, "freeBytes" bigint, active boolean) ON CONFLICT DO NOTHING`,
      [hostId, platformId, JSON.stringify(host.storages)],
    );
  }
  if (host.switches !== null) {
    await tx.query('DELETE FROM virtual_switch WHERE host_id = $1', [hostId]);
    await tx.query(
      `INSERT INTO virtual_switch (host_id, platform_id, external_id, name, mode, network_type, address)
       SELECT $1, $2, r."externalId", r.name, r.mode, r."networkType", r.address
       FROM jsonb_to_recordset($3::jsonb) AS r ("externalId" text, name text, mode text, "networkType" text,
         address text) ON CONFLICT DO NOTHING`,
      [hostId, platformId, JSON.stringify(host.switches)],
    );
  }
};

const replaceProfiles = async (
  tx: EntityManager,
  platformId: PlatformId,
  profiles: Profiles,
): Promise<void> => {
  await tx.query('DELETE FROM network_profile WHERE platform_id = $1', [platformId]);
  await tx.query(
    `INSERT INTO network_profile (platform_id, external_id, name, description)
     SELECT $1, r."externalId", r.name, r.description
     FROM jsonb_to_recordset($2::jsonb) AS r ("externalId" text, name text, description text) ON CONFLICT DO NOTHING`,
    [platformId, JSON.stringify(profiles)],
  );
};

const replaceImages = async (
  tx: EntityManager,
  platformId: PlatformId,
  templates: PlatformReading['templates'],
  hostIds: ReadonlyMap<string, HostId>,
): Promise<void> => {
  if (templates === null) return;
  const rows = templates.map(({ hostExternalId, ...template }) => ({
    ...template,
    hostId: hostIds.get(hostExternalId) ?? null,
  }));
  await tx.query('DELETE FROM image WHERE platform_id = $1', [platformId]);
  await tx.query(
    `INSERT INTO image (platform_id, external_id, host_id, name, title, cpu_count, memory_mib)
     SELECT $1, r."externalId", r."hostId", r.name, r.title, r."cpuCount", r."memoryMiB"
     FROM jsonb_to_recordset($2::jsonb) AS r ("externalId" text, "hostId" uuid, name text, title text, "cpuCount" int,
       "memoryMiB" int) ON CONFLICT DO NOTHING`,
    [platformId, JSON.stringify(rows)],
  );
};

const saveVms = async (
  tx: EntityManager,
  change: Change,
  vms: readonly VmReading[],
  hostIds: ReadonlyMap<string, HostId>,
  profiles: Profiles,
): Promise<void> => {
  const places = await storagePlaces(tx, change.platformId);
  // A VM on a host that the CVM does not list (one just being removed) is left as it is known.
  const placed = vms.filter((vm) => hostIds.has(vm.hostExternalId));
  for (let from = 0; from < placed.length; from += batch) {
    await saveBatch(tx, change, placed.slice(from, from + batch), hostIds, profiles, places);
  }
  const unchanged = vms
    .filter((vm) => vm.detail === null || !hostIds.has(vm.hostExternalId))
    .map((vm) => vm.uuid);
  await tx.query(
    'UPDATE vm SET seen_at = $2, deleted_at = NULL WHERE platform_id = $1 AND uuid = ANY($3) AND seen_at < $2',
    [change.platformId, change.startedAt, unchanged],
  );
};

const storagePlaces = async (
  tx: EntityManager,
  platformId: PlatformId,
): Promise<Map<string, StoragePlace[]>> => {
  const rows = await tx.query<(StoragePlace & { hostId: string })[]>(
    'SELECT host_id AS "hostId", name, path FROM storage WHERE platform_id = $1',
    [platformId],
  );
  const places = new Map<string, StoragePlace[]>();
  for (const { hostId, name, path } of rows)
    places.set(hostId, [...(places.get(hostId) ?? []), { name, path }]);
  return places;
};

const rowOf = (
  vm: VmReading,
  known: { id: VmId; disks: Disk[] } | undefined,
  hostId: string,
  profiles: Profiles,
  places: ReadonlyMap<string, StoragePlace[]>,
) => {
  const { cpuCount, memoryMiB, disks, nics } = vm.detail ?? {
    cpuCount: 0,
    memoryMiB: 0,
    disks: [],
    nics: [],
  };
  return {
    id: known?.id ?? newId<VmId>(),
    uuid: vm.uuid,
    external_id: vm.externalId,
    name: vm.name,
    title: vm.title,
    host_id: hostId,
    power_state: vm.powerState,
    cpu_count: vm.cpuCount || cpuCount,
    memory_mib: vm.memoryMiB || memoryMiB,
    disks: disksOf(disks, known?.disks ?? [], places.get(hostId) ?? [], () => newId<DiskId>()),
    nics: nicsOf(nics, profiles),
    list_mark: vm.listMark,
  };
};

const saveBatch = async (
  tx: EntityManager,
  { platformId, startedAt, now }: Change,
  vms: readonly VmReading[],
  hostIds: ReadonlyMap<string, HostId>,
  profiles: Profiles,
  places: ReadonlyMap<string, StoragePlace[]>,
): Promise<void> => {
  const read = vms.filter((vm) => vm.detail !== null);
  const kept = await keptVms(
    tx,
    platformId,
    read.map((vm) => vm.uuid),
  );
  const rows = read.map((vm) =>
    rowOf(vm, kept.get(vm.uuid), hostIds.get(vm.hostExternalId) ?? '', profiles, places),
  );
  // A VM that was read after this reading began (a restore just finished) is newer: it stays as it is.
  await tx.query(
    `INSERT INTO vm (id, platform_id, uuid, external_id, name, title, host_id, power_state, cpu_count, memory_mib,
                     disks, nics, list_mark, detail_at, seen_at)
     SELECT r.id, $1, r.uuid, r.external_id, r.name, r.title, r.host_id, r.power_state, r.cpu_count, r.memory_mib,
            r.disks, r.nics, r.list_mark, $3, $2
     FROM jsonb_to_recordset($4::jsonb) AS r (id uuid, uuid uuid, external_id text, name text, title text, host_id uuid,
       power_state text, cpu_count int, memory_mib int, disks jsonb, nics jsonb, list_mark text)
     ON CONFLICT ON CONSTRAINT vm_uuid DO UPDATE SET
       external_id = excluded.external_id, name = excluded.name, title = excluded.title, host_id = excluded.host_id,
       power_state = excluded.power_state, cpu_count = excluded.cpu_count, memory_mib = excluded.memory_mib,
       disks = excluded.disks, nics = excluded.nics, list_mark = excluded.list_mark, detail_at = excluded.detail_at,
       seen_at = excluded.seen_at, deleted_at = NULL
     WHERE vm.seen_at <= excluded.seen_at`,
    [platformId, startedAt, now, JSON.stringify(rows)],
  );
};

const tombstone = async (tx: EntityManager, { platformId, startedAt, now }: Change): Promise<void> => {
  for (const table of ['vm', 'host'])
    await tx.query(
      `UPDATE ${table} SET deleted_at = $3 WHERE platform_id = $1 AND deleted_at IS NULL AND seen_at < $2`,
      [platformId, startedAt, now],
    );
};
