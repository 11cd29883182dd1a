import 'reflect-metadata';
import type { Logger } from '@casvault/contracts';
import { createService } from './app.module.js';
import { ConfigProblems, readConfig, type Config } from './config.js';
import { createLogger } from './logger.js';
import { startTraces } from './telemetry.js';
import { ownVersion } from './version.js';

/** EX_CONFIG of sysexits.h: a supervisor should not start it again with the same settings. */
const exitConfig = 78;

async function run(config: Config, logger: Logger): Promise<void> {
  const version = await ownVersion();
  const stopTraces = await startTraces(config.traces, version);
  const { app, sweeper } = await createService(config, logger, version);
  const stopping = new AbortController();
  const swept = sweeper.run(stopping.signal);
  const stopped = new Promise<string>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, resolve);
  });
  await app.listen({ host: config.address, port: config.port });
  const { address, port, libvirtUri: libvirt } = config;
  logger.info({ version, address, port, libvirt }, 'listening');
  const signal = await stopped;
  // Openings stand on without us: the next process takes them up, or their leases run out under it.
  logger.info({ signal }, 'stopping; openings stay open');
  stopping.abort();
  await app.close();
  await swept;
  await stopTraces();
}

function configOrExit(): Config {
  try {
    return readConfig();
  } catch (error) {
    if (!(error instanceof ConfigProblems)) throw error;
    console.error(error.message);
    process.exit(exitConfig);
  }
}

const config = configOrExit();
const logger = createLogger(config.logLevel);
for (const event of ['uncaughtException', 'unhandledRejection'] as const)
  process.on(event, (error: unknown) => {
    logger.error({ err: error, event }, 'unexpected error, the process ends');
    process.exit(1);
  });
try {
  await run(config, logger);
} catch (error) {
  logger.error({ err: error }, 'service failed');
  process.exitCode = 1;
}
