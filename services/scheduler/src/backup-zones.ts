import { listBackupHosts, type BackupHost, type Clock } from '@casvault/contracts';
import { type MessagingClient } from '@casvault/messaging';

/** Nobody knows of a clock on a wall yet. */
const unknownZone = 'UTC';
const pageSize = 500;
const believedMs = 10_000;

/**
 * The zone in which the plans of a group's jobs are read: that of most of its backup hosts, online or not; of several that
 * as many have, the first by name. A job so keeps its times while hosts come and go. Null: the group has no host.
 */
export const zoneOfGroup = (
  hosts: readonly Pick<BackupHost, 'group' | 'timeZone'>[],
  group: string,
): string | null => {
  const counts = new Map<string, number>();
  for (const host of hosts)
    if (host.group === group) counts.set(host.timeZone, (counts.get(host.timeZone) ?? 0) + 1);
  const [first] = [...counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
  return first?.[0] ?? null;
};

/** Asks inventory for the clocks of backup hosts. */
export class BackupZones {
  #believed: { readonly zones: ReadonlyMap<string, string>; readonly readAt: number } | null = null;

  constructor(
    private readonly client: MessagingClient,
    private readonly clock: Pick<Clock, 'now'>,
  ) {}

  /**
   * UTC for a group without a host: it takes that of its first host as soon as there is one. A zone is believed for ten seconds: asking
   * for all hosts is the dearest part of saving a job, and PlanUpkeep moves jobs whose zone has changed.
   */
  async of(group: string, signal: AbortSignal): Promise<string> {
    const believed = this.#believed;
    // Also a clock that is set back ends it.
    const isFresh = believed !== null && Math.abs(this.clock.now().getTime() - believed.readAt) < believedMs;
    const known = isFresh ? believed.zones.get(group) : undefined;
    return known ?? (await this.#read(signal)).get(group) ?? unknownZone;
  }

  async #read(signal: AbortSignal): Promise<ReadonlyMap<string, string>> {
    const hosts = await this.hosts(signal);
    const zones = new Map<string, string>();
    for (const group of new Set(hosts.map((host) => host.group))) {
      const zone = zoneOfGroup(hosts, group);
      if (zone !== null) zones.set(group, zone);
    }
    this.#believed = { zones, readAt: this.clock.now().getTime() };
    return zones;
  }

  /** Memory: all backup hosts; an installation has tens. */
  async hosts(signal?: AbortSignal): Promise<BackupHost[]> {
    const hosts: BackupHost[] = [];
    let cursor: string | null = null;
    do {
      const request: { limit: number; cursor?: string } = {
        limit: pageSize,
        ...(cursor === null ? {} : { cursor }),
      };
      const page = await this.client.request(listBackupHosts, request, signal ? { signal } : {});
      hosts.push(...page.items);
      cursor = page.nextCursor;
    } while (cursor !== null);
    return hosts;
  }
}
