import {
  type HostId,
  type imageSchema,
  type networkProfileSchema,
  type PageRequest,
  type PlatformId,
  type storageSchema,
  type virtualSwitchSchema,
} from '@casvault/contracts';
import { pageFrom, readCursor, reading } from '@casvault/persistence';
import { type DataSource } from 'typeorm';
import { type z } from 'zod';

export type Storage = z.infer<typeof storageSchema>;
export type VirtualSwitch = z.infer<typeof virtualSwitchSchema>;
export type NetworkProfile = z.infer<typeof networkProfileSchema>;
export type Image = z.infer<typeof imageSchema>;

export interface Page<T> {
  items: T[];
  nextCursor: string | null;
}
type Request = PageRequest & { platformId: PlatformId };

/** Storage pools, virtual switches, policy templates and images as last synchronised. */
export class NetworkStore {
  constructor(private readonly database: DataSource) {}

  storages(request: Request): Promise<Page<Storage>> {
    const columns = `host_id AS "hostId", name, title, type, path, capacity_bytes::float8 AS "capacityBytes",
                     free_bytes::float8 AS "freeBytes", active`;
    return this.page<Storage>(request, columns, 'storage', 'host_id::text', (row) => row.hostId);
  }

  switches(request: Request): Promise<Page<VirtualSwitch>> {
    const columns = `host_id AS "hostId", external_id AS "externalId", name, mode, network_type AS "networkType", address`;
    const key = "host_id::text || '/' || external_id";
    return this.page<VirtualSwitch>(
      request,
      columns,
      'virtual_switch',
      key,
      (row) => `${row.hostId}/${row.externalId}`,
    );
  }

  switchesOf(hostId: HostId): Promise<VirtualSwitch[]> {
    return reading(this.database, (source) =>
      source.query<VirtualSwitch[]>(
        `SELECT host_id AS "hostId", external_id AS "externalId", name, mode, network_type AS "networkType", address
         FROM virtual_switch WHERE host_id = $1`,
        [hostId],
      ),
    );
  }

  profiles(request: Request): Promise<Page<NetworkProfile>> {
    const columns = 'external_id AS "externalId", name, description';
    return this.page<NetworkProfile>(
      request,
      columns,
      'network_profile',
      'external_id',
      (row) => row.externalId,
    );
  }

  images(request: Request): Promise<Page<Image>> {
    const columns = `external_id AS "externalId", name, title, host_id AS "hostId", cpu_count AS "cpuCount",
                     memory_mib AS "memoryMiB"`;
    return this.page<Image>(request, columns, 'image', 'external_id', (row) => row.externalId);
  }

  /** `key` is SQL that makes a row unique among those of its name; `keyOf` the same of the row that came of it. */
  private async page<T extends { name: string }>(
    request: Request,
    columns: string,
    table: string,
    key: string,
    keyOf: (row: T) => string,
  ): Promise<Page<T>> {
    const after = readCursor(request.cursor, 2);
    const rows = await reading(this.database, (source) =>
      source.query<T[]>(
        `SELECT ${columns} FROM ${table}
         WHERE platform_id = $1 AND ($2::text IS NULL OR (name, ${key}) > ($2, $3))
         ORDER BY name, ${key} LIMIT $4`,
        [request.platformId, after?.[0] ?? null, after?.[1] ?? null, request.limit + 1],
      ),
    );
    return pageFrom(
      rows,
      request.limit,
      (row) => [row.name, keyOf(row)],
      (row) => row,
    );
  }
}
