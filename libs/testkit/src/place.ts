import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';

/** Where tests keep files: not /tmp, which may be memory. */
const base = process.env['CASVAULT_TEST_DIR'] ?? '/var/tmp';

export interface TempDir extends AsyncDisposable {
  readonly path: string;
  remove(): Promise<void>;
}

/** A fresh directory; `await using` or `remove()` takes it away. */
export const tempDir = async (name = 'test'): Promise<TempDir> => {
  const path = await mkdtemp(join(base, `casvault-${name}-`));
  const remove = () => rm(path, { recursive: true, force: true, maxRetries: 3 });
  return { path, remove, [Symbol.asyncDispose]: remove };
};

/** Above the ports that the kernel gives to outgoing connections, so that none of them takes one before whoever it was picked for. */
const ports = { first: 61_000, last: 65_535 };

/** Held as a UDP port for as long as this process lives: no other asks for the same one, whatever runs beside it. */
const reserve = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = createSocket('udp4').unref();
    socket.once('error', () => socket.close(() => resolve(false)));
    socket.bind({ address: '127.0.0.1', port }, () => resolve(true));
  });

const isFree = (port: number, address: string): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, address, () => server.close(() => resolve(true)));
  });

/** A port of the loopback address that nobody listens on, and that no other caller gets while this process lives. */
export const freePort = async (address = '127.0.0.1'): Promise<number> => {
  for (let tries = 0; tries < 1_000; tries += 1) {
    const port = randomInt(ports.first, ports.last + 1);
    if ((await reserve(port)) && (await isFree(port, address))) return port;
  }
  throw new Error(`no free port of ${address} from ${ports.first} to ${ports.last}`);
};
