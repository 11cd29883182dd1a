import { Fault, newId, type BackupHost, type BackupHostId, type ReadingId } from '@casvault/contracts';
import { moverFor } from './contents.js';

const host = (name: string, change: Partial<BackupHost> = {}): BackupHost => ({
  id: newId<BackupHostId>(),
  name,
  group: 'default',
  address: '192.0.2.1',
  timeZone: 'UTC',
  version: '0.1.0',
  contentUrl: `http://${name}:9000/v1/content`,
  state: 'online',
  lastSeenAt: '2026-01-01T00:00:00.000Z',
  ...change,
});

describe('F9: the mover that hands out a download', () => {
  it('is any that is online, of the group, and serves', () => {
    const hosts = [
      host('a'),
      host('b'),
      host('off', { state: 'offline' }),
      host('other', { group: 'far' }),
      host('old', { contentUrl: null }),
    ];
    const chosen = new Set(Array.from({ length: 64 }, () => moverFor(newId<ReadingId>(), 'default', hosts)));
    expect([...chosen].sort()).toEqual(['http://a:9000/v1/content', 'http://b:9000/v1/content']);
  });

  it('is missed by the group’s name', () => {
    expect(() => moverFor(newId<ReadingId>(), 'far', [host('a')])).toThrow(
      new Fault('DEPENDENCY_UNAVAILABLE', "no mover of group 'far' is online to hand it out"),
    );
  });
});
