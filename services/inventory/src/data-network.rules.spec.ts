import { type NetworkType } from '@casvault/contracts';
import { dataAddresses, isFallback, networksFor } from './data-network.rules.js';

const on = (networkType: string, address: string | null, name = networkType) => ({
  name,
  networkType,
  address,
});
const management = on('management', '10.0.0.11');
const backup = on('backup', '10.9.0.11');
const storage = on('storage', '10.8.0.11');

describe('R16: the network that carries the data', () => {
  it.each([
    ['auto', 'management', ['backup', 'storage', 'management']],
    ['auto', 'storage', ['storage', 'backup', 'management']],
    ['auto', 'service', ['service', 'backup', 'storage', 'management']],
    ['backup', 'storage', ['backup', 'management']],
    ['storage', 'management', ['storage', 'management']],
    ['management', 'backup', ['management']],
  ] as const)(
    'R16: preferred %s, on a platform with %s, is looked for in %j',
    (preferred, platform, expected) => {
      expect(networksFor(preferred, platform)).toEqual(expected);
    },
  );

  it.each([
    ['the registered address alone', [management, backup], ['management'], ['10.0.0.11']],
    ['a network first', [management, backup], ['backup', 'management'], ['10.9.0.11', '10.0.0.11']],
    [
      'each network in turn',
      [management, storage, backup],
      ['backup', 'storage', 'management'],
      ['10.9.0.11', '10.8.0.11', '10.0.0.11'],
    ],
    ['none that the host lacks', [management, backup], ['storage', 'management'], ['10.0.0.11']],
    [
      'none where it has no address',
      [management, on('backup', null)],
      ['backup', 'management'],
      ['10.0.0.11'],
    ],
    ['no address twice', [on('backup', '10.0.0.11')], ['backup', 'management'], ['10.0.0.11']],
    [
      'several switches of a type by their names',
      [on('backup', '10.9.1.11', 'vswitch2'), on('backup', '10.9.0.11', 'vswitch1')],
      ['backup', 'management'],
      ['10.9.0.11', '10.9.1.11', '10.0.0.11'],
    ],
  ] as const)('R16: %s', (_what, switches, networks: readonly NetworkType[], expected) => {
    expect(dataAddresses('10.0.0.11', switches, networks)).toEqual(expected);
  });

  it('R16: tells of the registered address only where another network was asked for', () => {
    expect(isFallback('backup', [management, backup], '10.0.0.11')).toBe(true);
    expect(isFallback('backup', [management], '10.0.0.11')).toBe(true);
    expect(isFallback('backup', [management, backup], '10.9.0.11')).toBe(false);
    expect(isFallback('backup', [on('backup', '10.0.0.11')], '10.0.0.11')).toBe(false);
    expect(isFallback('management', [management, backup], '10.0.0.11')).toBe(false);
  });
});
