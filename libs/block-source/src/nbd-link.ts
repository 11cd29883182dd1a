import net from 'node:net';
import tls from 'node:tls';
import { Fault } from '@casvault/contracts';
import { type Incoming, Inlet } from './inlet.js';
import { describeEndpoint, type NbdEndpoint, type NbdTls } from './nbd-endpoint.js';
import { disconnectedFault, protocolFault } from './nbd-faults.js';
import { greet, type Greeting, startTls } from './nbd-handshake.js';

/** How long a server may take to hang up after a soft disconnect. */
const farewellMs = 1000;
const keepAliveMs = 30_000;

/** What is said after the greeting. */
export type Conversation = (link: NbdLink, greeting: Greeting) => Incoming<unknown>;

const overrun = (): Fault => protocolFault('bytes from the server where none belong');

/**
 * One connection to a server, up to the end of the greeting (and TLS where the endpoint wants it): from there on the
 * conversation says where incoming bytes go. Without TLS the kernel copies them straight there; with TLS they are copied once.
 *
 * It ends exactly once: `lost` is called with why, after which nothing is received and nothing is sent.
 */
export class NbdLink {
  readonly #endpoint: NbdEndpoint;
  readonly #converse: Conversation;
  readonly #lost: (fault: Fault) => void;
  #socket: net.Socket;
  #ended = false;
  #finished: Promise<void> | null = null;
  #onEnd: (() => void) | null = null;

  constructor(endpoint: NbdEndpoint, converse: Conversation, lost: (fault: Fault) => void) {
    this.#endpoint = endpoint;
    this.#converse = converse;
    this.#lost = lost;
    const security = 'tls' in endpoint ? endpoint.tls : undefined;
    this.#socket = security === undefined ? this.#connectPlain() : this.#connectSecure(security);
  }

  /** Queues bytes in order; they must stay as they are until the server has answered. */
  send(bytes: Uint8Array, payload?: Uint8Array): void {
    if (this.#ended || this.#finished !== null) return;
    if (payload === undefined) {
      this.#socket.write(bytes);
      return;
    }
    this.#socket.cork();
    this.#socket.write(bytes);
    this.#socket.write(payload);
    this.#socket.uncork();
  }

  /** Sends the last bytes and resolves when the server has hung up, or was given its time to. */
  async finish(bytes: Uint8Array): Promise<void> {
    if (this.#ended) return;
    this.#finished ??= new Promise<void>((resolve) => {
      const timer = setTimeout(() => {
        this.end(disconnectedFault(describeEndpoint(this.#endpoint)));
      }, farewellMs);
      this.#onEnd = () => {
        clearTimeout(timer);
        resolve();
      };
      this.#socket.end(bytes);
    });
    await this.#finished;
  }

  /** Drops the connection at once. */
  end(fault: Fault): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#socket.destroy();
    this.#lost(fault);
    this.#onEnd?.();
  }

  #connectPlain(): net.Socket {
    const inlet = new Inlet(this.#fromGreeting(), overrun);
    const socket = net.connect({
      ...address(this.#endpoint),
      onread: {
        buffer: () => inlet.target,
        callback: (count) => {
          this.#guard(() => {
            inlet.advance(count);
          });
          return true;
        },
      },
    });
    return this.#watch(socket);
  }

  *#fromGreeting(): Incoming<unknown> {
    return yield* this.#converse(this, yield* greet(this));
  }

  #connectSecure(security: NbdTls): net.Socket {
    const inlet = new Inlet(this.#untilTls(), overrun);
    const socket = net.connect(address(this.#endpoint));
    const receive = (piece: Buffer): void => {
      this.#guard(() => {
        inlet.feed(piece);
        if (inlet.result === null) return;
        socket.off('data', receive);
        this.#secure(socket, security, inlet.result.value);
      });
    };
    socket.on('data', receive);
    return this.#watch(socket);
  }

  *#untilTls(): Incoming<Greeting> {
    const greeting = yield* greet(this);
    yield* startTls(this);
    return greeting;
  }

  #secure(plain: net.Socket, security: NbdTls, greeting: Greeting): void {
    const socket = tls.connect({ socket: plain, ...tlsOptions(this.#endpoint, security) });
    let trusted = false;
    socket.once('secureConnect', () => {
      trusted = true;
      this.#guard(() => {
        const inlet = new Inlet(this.#converse(this, greeting), overrun);
        socket.on('data', (piece: Buffer) => {
          this.#guard(() => {
            inlet.feed(piece);
          });
        });
      });
    });
    socket.on('error', (error: Error) => {
      if (!trusted)
        this.end(
          new Fault('NBD_REFUSED', `TLS with the NBD server failed: ${error.message}`, { cause: error }),
        );
    });
    this.#socket = this.#watch(socket);
  }

  #watch<T extends net.Socket>(socket: T): T {
    let cause: unknown;
    socket.setNoDelay(true);
    socket.setKeepAlive(true, keepAliveMs);
    socket.on('error', (error) => {
      cause = error;
    });
    socket.on('close', () => {
      this.end(disconnectedFault(describeEndpoint(this.#endpoint), cause));
    });
    return socket;
  }

  /** Whatever a parser throws ends the link. */
  #guard(step: () => void): void {
    if (this.#ended) return;
    try {
      step();
    } catch (error) {
      this.end(Fault.from(error));
    }
  }
}

/**
 * Connects and talks until the conversation is `ready` with its result; from then on `onEnd` hears why the link ended.
 * Aborting the signal ends the link, before or after.
 */
export const converse = <T>(
  endpoint: NbdEndpoint,
  signal: AbortSignal | undefined,
  conversation: (
    link: NbdLink,
    greeting: Greeting,
    ready: (value: T, onEnd?: (fault: Fault) => void) => void,
  ) => Incoming<unknown>,
): Promise<T> =>
  new Promise((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(Fault.ofAbort(signal));
      return;
    }
    let ended: (fault: Fault) => void = reject;
    const abort = (): void => {
      if (signal !== undefined) link.end(Fault.ofAbort(signal));
    };
    const link = new NbdLink(
      endpoint,
      (self, greeting) =>
        conversation(self, greeting, (value, onEnd) => {
          ended = onEnd ?? (() => undefined);
          resolve(value);
        }),
      (fault) => {
        signal?.removeEventListener('abort', abort);
        ended(fault);
      },
    );
    signal?.addEventListener('abort', abort, { once: true });
  });

const address = (endpoint: NbdEndpoint): { path: string } | { host: string; port: number } =>
  'path' in endpoint ? { path: endpoint.path } : { host: endpoint.host, port: endpoint.port };

/** PSK needs suites that no certificate enters, in TLS 1.2: with 1.3 the peers differ in how they derive its hash. */
const tlsOptions = (endpoint: NbdEndpoint, security: NbdTls): tls.ConnectionOptions => {
  if (security.kind === 'psk') {
    return {
      ciphers: 'PSK',
      minVersion: 'TLSv1.2',
      maxVersion: 'TLSv1.2',
      checkServerIdentity: () => undefined,
      pskCallback: () => ({ identity: security.identity, psk: security.key }),
    };
  }
  const host = 'host' in endpoint ? endpoint.host : '';
  const servername = security.servername ?? host;
  return {
    ca: security.ca,
    cert: security.cert,
    key: security.key,
    minVersion: 'TLSv1.2',
    // SNI knows no addresses; the name check below takes them.
    servername: net.isIP(servername) === 0 ? servername : '',
    checkServerIdentity: (_host, certificate) => tls.checkServerIdentity(servername, certificate),
  };
};
