import { dataAddresses } from './data-network.rules.js';

const on = (networkType: string, address: string | null, name = networkType) => ({
  name,
  networkType,
  address,
});
const management = on('management', '10.0.0.11');
const backup = on('backup', '10.9.0.11');

describe('R16: the network that carries the data', () => {
  it.each([
    [
      'the registered address unless another network is preferred',
      [management, backup],
      'management',
      ['10.0.0.11'],
    ],
    [
      'the preferred network first, then the registered address',
      [management, backup],
      'backup',
      ['10.9.0.11', '10.0.0.11'],
    ],
    [
      'the registered address where the host lacks the network',
      [management, backup],
      'storage',
      ['10.0.0.11'],
    ],
    [
      'the registered address where it has no address in it',
      [management, on('backup', null)],
      'backup',
      ['10.0.0.11'],
    ],
    ['no address twice', [on('backup', '10.0.0.11')], 'backup', ['10.0.0.11']],
    [
      'several switches of a type by their names',
      [on('backup', '10.9.1.11', 'vswitch2'), on('backup', '10.9.0.11', 'vswitch1')],
      'backup',
      ['10.9.0.11', '10.9.1.11', '10.0.0.11'],
    ],
  ] as const)('R16: %s', (_what, switches, preferred, expected) => {
    expect(dataAddresses('10.0.0.11', switches, preferred)).toEqual(expected);
  });
});
