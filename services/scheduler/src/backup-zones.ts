import { listBackupHosts, type BackupHost } from '@casvault/contracts';
import { type MessagingClient } from '@casvault/messaging';

/** Nobody knows of a clock on a wall yet. */
const unknownZone = 'UTC';
const pageSize = 500;

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
  constructor(private readonly client: MessagingClient) {}

  /** UTC for a group without a host: it takes that of its first host as soon as there is one. */
  async of(group: string, signal: AbortSignal): Promise<string> {
    return zoneOfGroup(await this.hosts(signal), group) ?? unknownZone;
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
