import { setTimeout as sleep } from 'node:timers/promises';
import { jetstream, jetstreamManager, type JetStreamClient, type JetStreamManager } from '@nats-io/jetstream';
import {
  connect,
  credsAuthenticator,
  type NatsConnection,
  type NodeConnectionOptions,
} from '@nats-io/transport-node';
import { Fault } from '@casvault/contracts';
import { type NatsOptions } from './nats-options.js';
import { ensureStreams } from './streams.js';

const reconnectWaitMs = 250;
const firstConnectWaitMs = 2_000;

/** URL parts as the client wants them: it takes no credentials inside a URL. */
const connectionOptions = (options: NatsOptions): NodeConnectionOptions => {
  const urls = options.url.split(',').map((url) => new URL(url.trim()));
  const { username, password } = urls[0] ?? { username: '', password: '' };
  const secure = urls.some(({ protocol }) => protocol === 'tls:') || options.caCertificate !== undefined;
  return {
    servers: urls.map(({ host }) => host),
    name: options.service,
    reconnect: true,
    maxReconnectAttempts: -1,
    reconnectTimeWait: reconnectWaitMs,
    reconnectJitter: reconnectWaitMs,
    ignoreAuthErrorAbort: true,
    pingInterval: 10_000,
    maxPingOut: 2,
    timeout: 5_000,
    // Would take a stack trace for every request.
    noAsyncTraces: true,
    ...(username ? { user: decodeURIComponent(username), pass: decodeURIComponent(password) } : {}),
    ...(options.credentials
      ? { authenticator: credsAuthenticator(new TextEncoder().encode(options.credentials)) }
      : {}),
    ...(secure ? { tls: options.caCertificate ? { ca: options.caCertificate } : {} } : {}),
  };
};

const firstConnection = async (options: NatsOptions): Promise<NatsConnection> => {
  for (let attempt = 1; ; attempt++)
    try {
      return await connect(connectionOptions(options));
    } catch (error) {
      if (options.signal?.aborted)
        throw new Fault('DEPENDENCY_UNAVAILABLE', 'NATS is not reachable', { cause: error });
      options.logger.warn({ err: error, attempt }, 'NATS is not there yet');
      await sleep(firstConnectWaitMs, undefined, options.signal ? { signal: options.signal } : {});
    }
};

/** The one connection of a process: reconnects for ever, and knows whether it is connected now. */
export class NatsLink {
  #connected = true;
  #streamsAt: Promise<void> | null = null;
  readonly #waiting = new Set<() => void>();

  private constructor(
    readonly connection: NatsConnection,
    readonly jetstream: JetStreamClient,
    readonly manager: JetStreamManager,
    readonly options: NatsOptions,
  ) {
    void this.#watch();
  }

  static async connect(options: NatsOptions): Promise<NatsLink> {
    const connection = await firstConnection(options);
    const manager = await jetstreamManager(connection, { timeout: 5_000, checkAPI: false });
    return new NatsLink(connection, jetstream(connection, { timeout: 5_000 }), manager, options);
  }

  get connected(): boolean {
    return this.#connected && !this.connection.isClosed();
  }

  /** Waits for the connection; throws DEPENDENCY_UNAVAILABLE if it isn't back within `ms`. */
  async whenConnected(ms: number): Promise<void> {
    if (this.connected) return;
    const timer = new AbortController();
    const back = new Promise<void>((resolve) => this.#waiting.add(resolve));
    const late = sleep(ms, undefined, { signal: timer.signal }).catch(() => undefined);
    await Promise.race([back, late]);
    timer.abort();
    if (!this.connected) throw new Fault('DEPENDENCY_UNAVAILABLE', 'NATS is not connected');
  }

  /** Makes or updates the streams; once, until a failure or `anew`. */
  async ensureStreams(anew = false): Promise<void> {
    if (anew) this.#streamsAt = null;
    this.#streamsAt ??= ensureStreams(this.manager, this.options.replicas ?? 1);
    try {
      await this.#streamsAt;
    } catch (error) {
      this.#streamsAt = null;
      throw error;
    }
  }

  async #watch(): Promise<void> {
    const { logger } = this.options;
    for await (const status of this.connection.status()) {
      if (status.type === 'disconnect') {
        this.#connected = false;
        logger.warn({ server: status.server }, 'NATS disconnected');
      }
      if (status.type === 'reconnect') {
        this.#connected = true;
        logger.info({ server: status.server }, 'NATS connected again');
        for (const wake of this.#waiting) wake();
        this.#waiting.clear();
      }
      if (status.type === 'error') logger.warn({ err: status.error }, 'NATS error');
    }
  }
}
