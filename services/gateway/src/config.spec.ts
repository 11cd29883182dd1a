import { configSchema, gatewayConfig } from './config.js';

const env = {
  CASVAULT_NATS_URL: 'nats://127.0.0.1:4222',
  CASVAULT_SEALING_KEY: Buffer.alloc(32, 7).toString('base64'),
};

describe('the configuration', () => {
  it('listens on loopback unless told otherwise', () => {
    expect(gatewayConfig(env)).toMatchObject({
      CASVAULT_GATEWAY_ADDRESS: '127.0.0.1',
      CASVAULT_GATEWAY_PORT: 8088,
      CASVAULT_GATEWAY_TRUSTED_PROXIES: [],
    });
  });

  it('reads proxies as a list', () => {
    const config = gatewayConfig({ ...env, CASVAULT_GATEWAY_TRUSTED_PROXIES: '10.0.0.0/8, 192.0.2.1' });
    expect(config.CASVAULT_GATEWAY_TRUSTED_PROXIES).toEqual(['10.0.0.0/8', '192.0.2.1']);
  });

  it('refuses half of TLS', () => {
    expect(() => gatewayConfig({ ...env, CASVAULT_GATEWAY_TLS_CERT: 'pem' })).toThrow(
      'CASVAULT_GATEWAY_TLS_KEY',
    );
  });

  it('describes every variable', () => {
    for (const [name, schema] of Object.entries(configSchema.shape))
      expect([name, schema.description]).toEqual([name, expect.any(String)]);
  });
});
