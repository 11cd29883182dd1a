import 'reflect-metadata';
import { pino } from 'pino';
import { createService } from './app.module.js';
import { ConfigProblems, readConfig, type Config } from './config.js';
import { startTraces } from './telemetry.js';

/** EX_CONFIG of sysexits.h: a supervisor should not start it again with the same settings. */
const exitConfig = 78;

async function run(config: Config): Promise<void> {
  const stopTraces = config.traces ? await startTraces() : async () => undefined;
  const logger = pino({ level: config.logLevel, base: { service: 'disk-service' } });
  const { app, sweeper } = await createService(config, logger);
  const stopping = new AbortController();
  const swept = sweeper.run(stopping.signal);
  const stopped = new Promise<string>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, resolve);
  });
  await app.listen({ host: config.address, port: config.port });
  logger.info({ address: config.address, port: config.port, libvirt: config.libvirtUri }, 'listening');
  const signal = await stopped;
  // Openings stand on without us: the next process takes them up, or their leases run out under it.
  logger.info({ signal }, 'stopping; openings stay open');
  stopping.abort();
  await app.close();
  await swept;
  await stopTraces();
}

try {
  await run(readConfig());
} catch (error) {
  if (error instanceof ConfigProblems) {
    console.error(error.message);
    process.exitCode = exitConfig;
  } else {
    console.error(error);
    process.exitCode = 1;
  }
}
