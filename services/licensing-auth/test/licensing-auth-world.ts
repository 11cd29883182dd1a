import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MessagingClient } from '@casvault/messaging';
import { provisionSchema } from '@casvault/persistence';
import {
  spawnService,
  startNats,
  startPostgres,
  tempDir,
  TestLogger,
  type NatsServer,
  type PostgresServer,
  type RunningProcess,
  type TempDir,
} from '@casvault/testkit';
import pg from 'pg';

export const main = fileURLToPath(new URL('../src/main.js', import.meta.url));

/** Real NATS and Postgres, a client of the service, and its rows. The service is started by whoever tests it. */
export class LicensingAuthWorld {
  private constructor(
    private readonly nats: NatsServer,
    private readonly postgres: PostgresServer,
    private readonly temp: TempDir,
    readonly env: Readonly<
      Record<string, string> & Record<'CASVAULT_DATABASE_URL' | 'CASVAULT_BOOTSTRAP_PASSWORD_FILE', string>
    >,
    readonly client: MessagingClient,
    readonly rows: pg.Client,
  ) {}

  /** `sealingKey`: in base64. */
  static async start(sealingKey: string): Promise<LicensingAuthWorld> {
    const [nats, postgres, temp] = [
      await startNats(),
      await startPostgres(),
      await tempDir('licensing-auth'),
    ];
    const rolePrefix = `t${randomBytes(4).toString('hex')}`;
    const env = {
      CASVAULT_NATS_URL: nats.url,
      CASVAULT_DATABASE_URL: await provisionSchema(postgres.adminUrl, 'licensing-auth', { rolePrefix }),
      CASVAULT_SEALING_KEY: sealingKey,
      CASVAULT_BOOTSTRAP_PASSWORD_FILE: join(temp.path, 'password'),
      CASVAULT_LOG_LEVEL: 'debug',
    };
    const client = await MessagingClient.connect({
      url: nats.url,
      service: 'test',
      logger: new TestLogger(),
    });
    const rows = new pg.Client({ connectionString: env.CASVAULT_DATABASE_URL });
    await rows.connect();
    return new LicensingAuthWorld(nats, postgres, temp, env, client, rows);
  }

  /** In a folder that goes with the world. */
  path(name: string): string {
    return join(this.temp.path, name);
  }

  async service(extra: Readonly<Record<string, string>> = {}): Promise<RunningProcess> {
    const started = spawnService(main, { env: { ...this.env, ...extra } });
    await started.sees(/service started/);
    return started;
  }

  async stop(): Promise<void> {
    await this.client.close();
    await this.rows.end();
    await this.nats[Symbol.asyncDispose]();
    await this.postgres[Symbol.asyncDispose]();
    await this.temp.remove();
  }
}
