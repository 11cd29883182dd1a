import {
  type Disk,
  Fault,
  type FaultJson,
  type HostId,
  type PageRequest,
  type PlatformId,
  type Vm,
  type VmId,
} from '@casvault/contracts';
import { inTransaction, pageFrom, readCursor, reading } from '@casvault/persistence';
import { type DataSource, type EntityManager } from 'typeorm';
import { type KnownDetail } from './platform-reading.js';

interface VmRow extends Vm {
  deletedAt: Date | null;
}

const select = `
  SELECT v.id, v.platform_id AS "platformId", v.external_id AS "externalId", v.uuid, v.name, v.title,
         v.host_id AS "hostId", h.name AS "hostName", h.ip AS "hostIp", v.power_state AS "powerState",
         v.cpu_count AS "cpuCount", v.memory_mib AS "memoryMiB", v.disks, v.nics, v.deleted_at AS "deletedAt"
  FROM vm v JOIN host h ON h.id = v.host_id`;

const goneFault = (id: VmId, row: VmRow | undefined): Fault => {
  if (row === undefined || row.deletedAt === null)
    return new Fault('VM_NOT_FOUND', `no VM ${id} is known`, { details: { vmId: id } });
  const message = `VM ${row.name} is no longer on its platform since ${row.deletedAt.toISOString()}`;
  return new Fault('VM_NOT_FOUND', message, { details: { vmId: id, name: row.name } });
};

const domainOf = ({ deletedAt: _, ...vm }: VmRow): Vm => vm;

/** `%` and `_` of the search are looked for as they are. */
const containing = (search: string): string => `%${search.replace(/[\\%_]/g, '\\$&')}%`;

export interface VmPageRequest extends PageRequest {
  readonly platformId?: PlatformId | undefined;
  readonly hostId?: HostId | undefined;
  readonly search?: string | undefined;
}

export class VmStore {
  constructor(private readonly database: DataSource) {}

  /** Throws VM_NOT_FOUND, which tells a VM that was deleted at the platform from one that was never known. */
  async get(id: VmId): Promise<Vm> {
    const [row] = await this.query(`${select} WHERE v.id = $1`, [id]);
    if (row === undefined || row.deletedAt !== null) throw goneFault(id, row);
    return domainOf(row);
  }

  /** Those that are there, in no order, and why the others are not. Memory: the VMs that are asked for. */
  async those(
    ids: readonly VmId[],
  ): Promise<{ vms: Vm[]; gone: { readonly vmId: VmId; readonly fault: FaultJson }[] }> {
    const rows = new Map(
      (await this.query(`${select} WHERE v.id = ANY ($1)`, [ids])).map((row) => [row.id, row]),
    );
    const gone = ids.filter((id) => rows.get(id)?.deletedAt !== null);
    return {
      vms: [...rows.values()].filter(({ deletedAt }) => deletedAt === null).map(domainOf),
      gone: gone.map((vmId) => ({ vmId, fault: goneFault(vmId, rows.get(vmId)).toJSON() })),
    };
  }

  /** F3: as last seen, also a VM that is gone. Throws VM_NOT_FOUND for one that was never known. */
  async lastSeen(id: VmId): Promise<Vm> {
    const [row] = await this.query(`${select} WHERE v.id = $1`, [id]);
    if (row === undefined) throw new Fault('VM_NOT_FOUND', `no VM ${id} is known`, { details: { vmId: id } });
    return domainOf(row);
  }

  /** Which of these addresses other VMs of the platform have, as last synchronised. */
  async macUsers(
    platformId: PlatformId,
    macs: readonly string[],
    except: VmId | undefined,
  ): Promise<{ mac: string; vmName: string }[]> {
    return reading(this.database, (source) =>
      source.query<{ mac: string; vmName: string }[]>(
        `SELECT lower(nic->>'mac') AS mac, v.name AS "vmName" FROM vm v, jsonb_array_elements(v.nics) AS nic
         WHERE v.platform_id = $1 AND v.deleted_at IS NULL AND v.id IS DISTINCT FROM $3::uuid
           AND lower(nic->>'mac') = ANY($2) ORDER BY 1, 2`,
        [platformId, macs, except ?? null],
      ),
    );
  }

