import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort, tempDir } from './place.js';
import { RunningProcess } from './process.js';

export interface NatsServer extends AsyncDisposable {
  readonly url: string;
  /** Host and port of its monitoring, where that was asked for. */
  readonly monitoring: string | null;
  /** Ends it as an operator would. Its data stay until `[Symbol.asyncDispose]`. */
  stop(): Promise<void>;
  kill(): Promise<void>;
  /** Starts it again on the same port with the same data. */
  start(): Promise<void>;
  /** Kills it and takes its data away. */
  lose(): Promise<void>;
}

const root = fileURLToPath(new URL('../../../../', import.meta.url));
const script = join(root, 'tools/setup/nats-server.sh');

/** The path of a nats-server >= 2.10: on PATH, in .var/tools, or fetched there. */
export const natsServerPath = (): string => {
  const kept = join(root, '.var/tools/nats-server/usr/sbin/nats-server');
  return existsSync(kept) ? kept : execFileSync(script, { encoding: 'utf8' }).trim();
};

/** A real nats-server with JetStream on loopback; data in `dir`, or in a fresh directory that goes with it. */
export const startNats = async (
  options: { dir?: string; auth?: { user: string; password: string }; monitoring?: boolean } = {},
): Promise<NatsServer> => {
  const temp = options.dir === undefined ? await tempDir('nats') : null;
  const dir = options.dir ?? temp?.path ?? '';
  const port = await freePort();
  const { auth } = options;
  const args = ['-a', '127.0.0.1', '-p', String(port), '-js', '-sd', dir];
  if (auth) args.push('--user', auth.user, '--pass', auth.password);
  const monitoringPort = options.monitoring ? await freePort() : null;
  if (monitoringPort !== null) args.push('-m', String(monitoringPort));
  let server: RunningProcess;
  const start = async () => {
    server = new RunningProcess(natsServerPath(), args);
    await server.sees(/Server is ready/);
  };
  await start();
  return {
    url: `nats://${auth ? `${encodeURIComponent(auth.user)}:${encodeURIComponent(auth.password)}@` : ''}127.0.0.1:${port}`,
    monitoring: monitoringPort === null ? null : `127.0.0.1:${monitoringPort}`,
    start,
    stop: async () => void (await server.stop()),
    kill: () => server.kill9(),
    lose: async () => {
      await server.kill9();
      await rm(join(dir, 'jetstream'), { recursive: true, force: true });
    },
    [Symbol.asyncDispose]: async () => {
      await server.stop(2_000);
      await temp?.remove();
    },
  };
};
