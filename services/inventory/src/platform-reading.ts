import {
  type CasClient,
  type CasHost,
  type CasNetworkProfile,
  type CasStoragePool,
  type CasTemplate,
  type CasVm,
  type CasVirtualSwitch,
  type CasVmDetail,
  type CasVmRow,
} from '@casvault/cas-client';
import { Fault, type Logger } from '@casvault/contracts';
import { z } from 'zod';
import { eachBounded } from './bounded.js';

export interface HostReading extends CasHost {
  /** Null: the CVM could not tell now; what is known stays. */
  readonly storages: readonly CasStoragePool[] | null;
  readonly switches: readonly CasVirtualSwitch[] | null;
}

export interface VmReading extends CasVmRow {
  readonly listMark: string;
  /** Null: not read, because the list shows no change and what is known is young enough. */
  readonly detail: CasVmDetail | null;
}

/** Everything of C4 as the CVM told it. Memory: some 3 KiB for each VM whose details were read, 500 bytes for others. */
export interface PlatformReading {
  readonly release: string;
  readonly architecture: 'x86_64' | 'aarch64';
  readonly hosts: readonly HostReading[];
  readonly vms: readonly VmReading[];
  readonly profiles: readonly CasNetworkProfile[];
  /** Null: the CVM could not tell now; what is known stays. */
  readonly templates: readonly CasTemplate[] | null;
}

/** What is known of a VM's details: the mark of its row when they were read. */
export interface KnownDetail {
  readonly listMark: string;
  readonly detailAt: Date;
}

export interface ReadingOptions {
  /** By VM UUID. Empty: all details are read. */
  readonly known: ReadonlyMap<string, KnownDetail>;
  /** Details read before this instant are read again, whatever the list shows. */
  readonly refreshBefore: Date;
  readonly signal: AbortSignal;
  readonly logger: Logger;
}

/** Calls to one CVM at the same time. */
const parallelCalls = 4;

/** What of a list row tells that the VM was changed. */
export const listMarkOf = (vm: CasVmRow): string =>
  JSON.stringify([
    vm.name,
    vm.title,
    vm.externalId,
    vm.hostExternalId,
    vm.powerState,
    vm.cpuCount,
    vm.memoryMiB,
  ]);

export const readPlatform = async (client: CasClient, options: ReadingOptions): Promise<PlatformReading> => {
  const facts = await client.probe(options.signal);
  const hosts = await readHosts(client, options);
  const profiles = await client.networkProfiles(options.signal);
  const templates = await orNull(options.logger, 'templates', () => client.templates(options.signal));
  const vms = await readVms(client, options);
  const { release, architecture } = facts;
  return {
    release,
    architecture,
    hosts: hosts.map((host) => ({ ...host, vmCount: countOn(host, vms) })),
    profiles,
    templates,
    vms,
  };
};

/** Not every release counts the VMs of a host in its description. */
const countOn = (host: HostReading, vms: readonly VmReading[]): number =>
  vms.filter((vm) => vm.hostExternalId === host.externalId).length;

/** Passing and local causes; anything else (refused login, no connection) ends the reading. */
const isLocal = (error: unknown): boolean =>
  Fault.is(error) &&
  ['PLATFORM_REFUSED', 'PLATFORM_BUSY', 'PLATFORM_TASK_FAILED', 'PLATFORM_PROTOCOL', 'NOT_FOUND'].includes(
    error.code,
  );

const orNull = async <T>(logger: Logger, what: string, read: () => Promise<T>): Promise<T | null> => {
  try {
    return await read();
  } catch (error) {
    if (!isLocal(error)) throw error;
    logger.warn({ err: error, what }, 'a part of the inventory cannot be read now; what is known stays');
    return null;
  }
};

const readHosts = async (client: CasClient, { signal, logger }: ReadingOptions): Promise<HostReading[]> => {
  const rows = await client.hosts(signal);
  const hosts: HostReading[] = [];
  await eachBounded(rows, parallelCalls, async (row) => {
    const detail = await client.host(row.id, signal);
    const where = `host ${detail.name}`;
    const storages = await orNull(logger, `storages of ${where}`, () => client.storagePools(row.id, signal));
    const switches = await orNull(logger, `switches of ${where}`, () =>
      client.virtualSwitches(row.id, signal),
    );
    hosts.push({
      ...detail,
      externalId: row.id,
      ip: detail.ip || row.ip,
      name: detail.name || row.name,
      storages,
      switches,
    });
  });
  return hosts;
};

/**
 * The list's row of a VM and its details, side by side where the CVM still calls it `presumedId`. Null when it has it no more.
 */
export const readOneVm = async (
  client: Pick<CasClient, 'vmByUuid' | 'vm'>,
  { uuid, presumedId }: { readonly uuid: string; readonly presumedId: string | undefined },
  signal: AbortSignal,
): Promise<(CasVm & { row: CasVmRow }) | null> => {
  const [row, presumed] = await Promise.all([
    client.vmByUuid(uuid, signal),
    // What it fails with counts only if it is the right one, and shows again then.
    presumedId === undefined ? null : client.vm(presumedId, signal).catch(() => null),
  ]);
  if (row === null) return null;
  const known = row.externalId === presumedId ? presumed : null;
  return { row, ...(known ?? (await client.vm(row.externalId, signal))) };
};

const uuidSchema = z.guid();

const readVms = async (client: CasClient, options: ReadingOptions): Promise<VmReading[]> => {
  const { known, refreshBefore, signal, logger } = options;
  const vms = new Map<string, VmReading>();
  const toRead: CasVmRow[] = [];
  for (const row of await client.vms(signal)) {
    if (!uuidSchema.safeParse(row.uuid).success || vms.has(row.uuid)) {
      logger.warn({ vm: row.name, uuid: row.uuid }, 'a VM without a UUID of its own is left out');
      continue;
    }
    const listMark = listMarkOf(row);
    const last = known.get(row.uuid);
    vms.set(row.uuid, { ...row, listMark, detail: null });
    if (last?.listMark !== listMark || last.detailAt < refreshBefore) toRead.push(row);
  }
  await eachBounded(toRead, parallelCalls, async (row) => {
    try {
      const { detail } = await client.vm(row.externalId, signal);
      vms.set(row.uuid, { ...row, listMark: listMarkOf(row), detail });
    } catch (error) {
      if (!Fault.is(error) || error.code !== 'VM_NOT_FOUND') throw error;
      // Deleted since the list was read.
      vms.delete(row.uuid);
    }
  });
  return [...vms.values()];
};