  /**
   * F3, R14: the VM `id`, which is gone, was made anew and has this UUID now: it is still the same one, so that its points and jobs go on. What
   * a synchronisation has taken for a new VM meanwhile is none.
   */
  async madeAnew(id: VmId, uuid: string): Promise<void> {
    await inTransaction(this.database, async (tx) => {
      await tx.query(
        `UPDATE vm SET uuid = gen_random_uuid(), deleted_at = now()
         WHERE uuid = $2 AND id <> $1 AND platform_id = (SELECT platform_id FROM vm WHERE id = $1)`,
        [id, uuid],
      );
      await tx.query('UPDATE vm SET uuid = $2 WHERE id = $1', [id, uuid]);
    });
  }

  async findByUuid(platformId: PlatformId, uuid: string): Promise<Vm | null> {
    const where = 'WHERE v.platform_id = $1 AND v.uuid = $2 AND v.deleted_at IS NULL';
    const [row] = await this.query(`${select} ${where}`, [platformId, uuid]);
    return row === undefined ? null : domainOf(row);
  }

  /**
   * C5: ordered by name; `search` is a substring of VM name, title, host name or host IP, whatever its case. Only what is asked for is in
   * the statement, so that a page is read out of the index of names.
   */
  async page(request: VmPageRequest): Promise<{ items: Vm[]; nextCursor: string | null }> {
    const after = readCursor(request.cursor, 2);
    const parameters: unknown[] = [];
    const place = (value: unknown): string => `$${parameters.push(value)}`;
    const wanted = ['v.deleted_at IS NULL'];
    if (request.platformId !== undefined) wanted.push(`v.platform_id = ${place(request.platformId)}`);
    if (request.hostId !== undefined) wanted.push(`v.host_id = ${place(request.hostId)}`);
    if (request.search !== undefined && request.search !== '') {
      const text = place(containing(request.search));
      wanted.push(`(v.search LIKE lower(${text}) OR v.host_id = ANY (
        ARRAY(SELECT id FROM host WHERE name ILIKE ${text} OR ip ILIKE ${text})))`);
    }
    if (after) wanted.push(`(v.name, v.id) > (${place(after[0])}, ${place(after[1])}::uuid)`);
    const limit = place(request.limit + 1);
    const sql = `${select} WHERE ${wanted.join(' AND ')} ORDER BY v.name, v.id LIMIT ${limit}`;
    const rows = await this.query(sql, parameters);
    return pageFrom(rows, request.limit, (row) => [row.name, row.id], domainOf);
  }

  /** What is known of all VMs' details. Memory: some 250 bytes for each VM of the platform. */
  async knownDetails(platformId: PlatformId): Promise<Map<string, KnownDetail>> {
    const rows = await reading(this.database, (source) =>
      source.query<(KnownDetail & { uuid: string })[]>(
        `SELECT uuid, list_mark AS "listMark", detail_at AS "detailAt" FROM vm
         WHERE platform_id = $1 AND deleted_at IS NULL`,
        [platformId],
      ),
    );
    return new Map(rows.map(({ uuid, ...known }) => [uuid, known]));
  }

  private query(sql: string, parameters: unknown[]): Promise<VmRow[]> {
    return reading(this.database, (source) => source.query<VmRow[]>(sql, parameters));
  }
}

/** Ids and disks that VMs have kept until now, also those that were gone and are back. */
export const keptVms = async (
  tx: EntityManager,
  platformId: PlatformId,
  uuids: readonly string[],
): Promise<Map<string, { id: VmId; disks: Disk[] }>> => {
  const rows = await tx.query<{ uuid: string; id: VmId; disks: Disk[] }[]>(
    'SELECT uuid, id, disks FROM vm WHERE platform_id = $1 AND uuid = ANY($2)',
    [platformId, uuids],
  );
  return new Map(rows.map(({ uuid, ...kept }) => [uuid, kept]));
};
