import 'reflect-metadata';
import { type DynamicModule, type INestApplicationContext, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { type NestFastifyApplication } from '@nestjs/platform-fastify';
import { type Clock, type Logger } from '@casvault/contracts';
import { MessagingClient, NatsTransport } from '@casvault/messaging';
import { openDatabase, schemaOf, type Migration } from '@casvault/persistence';
import { type DataSource, type EntitySchema } from 'typeorm';
import { systemClock } from './clock.js';
import { ConfigProblems, configExitCode, type ServiceConfig } from './config-reader.js';
import { HealthServer, type ReadyCheck } from './health-server.js';
import { createLogger } from './logger.js';
import { nestLogger } from './nest-logger.js';
import { createSealer, type Sealer } from './sealer.js';
import { Shutdown } from './shutdown.js';
import { startTelemetry } from './telemetry.js';

/** What the host gives to a service's module. */
export interface Host<C extends ServiceConfig = ServiceConfig> {
  readonly name: string;
  readonly version: string;
  readonly config: C;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly client: MessagingClient;
  readonly sealer: Sealer;
  /** The service's own schema, migrated; null for a service that declared no database. */
  readonly database: DataSource | null;
  /** Aborts when the process is told to end: loops stop taking up work. */
  readonly stopping: AbortSignal;
  /** Run after the transport has stopped taking messages, while NATS and Postgres are still there; last come first. */
  onDrain(name: string, drain: () => Promise<void>): void;
  /** One more condition of `/health/ready`. */
  onReadyCheck(name: string, check: ReadyCheck): void;
}

export interface WebOptions {
  readonly address: string;
  readonly port: number;
  /** Before routes are made: hooks, and body parsers, of which Nest adds none. */
  readonly configure: (app: NestFastifyApplication) => void | Promise<void>;
  /** Passed to Fastify. */
  readonly fastify?: object;
}

export interface ServiceOptions<C extends ServiceConfig> {
  /** Also the queue group, the prefix of durable consumers and the schema. */
  readonly name: string;
  readonly version: string;
  /** Reads the environment; ConfigProblems end the process with 78. */
  readonly config: () => C;
  readonly database?: {
    readonly tables: readonly EntitySchema[];
    readonly migrations: readonly Migration[];
    readonly poolSize?: number;
  };
  /** The only wiring of the service: controllers with `@OnQuery` and so on, and providers made by factories. */
  readonly module: (host: Host<C>) => DynamicModule | Type | Promise<DynamicModule | Type>;
  /** For a service with an HTTP interface of its own (the gateway). */
  readonly web?: (host: Host<C>) => WebOptions;
  /** Called once everything runs. */
  readonly started?: (host: Host<C>, app: INestApplicationContext) => void | Promise<void>;
}

/**
 * Runs a service until SIGTERM or SIGINT: configuration, telemetry, NATS, Postgres, Nest, health; then the same
 * backwards within CASVAULT_DRAIN_SECONDS. Waits for NATS and Postgres as long as it takes. Ends the process itself: 0
 * after a complete drain, 78 for configuration, 1 for everything else.
 */
export const runService = async <C extends ServiceConfig>(options: ServiceOptions<C>): Promise<void> => {
  const config = configOrExit(options.config);
  const { name, version } = options;
  const endpoint = config.OTEL_EXPORTER_OTLP_ENDPOINT;
  const telemetry = await startTelemetry({ name, version, endpoint });
  const logger = createLogger({ name, level: config.CASVAULT_LOG_LEVEL });
  const shutdown = new Shutdown(logger, config.CASVAULT_DRAIN_SECONDS * 1_000);
  shutdown.add('telemetry', () => telemetry.shutdown());
  const health = new HealthServer(telemetry);
  try {
    await listenForHealth(health, config, logger, shutdown);
    const host = await connectHost(options, config, logger, health, shutdown);
    await serve(options, host, shutdown);
    health.setReady(true);
    logger.info({ version }, 'service started');
  } catch (error) {
    if (!shutdown.signal.aborted) logger.error({ err: error }, 'service failed to start');
    shutdown.begin(shutdown.signal.aborted ? 0 : 1);
  }
  shutdown.signal.addEventListener('abort', () => health.setReady(false));
};

const configOrExit = <C>(read: () => C): C => {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof ConfigProblems)) throw error;
    process.stderr.write(`configuration:\n${error.problems.map((problem) => `  ${problem}\n`).join('')}`);
    process.exit(configExitCode);
  }
};

