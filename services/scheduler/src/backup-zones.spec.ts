import { zoneOfGroup } from './backup-zones.js';

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
