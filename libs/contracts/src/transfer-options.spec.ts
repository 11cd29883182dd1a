import { newId } from './ids.js';
import { backupDefinitionSchema, restoreDefinitionSchema } from './job-definition.js';

const backup = (more: object) =>
  backupDefinitionSchema.safeParse({ kind: 'backup', vmIds: [newId()], poolId: newId(), ...more });
/** `{ a: { b: value } }` of `a.b`. */
const nested = (path: string, value: unknown): object =>
  path
    .split('.')
    .reverse()
    .reduce<unknown>((inner, name) => ({ [name]: inner }), value) as object;

describe('options of a transfer', () => {
  it('have the defaults that are documented', () => {
    const { options, network, parallel } = backup({}).data ?? {};
    expect({ options, network, parallel }).toEqual({
      parallel: { vms: 2, vmsPerHost: 2, disksPerVm: 1, streamsPerDisk: 1 },
      options: {
        compression: { mode: 'fast' },
        reconnect: { minutes: 10, bufferMiB: 10 },
        speedLimit: [],
        transport: { bufferKiB: 1_024, logLevel: 'info', connectMinutes: 10 },
      },
      network: { preferred: 'auto' },
    });
  });

  it.each([
    ['parallel.disksPerVm', [1, 5], [0, 6, 1.5]],
    ['parallel.streamsPerDisk', [1, 5], [0, 6, 1.5]],
    ['options.reconnect.minutes', [1, 60], [0, 61, 1.5]],
    ['options.reconnect.bufferMiB', [1, 1_024], [0, 1_025, 0.5]],
    ['options.transport.bufferKiB', [64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192], [32, 65, 16_384]],
    ['options.transport.logLevel', ['info', 'warn', 'error'], ['debug', '']],
    ['options.transport.connectMinutes', [1, 10], [0, 11]],
    ['network.preferred', ['auto', 'backup', 'storage', 'management'], ['service', '']],
  ])('%s takes %j, and refuses %j by its name', (path, taken, refused) => {
    for (const value of taken) expect(backup(nested(path, value)).success).toBe(true);
    for (const value of refused) {
      const names = backup(nested(path, value)).error?.issues.map((issue) => issue.path.join('.'));
      expect(names).toEqual([path]);
    }
  });

  it('are those of a restore, too', () => {
    const target = { platformId: newId(), hostId: newId(), storageName: 'local', vmName: 'vm' };
    const items = [{ pointId: newId(), target }];
    const restore = restoreDefinitionSchema.parse({ kind: 'restore', items });
    const { options, network } = backup({}).data ?? {};
    expect({ options: restore.options, network: restore.network }).toEqual({ options, network });
  });
});
