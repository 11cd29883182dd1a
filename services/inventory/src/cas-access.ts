import { CasClient, type TaskTiming } from '@casvault/cas-client';
import { type PlatformConnection } from '@casvault/contracts';
import { type RegisteredPlatform } from './platform.js';

export interface CasAccessOptions {
  /** Opens a sealed secret; the plain text goes into the client and nowhere else. */
  readonly open: (sealed: string) => string;
  /** For one request to a CVM. */
  readonly requestTimeoutMs: number;
  readonly timing?: Partial<TaskTiming>;
}

/** The only place where a platform's password is opened. */
export class CasAccess {
  constructor(private readonly options: CasAccessOptions) {}

  /** Runs `work` with a client of the platform and closes it after. */
  async with<T>(
    connection: Pick<RegisteredPlatform, keyof PlatformConnection>,
    work: (client: CasClient) => Promise<T>,
  ): Promise<T> {
    const { open, requestTimeoutMs, timing } = this.options;
    const client = new CasClient({
      address: connection.address,
      port: connection.port,
      ssl: connection.ssl,
      sslIgnoreErrors: connection.sslIgnoreErrors,
      userName: connection.userName,
      password: open(connection.password),
      timeoutMs: requestTimeoutMs,
      ...(timing === undefined ? {} : { timing }),
    });
    try {
      return await work(client);
    } finally {
      client.close();
    }
  }
}
