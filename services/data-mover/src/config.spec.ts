import { controllerConfig } from './config.js';

const base = {
  CASVAULT_DATA_MOVER_ROLE: 'controller',
  CASVAULT_NATS_URL: 'nats://127.0.0.1:4222',
  CASVAULT_DATABASE_URL: 'postgres://role:secret@127.0.0.1:5432/casvault',
  CASVAULT_SEALING_KEY: Buffer.alloc(32, 1).toString('base64'),
};
const group = { group: 'g', deployment: 'd', min: 0, max: 20, transfers: 2, cooldownSeconds: 300 };
const scaled = (groups: unknown) =>
  controllerConfig({ ...base, CASVAULT_DATA_MOVER_SCALER: JSON.stringify(groups) });

describe('groups that the scaler of movers is given', () => {
  it('are none by default', () => {
    const config = controllerConfig(base);
    expect(config.CASVAULT_DATA_MOVER_SCALER).toEqual([]);
    expect(config.CASVAULT_DATA_MOVER_SCALER_LEASE).toBe('casvault-scaler');
  });

  it('are taken as they are', () => {
    expect(scaled([group]).CASVAULT_DATA_MOVER_SCALER).toEqual([group]);
  });

  it.each([
    [{ min: -1 }],
    [{ min: 21 }],
    [{ max: 0 }],
    [{ max: 1_001 }],
    [{ transfers: 0 }],
    [{ transfers: 65 }],
    [{ cooldownSeconds: -1 }],
    [{ cooldownSeconds: 86_401 }],
    [{ deployment: 'a/b' }],
    [{ group: '' }],
    [{ replicas: 1 }],
  ])('are refused with %j', (wrong) => {
    expect(() => scaled([{ ...group, ...wrong }])).toThrow('CASVAULT_DATA_MOVER_SCALER');
  });

  it('are refused where they are no JSON', () => {
    const text = { ...base, CASVAULT_DATA_MOVER_SCALER: 'default=2' };
    expect(() => controllerConfig(text)).toThrow('CASVAULT_DATA_MOVER_SCALER: is no JSON');
  });
});
