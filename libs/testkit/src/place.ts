import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
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

/** A port that was free a moment ago on the loopback address. */
export const freePort = async (address = '127.0.0.1'): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, address, () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