const listenForHealth = async (
  health: HealthServer,
  config: ServiceConfig,
  logger: Logger,
  shutdown: Shutdown,
): Promise<void> => {
  if (config.CASVAULT_HTTP_PORT === undefined) return;
  const port = await health.listen(config.CASVAULT_HTTP_ADDRESS, config.CASVAULT_HTTP_PORT);
  shutdown.add('health', () => health.close());
  logger.info({ address: config.CASVAULT_HTTP_ADDRESS, port }, 'health and metrics listening');
};

const connectHost = async <C extends ServiceConfig>(
  options: ServiceOptions<C>,
  config: C,
  logger: Logger,
  health: HealthServer,
  shutdown: Shutdown,
): Promise<Host<C>> => {
  const { name, version } = options;
  const client = await MessagingClient.connect({
    url: config.CASVAULT_NATS_URL,
    service: name,
    logger,
    replicas: config.CASVAULT_NATS_REPLICAS,
    signal: shutdown.signal,
    ...(config.CASVAULT_NATS_CREDENTIALS ? { credentials: config.CASVAULT_NATS_CREDENTIALS } : {}),
    ...(config.CASVAULT_NATS_CA ? { caCertificate: config.CASVAULT_NATS_CA } : {}),
  });
  shutdown.add('messaging', () => client.drain());
  health.check('nats', () => client.connected);
  const database = await connectDatabase(options, config, logger, health, shutdown);
  return {
    name,
    version,
    config,
    clock: systemClock,
    logger,
    client,
    sealer: createSealer(config.CASVAULT_SEALING_KEY),
    database,
    stopping: shutdown.signal,
    onDrain: (part, drain) => shutdown.add(part, drain),
    onReadyCheck: (part, check) => health.check(part, check),
  };
};

const connectDatabase = async <C extends ServiceConfig>(
  { name, database: declared }: ServiceOptions<C>,
  config: C,
  logger: Logger,
  health: HealthServer,
  shutdown: Shutdown,
): Promise<DataSource | null> => {
  if (!declared) return null;
  const url = config.CASVAULT_DATABASE_URL;
  if (url === undefined) throw new ConfigProblems(['CASVAULT_DATABASE_URL: is not set']);
  const database = await openDatabase({
    ...declared,
    url,
    schema: schemaOf(name),
    logger,
    signal: shutdown.signal,
  });
  shutdown.add('database', () => database.destroy());
  health.check('postgres', async () => (await database.query<unknown[]>('SELECT 1')).length === 1);
  return database;
};

const serve = async <C extends ServiceConfig>(
  options: ServiceOptions<C>,
  host: Host<C>,
  shutdown: Shutdown,
): Promise<void> => {
  const module = await options.module(host);
  const strategy = new NatsTransport(host.client, { graceMs: shutdown.boundMs / 2 });
  const logger = nestLogger(host.logger);
  if (!options.web) {
    const app = await NestFactory.createMicroservice(module, { strategy, logger, abortOnError: false });
    shutdown.add('handlers', () => app.close());
    await app.listen();
    await options.started?.(host, app);
    return;
  }
  const web = options.web(host);
  const { FastifyAdapter } = await import('@nestjs/platform-fastify');
  const adapter = new FastifyAdapter(web.fastify);
  const app = await NestFactory.create<NestFastifyApplication>(module, adapter, {
    logger,
    abortOnError: false,
    bodyParser: false,
  });
  app.connectMicroservice({ strategy });
  await web.configure(app);
  shutdown.add('handlers', () => app.close());
  await app.startAllMicroservices();
  await app.listen(web.port, web.address);
  host.logger.info({ url: await app.getUrl() }, 'HTTP listening');
  await options.started?.(host, app);
};
