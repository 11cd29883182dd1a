import { newId, type BackupHost } from '@casvault/contracts';
import { type MessagingClient } from '@casvault/messaging';
import { ManualClock } from '@casvault/testkit';
import { BackupZones, zoneOfGroup } from './backup-zones.js';

const host = (group: string, timeZone: string) => ({ group, timeZone });

describe('D7: the clock of a group of backup hosts', () => {
  it('is that of most of them, and never that of another group', () => {
    const hosts = [
      host('a', 'UTC'),
      host('a', 'Asia/Shanghai'),
      host('a', 'Asia/Shanghai'),
      host('b', 'UTC'),
      host('b', 'UTC'),
    ];
    expect(zoneOfGroup(hosts, 'a')).toBe('Asia/Shanghai');
    expect(zoneOfGroup(hosts, 'b')).toBe('UTC');
    expect(zoneOfGroup(hosts, 'c')).toBeNull();
  });

  it('is the first by name where as many have another, in whatever order they report', () => {
    const hosts = [host('a', 'Europe/Berlin'), host('a', 'Asia/Shanghai')];
    expect(zoneOfGroup(hosts, 'a')).toBe('Asia/Shanghai');
    expect(zoneOfGroup(hosts.toReversed(), 'a')).toBe('Asia/Shanghai');
  });
});

describe('D7: the zones of groups, asked of inventory', () => {
  const signal = AbortSignal.timeout(60_000);
  let clock: ManualClock;
  let hosts: Pick<BackupHost, 'group' | 'timeZone'>[];
  let asked: number;
  let zones: BackupZones;
  beforeEach(() => {
    clock = new ManualClock();
    hosts = [host('a', 'Asia/Shanghai')];
    asked = 0;
    const request = async () => {
      asked += 1;
      return Promise.resolve({ items: hosts.map((one) => ({ ...one, id: newId() })), nextCursor: null });
    };
    zones = new BackupZones({ request } as unknown as MessagingClient, clock);
  });

  it('are believed for ten seconds', async () => {
    expect([await zones.of('a', signal), await zones.of('a', signal), asked]).toEqual([
      'Asia/Shanghai',
      'Asia/Shanghai',
      1,
    ]);
    hosts = [host('a', 'Europe/Berlin')];
    await clock.advance(9_999);
    expect(await zones.of('a', signal)).toBe('Asia/Shanghai');
    await clock.advance(1);
    expect([await zones.of('a', signal), asked]).toEqual(['Europe/Berlin', 2]);
  });

  it('are UTC for a group without a host, until it has one', async () => {
    expect(await zones.of('b', signal)).toBe('UTC');
    hosts = [...hosts, host('b', 'Europe/Berlin')];
    expect(await zones.of('b', signal)).toBe('Europe/Berlin');
  });
});
