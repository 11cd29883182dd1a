import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmod, chown, copyFile, mkdir, readdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  postgresPrograms,
  postgresText,
  RunningProcess,
  startPostgres,
  tempDir,
  until,
  type PostgresServer,
  type TempDir,
} from '@casvault/testkit';
import {
  fillTables,
  migrateServices,
  provisionDatabase,
  schemas,
  services,
  withClient,
  type ServiceUrls,
} from './control-plane-database.js';
import { chart, repositoryRoot } from './helm.js';

/** Of the user who dumps: with all that a URL and a shell may stumble over. */
const password = `p@s s/w?rd:%41'"$(x)\`\\é#${randomBytes(6).toString('hex')}`;
/** In a container the user has no name, and no home. */
const nobody = process.getuid?.() === 0 ? { uid: 10001, gid: 10001 } : {};
const wholeName = /^casvault-\d{8}T\d{6}Z\.dump$/;

interface Ended {
  readonly code: number;
  readonly output: string;
}

describe('dumps of the control plane', () => {
  let programs: string;
  let folder: TempDir;
  let server: PostgresServer;
  let adminUrl: string;
  let urls: ServiceUrls;
  let secrets: string[];

  const start = async (before?: ServiceUrls): Promise<void> => {
    server = await startPostgres({ programs, passwords: true });
    ({ adminUrl, urls } = await provisionDatabase(server.adminUrl, before));
    await withClient(adminUrl, async (client) => {
      await client.query(`CREATE ROLE casvault_dump LOGIN PASSWORD ${client.escapeLiteral(password)}`);
      await client.query('GRANT pg_read_all_data TO casvault_dump');
      await client.query('GRANT CONNECT ON DATABASE casvault TO casvault_dump');
    });
    secrets = [
      password,
      encodeURIComponent(password),
      ...Object.values(urls).map((url) => new URL(url).password),
    ];
  };

  /** A fresh place that whoever dumps may write to. */
  const place = async (name: string): Promise<string> => {
    const path = join(folder.path, `${name}-${randomBytes(6).toString('hex')}`);
    await mkdir(path);
    if (nobody.uid !== undefined) await chown(path, nobody.uid, nobody.gid);
    return path;
  };

  const dumpUrl = (given = encodeURIComponent(password)): string => {
    const { host } = new URL(adminUrl);
    return `postgres://casvault_dump:${given}@${host}/casvault?sslmode=disable`;
  };

  const setUp = async (target: string, url: string, kept: number | string, path = '') => {
    const urlFile = join(folder.path, `url-${randomBytes(6).toString('hex')}`);
    await writeFile(urlFile, `${url}\n`);
    await chmod(urlFile, 0o644);
    return {
      PATH: `${path}${programs}:${process.env['PATH'] ?? ''}`,
      HOME: '/',
      DATABASE_URL_FILE: urlFile,
      DUMP_FOLDER: target,
      DUMP_NAME: 'casvault',
      DUMPS_KEPT: String(kept),
    };
  };
  const script = () => join(folder.path, 'dump-control-plane.sh');

  /** Runs the chart's own script; nothing that it says holds a secret. */
  const dump = async (
    target: string,
    {
      url = dumpUrl(),
      kept = 100,
      path = '',
      before = '',
    }: { url?: string; kept?: number | string; path?: string; before?: string } = {},
  ): Promise<Ended> => {
    const env = await setUp(target, url, kept, path);
    const ended = await new Promise<Ended>((resolve) => {
      execFile('sh', ['-c', `${before} exec sh ${script()}`], { env, ...nobody }, (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code ?? -1), output: stdout + stderr }),
      );
    });
    for (const secret of secrets) expect(ended.output).not.toContain(secret);
    return ended;
  };

  const pgRestore = (args: readonly string[]): Promise<Ended> =>
    new Promise((resolve) => {
      execFile(join(programs, 'pg_restore'), args, (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code ?? -1), output: stdout + stderr }),
      );
    });

  /** What of a database does not change while ticks are written. */
  const still = async (url: string): Promise<string[]> =>
    (await postgresText(url))
      .split('\n')
      .filter((line) => !/^(\w+\.handled_message|pg_authid) /.test(line))
      .sort();

  /** In one transaction over all schemas the next number goes into each. */
  const tick = (number: number): Promise<void> =>
    withClient(adminUrl, async (client) => {
      await client.query('BEGIN');
      for (const schema of schemas)
        await client.query(`INSERT INTO ${schema}.handled_message VALUES ('tick', $1)`, [number]);
      await client.query('COMMIT');
    });
  const ticksOf = (schema: string): Promise<string[]> =>
    withClient(adminUrl, async (client) => {
      const { rows } = await client.query<{ id: string }>(
        `SELECT message_id AS id FROM ${schema}.handled_message WHERE scope = 'tick' ORDER BY message_id::int`,
      );
      return rows.map(({ id }) => id);
    });

  beforeAll(async () => {
    programs = await postgresPrograms();
    folder = await tempDir('dump');
    await chmod(folder.path, 0o755);
    await copyFile(join(chart, 'files/dump-control-plane.sh'), script());
    await chmod(script(), 0o644);
    await start();
    expect((await migrateServices(urls)).length).toBeGreaterThan(services.length);
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    await folder.remove();
  });

  it('of one instant, written to meanwhile, bring back a lost server by the command of docs/operations.md', async () => {
    const target = await place('first');
    expect(await fillTables(adminUrl)).toBeGreaterThan(25);
    const before = await still(adminUrl);
    let last = 0;
    let isOver = false;
    const writing = (async () => {
      while (!isOver) await tick(++last);
    })();
    const { begun, ended } = await withClient(adminUrl, async (client) => {
      await client.query('BEGIN');
      for (const schema of schemas)
        await client.query(`INSERT INTO ${schema}.handled_message VALUES ('open', '1')`);
      const begun = await until(() => (last > 2 ? last - 1 : null));
      expect(await dump(target)).toEqual({
        code: 0,
        output: expect.stringMatching(/ has \d+ bytes\n$/) as string,
      });
      const ended = last;
      // Written to before, meanwhile and afterwards.
      await until(() => last > ended);
      await client.query('COMMIT');
      return { begun, ended };
    });
    isOver = true;
    await writing;

    // All is lost, passwords of roles with it.
    await server[Symbol.asyncDispose]();
    const old = urls;
    await start(old);
    expect(urls).toEqual(rebased(old, server.adminUrl));
    const operations = await readFile(join(repositoryRoot, 'docs/operations.md'), 'utf8');
    const [, ...told] = /`(pg_restore [^`]*<dump>)`/.exec(operations)?.[1]?.split(' ') ?? [];
    expect(told.slice(0, 4)).toEqual(['--clean', '--if-exists', '--single-transaction', '--exit-on-error']);
    const [name = ''] = await readdir(target);
    const args = told.map((word) => word.replace('…', adminUrl).replace('<dump>', join(target, name)));
    expect(await pgRestore(args)).toEqual({ code: 0, output: '' });

    const ticks = await ticksOf('inventory');
    expect(ticks).toEqual(ticks.map((_, index) => String(index + 1)));
    expect(ticks.length).toBeGreaterThanOrEqual(begun);
    expect(ticks.length).toBeLessThanOrEqual(ended);
    for (const schema of schemas) expect(await ticksOf(schema)).toEqual(ticks);
    expect(await still(adminUrl)).toEqual(before);
    expect(await postgresText(adminUrl)).not.toContain('(open,');
  });

  it('leave each service its own schema and no other, and nothing to migrate', async () => {
    const { rows } = await withClient(adminUrl, (client) =>
      client.query<{ schema: string; owner: string; owners: string[] }>(
        `SELECT nspname AS schema, pg_get_userbyid(nspowner) AS owner,
           array_agg(DISTINCT pg_get_userbyid(relowner)::text) AS owners
         FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid
         WHERE nspname = ANY ($1) GROUP BY n.oid, nspname, nspowner ORDER BY nspname`,
        [schemas],
      ),
    );
    expect(rows).toEqual(
      [...schemas].sort().map((schema) => {
        const role = `casvault_${schema}`;
        return { schema, owner: role, owners: [role] };
      }),
    );
    for (const service of services)
      await withClient(urls[service], async (client) => {
        const own = service.replaceAll('-', '_');
        const { rows: found } = await client.query(
          `INSERT INTO machine_effect (id, kind, instance_id, lane, effect)
           SELECT 'after', 'a', 'b', 'c', '{}' RETURNING seq > (SELECT max(seq) FROM machine_effect) AS "isLater"`,
        );
        expect(found).toEqual([{ isLater: true }]);
        await client.query('CREATE TABLE own (id int); DROP TABLE own');
        for (const refused of [
          ...schemas.filter((other) => other !== own).map((other) => `SELECT FROM ${other}.migration`),
          'CREATE TABLE public.mine (id int)',
          'CREATE SCHEMA mine',
        ])
          await expect(client.query(refused)).rejects.toThrow(/permission denied/);
      });
    expect(await migrateServices(urls)).toEqual([]);
  });

  it('keep the newest, and touch no file of another', async () => {
    const target = await place('kept');
    const old = ['20200101T000000Z', '20200102T000000Z', '20250101T000000Z', '20250101T000001Z'];
    const foreign = [
      'casvault-20200101T000000Z.dump.txt',
      'casvault-20200101.dump',
      'casvault-20200101T000000.dump',
      'casvault-other-20200101T000000Z.dump',
      'notes',
      'other-20200101T000000Z.dump',
    ];
    const names = [...foreign, ...old.map((time) => `casvault-${time}.dump`)];
    for (const name of names) await writeFile(join(target, name), name);
    await mkdir(join(target, 'casvault-20200101T000001Z.dump'));
    const [fresh, stale] = [
      'casvault-20250102T000000Z.dump.part',
      'casvault-20250103T000000Z.dump.part',
    ] as const;
    for (const name of [fresh, stale]) await writeFile(join(target, name), 'begun');
    await utimes(join(target, stale), new Date(), Date.now() / 1_000 - 49 * 3_600);

    expect((await dump(target, { kept: 3 })).code).toBe(0);
    const left = await readdir(target);
    const made = left.filter(
      (name) =>
        wholeName.test(name) && !name.startsWith('casvault-202001') && !name.startsWith('casvault-2025'),
    );
    expect(made).toHaveLength(1);
    const kept = [
      ...foreign,
      'casvault-20200101T000001Z.dump',
      'casvault-20250101T000000Z.dump',
      'casvault-20250101T000001Z.dump',
    ];
    expect(left.sort()).toEqual([...kept, fresh, ...made].sort());
    for (const name of foreign) expect(await readFile(join(target, name), 'utf8')).toBe(name);

    // By a clock that was right when this one was made and is not now: others are newer, and it stays.
    const later = ['29990101T000000Z', '29990102T000000Z'].map((time) => `casvault-${time}.dump`);
    for (const name of later) await writeFile(join(target, name), name);
    // Not within the second of the first one: its name is taken.
    await until(async () => (await dump(target, { kept: 1 })).code === 0);
    const last = (await readdir(target)).filter(
      (name) => wholeName.test(name) && name !== 'casvault-20200101T000001Z.dump',
    );
    expect(last).toHaveLength(1);
    expect(later).not.toContain(last[0]);
  });

  /** A folder with more dumps than one; whatever fails, they and nothing else are there afterwards. */
  const refusing = async (name: string, attempt: (target: string) => Promise<Ended>): Promise<string> => {
    const target = await place(name);
    const earlier = ['casvault-20200101T000000Z.dump', 'casvault-20200102T000000Z.dump'];
    for (const one of earlier) await writeFile(join(target, one), one);
    const { code, output } = await attempt(target);
    expect(code).not.toBe(0);
    expect((await readdir(target)).sort()).toEqual(earlier);
    for (const one of earlier) expect(await readFile(join(target, one), 'utf8')).toBe(one);
    return output;
  };

  it('that are stopped leave nothing, and show no password to the machine', async () => {
    await withClient(adminUrl, async (client) => {
      await client.query('BEGIN');
      await client.query('LOCK TABLE inventory.migration IN ACCESS EXCLUSIVE MODE');
      const output = await refusing('stopped', async (target) => {
        const env = await setUp(target, dumpUrl(), 1);
        const running = new RunningProcess('sh', [script()], { env, ...nobody });
        await until(async () => {
          const { rowCount } = await client.query('SELECT FROM pg_locks WHERE NOT granted');
          return rowCount === 1;
        });
        expect(await readdir(target)).toContainEqual(expect.stringMatching(/Z\.dump\.part$/));
        const shown = await allArguments();
        expect(shown).toContain('--lock-wait-timeout');
        for (const secret of secrets) expect(shown).not.toContain(secret);
        const code = await running.stop();
        await until(() => running.output.includes('stopped by a signal'));
        return { code, output: running.output };
      });
      expect(output).not.toContain(password);
      await client.query('ROLLBACK');
    });
  });

  it.each<[string, string, () => string]>([
    ['a wrong password', 'password authentication failed', () => dumpUrl('wrong')],
    ['a user without the right to read', 'permission denied', () => urls.inventory],
    ['no password', 'no password supplied', () => dumpUrl().replace(/:[^:]*@/, '@')],
    ['a raw @ and / in the password', 'is not percent-encoded', () => dumpUrl('a/b@c')],
    ['a broken percent-encoding', 'is not percent-encoded', () => dumpUrl('a%4')],
    ['a control character in it', 'is not percent-encoded', () => dumpUrl('a%0a')],
    ['a password among the parameters', 'among its parameters', () => `${dumpUrl()}&password=a`],
    ['no URL', 'does not begin with postgres://', () => password],
  ])('fail for %s', async (_, why, urlOf) => {
    const output = await refusing('refused', (target) => dump(target, { url: urlOf(), kept: 1 }));
    expect(output).toContain(why);
  });

  it('fail where they can not be written, and where they are not whole', async () => {
    const full = await refusing('full', (target) =>
      dump(target, { kept: 1, before: "trap '' XFSZ; ulimit -f 8;" }),
    );
    expect(full).toMatch(/File too large/);
    expect(
      await refusing('read-only', async (target) => {
        await chown(target, process.getuid?.() ?? 0, process.getgid?.() ?? 0);
        await chmod(target, 0o555);
        return dump(target, { kept: 1 });
      }),
    ).toMatch(/can not be made/);
    const path = await place('programs');
    await writeFile(
      join(path, 'pg_dump'),
      `#!/bin/sh\n${programs}/pg_dump "$@"\ntruncate --size=-64 "$DUMP_FOLDER"/*.part\n`,
    );
    await chmod(join(path, 'pg_dump'), 0o755);
    expect(await refusing('cut', (target) => dump(target, { kept: 1, path: `${path}:` }))).toMatch(
      /could not read|end of file/,
    );
    for (const kept of ['0', '', '3 4', '-1'])
      expect(await refusing('number', (target) => dump(target, { kept }))).toMatch(/DUMPS_KEPT/);
  });

  it('fail without a server', async () => {
    await server.stop();
    expect(await refusing('alone', (target) => dump(target, { kept: 1 }))).toMatch(/Connection refused/);
  });
});

/** Arguments of every process of this machine. */
const allArguments = async (): Promise<string> => {
  const texts: string[] = [];
  for (const id of await readdir('/proc'))
    if (/^\d+$/.test(id)) texts.push(await readFile(`/proc/${id}/cmdline`, 'utf8').catch(() => ''));
  return texts.join('\n').replaceAll('\0', ' ');
};

/** The same roles and passwords at another server. */
const rebased = (urls: ServiceUrls, serverUrl: string): Record<string, string> =>
  Object.fromEntries(
    Object.entries(urls).map(([service, url]) => {
      const moved = new URL(url);
      moved.host = new URL(serverUrl).host;
      return [service, moved.href];
    }),
  );
