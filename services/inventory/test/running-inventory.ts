import { randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import {
  Fault,
  type FaultJson,
  newId,
  type PlatformId,
  type registerPlatform,
  type Sealed,
} from '@casvault/contracts';
import { MessagingClient } from '@casvault/messaging';
import { provisionSchema } from '@casvault/persistence';
import { createSealer, type Sealer } from '@casvault/service-host';
import {
  type Lab,
  type PostgresServer,
  type RunningProcess,
  spawnService,
  startNats,
  startPostgres,
  TestLogger,
} from '@casvault/testkit';
import pg from 'pg';
import { type z } from 'zod';

const main = fileURLToPath(new URL('../src/main.js', import.meta.url));

export interface RunningInventory {
  readonly client: MessagingClient;
  readonly natsUrl: string;
  readonly sealer: Sealer;
  readonly postgres: PostgresServer;
  /** The process that serves now. */
  readonly process: RunningProcess;
  /** Everything that all processes of the suite have written. */
  readonly output: string;
  /** Kills the service and starts another over the same database. */
  restart(): Promise<void>;
  query<T>(sql: string, parameters?: unknown[]): Promise<T[]>;
  stop(): Promise<void>;
}

/** The service as a process of its own over real NATS and Postgres. */
export const startInventory = async (env: Record<string, string> = {}): Promise<RunningInventory> => {
  const nats = await startNats();
  const postgres = await startPostgres();
  const rolePrefix = `t${randomBytes(4).toString('hex')}`;
  const key = randomBytes(32).toString('base64');
  const environment = {
    CASVAULT_NATS_URL: nats.url,
    CASVAULT_DATABASE_URL: await provisionSchema(postgres.adminUrl, 'inventory', { rolePrefix }),
    CASVAULT_SEALING_KEY: key,
    CASVAULT_DRAIN_SECONDS: '10',
    CASVAULT_LOG_LEVEL: 'debug',
    CASVAULT_CAS_TIMEOUT_SECONDS: '5',
    ...env,
  };
  const start = async (): Promise<RunningProcess> => {
    const service = spawnService(main, { env: environment });
    await service.sees(/service started/);
    return service;
  };
  const ended: string[] = [];
  let service = await start();
  const client = await MessagingClient.connect({ url: nats.url, service: 'test', logger: new TestLogger() });
  const database = new pg.Pool({ connectionString: environment.CASVAULT_DATABASE_URL, max: 2 });
  database.on('error', () => undefined);
  await database.query('SET search_path = inventory');
  return {
    client,
    natsUrl: nats.url,
    sealer: createSealer(key),
    postgres,
    get process() {
      return service;
    },
    get output() {
      return [...ended, service.output].join('');
    },
    restart: async () => {
      await service.kill9();
      ended.push(service.output);
      service = await start();
    },
    query: async <T>(sql: string, parameters: unknown[] = []) =>
      (await database.query(sql, parameters)).rows as T[],
    stop: async () => {
      await client.close();
      await service.stop();
      await database.end();
      await nats[Symbol.asyncDispose]();
      await postgres[Symbol.asyncDispose]();
    },
  };
};

export type Registration = z.input<typeof registerPlatform.request>;

/** A registration of the lab, with what a test wants otherwise. */
export const registrationOf = (
  lab: Lab,
  sealer: Sealer,
  fields: { name?: string; id?: PlatformId; password?: string; token?: string; connection?: object } = {},
): Registration => {
  const password: Sealed = sealer.seal(fields.password ?? lab.cvm.password);
  return {
    id: fields.id ?? newId<PlatformId>(),
    name: fields.name ?? 'lab',
    connection: {
      address: lab.cvm.address,
      port: lab.cvm.port,
      userName: lab.cvm.user,
      password,
      ...fields.connection,
    },
    diskService: {
      token: sealer.seal(fields.token ?? lab.diskService?.token ?? 'token-of-the-disk-service'),
    },
  };
};

/** The fault that work ends with. */
export const faultOf = async (work: Promise<unknown>): Promise<FaultJson> => {
  const error: unknown = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (!Fault.is(error)) throw new TypeError(`no fault: ${String(error)}`);
  return error.toJSON();
};
