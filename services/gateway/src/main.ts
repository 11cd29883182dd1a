import { runChanged } from '@casvault/contracts';
import { runService } from '@casvault/service-host';
import { AppModule } from './app.module.js';
import { gatewayConfig, tlsOf } from './config.js';
import { configureHttp, fastifyOptions } from './http-app.js';
import { RunFeed } from './runs/run-feed.js';
import { version } from './version.js';

await runService({
  name: 'gateway',
  version,
  config: gatewayConfig,
  module: ({ client, sealer, clock, logger, stopping }) => {
    const feed = new RunFeed();
    client.subscribeEvents(runChanged, (run) => feed.publish(run));
    const isConnected = (): boolean => client.connected;
    return AppModule.of({ services: client, sealer, feed, clock, logger, isConnected, stopping, version });
  },
  web: ({ config, logger }) => ({
    address: config.CASVAULT_GATEWAY_ADDRESS,
    port: config.CASVAULT_GATEWAY_PORT,
    fastify: fastifyOptions(
      { tls: tlsOf(config), trustedProxies: config.CASVAULT_GATEWAY_TRUSTED_PROXIES },
      logger,
    ),
    configure: (app) => configureHttp(app, logger),
  }),
});
