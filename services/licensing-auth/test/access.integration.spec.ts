import { createHash, randomBytes } from 'node:crypto';
import { readFile, stat, symlink, writeFile } from 'node:fs/promises';
import {
  authenticate,
  createApiToken,
  listApiTokens,
  newId,
  revokeApiToken,
  signIn,
  signOut,
  type ApiTokenId,
  type UserId,
} from '@casvault/contracts';
import { type MessagingClient } from '@casvault/messaging';
import { provisionSchema } from '@casvault/persistence';
import { createSealer } from '@casvault/service-host';
import { spawnService, startNats, startPostgres, type RunningProcess } from '@casvault/testkit';
import type pg from 'pg';
import { LicensingAuthWorld, main } from './licensing-auth-world.js';

const sha256 = (token: string) => createHash('sha256').update(token).digest('hex');
const key = randomBytes(32).toString('base64');
const sealer = createSealer(key);

describe('licensing-auth', () => {
  let world: LicensingAuthWorld;
  let client: MessagingClient;
  let rows: pg.Client;
  let service: RunningProcess;
  let password: string;
  const passwordFile = () => world.env.CASVAULT_BOOTSTRAP_PASSWORD_FILE;
  const everything: string[] = [];

  const tryPassword = (guess: string, clientAddress: string, userName = 'admin') =>
    client.request(signIn, { userName, password: sealer.seal(guess), clientAddress });
  const session = async (clientAddress = '192.0.2.1') => {
    const reply = await tryPassword(password, clientAddress);
    return { ...reply, secret: sealer.open(reply.token) };
  };

  beforeAll(async () => {
    world = await LicensingAuthWorld.start(key);
    ({ client, rows } = world);
    const elsewhere = world.path('elsewhere');
    await writeFile(elsewhere, 'untouched');
    await symlink(elsewhere, passwordFile());
    service = await world.service();
    password = (await readFile(passwordFile(), 'utf8')).trim();
    expect(await readFile(elsewhere, 'utf8')).toBe('untouched');
  });
  afterAll(async () => {
    await service.stop();
    everything.push(service.output);
    await world.stop();
  });

  it('makes one administrator with a password of its own, readable by its owner alone, and says it once', async () => {
    expect(password).toMatch(/^\S{32}$/);
    expect((await stat(passwordFile())).mode & 0o777).toBe(0o600);
    expect(service.output).not.toContain(password);
    await service.stop();
    everything.push(service.output);
    await writeFile(passwordFile(), 'not written again');
    service = await world.service();
    expect(await readFile(passwordFile(), 'utf8')).toBe('not written again');
    const users = await rows.query<{ name: string; password_hash: string }>('SELECT * FROM app_user');
    expect(users.rows).toHaveLength(1);
    expect(users.rows[0]?.password_hash).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
  });

  it('makes one administrator when replicas start together on an empty schema', async () => {
    const rolePrefix = `t${randomBytes(4).toString('hex')}`;
    await using fresh = await startPostgres();
    const url = await provisionSchema(fresh.adminUrl, 'licensing-auth', { rolePrefix });
    const { CASVAULT_BOOTSTRAP_PASSWORD_FILE: _file, ...bare } = world.env;
    await using own = await startNats();
    const env = { ...bare, CASVAULT_DATABASE_URL: url, CASVAULT_NATS_URL: own.url };
    const replicas = [1, 2, 3].map(() => spawnService(main, { env }));
    for (const replica of replicas) await replica.sees(/service started/);
    const told = replicas.flatMap(({ output }) => output.match(/First administrator: .*/g) ?? []);
    for (const replica of replicas) await replica.stop();
    expect(told).toHaveLength(1);
  });

  it('signs in by name in any case, and knows the session until it is signed out', async () => {
    const reply = await tryPassword(password, '192.0.2.1', 'ADMIN');
    expect(reply.principal).toMatchObject({ userName: 'admin', roles: ['administrator'], via: 'session' });
    expect(new Date(reply.expiresAt).getTime()).toBeGreaterThan(Date.now() + 11 * 3_600_000);
    const tokenHash = sha256(sealer.open(reply.token));
    expect(await client.request(authenticate, { tokenHash })).toEqual(reply.principal);
    await client.request(signOut, { tokenHash });
    await client.request(signOut, { tokenHash });
    await expect(client.request(authenticate, { tokenHash })).rejects.toMatchObject({
      code: 'UNAUTHENTICATED',
    });
  });

  it('forgets a session at its end', async () => {
    const { secret } = await session();
    await rows.query("UPDATE session SET expires_at = now() - interval '1 second' WHERE token_hash = $1", [
      sha256(secret),
    ]);
    await expect(client.request(authenticate, { tokenHash: sha256(secret) })).rejects.toMatchObject({
      code: 'UNAUTHENTICATED',
    });
  });

  it('says the same of an unknown user and a wrong password, in the same time', async () => {
    const took: Record<string, number[]> = { admin: [], nobody: [] };
    for (let n = 0; n < 4; n++)
      for (const [name, times] of Object.entries(took)) {
        const began = performance.now();
        const failed: unknown = await tryPassword('wrong', `198.51.100.${n}${name.length}`, name).catch(
          (error: unknown) => error,
        );
        times.push(performance.now() - began);
        expect(failed).toMatchObject({
          code: 'LOGIN_FAILED',
          message: 'the user name or the password is wrong',
        });
      }
    const best = (times: number[] = []) => Math.min(...times);
    expect(best(took['nobody'])).toBeGreaterThan(best(took['admin']) / 3);
    await session();
  });

  it('lets no more than a few of many guesses sent at once through, for a name and for an address', async () => {
    const codes = async (guesses: Promise<unknown>[]) => {
      const seen: Record<string, number> = {};
      for (const result of await Promise.allSettled(guesses)) {
        const code = result.status === 'rejected' ? (result.reason as { code: string }).code : 'in';
        seen[code] = (seen[code] ?? 0) + 1;
      }
      return seen;
    };
    const oneName: Promise<unknown>[] = [];
    for (let n = 0; n < 40; n++) oneName.push(tryPassword('wrong', `203.0.113.${n}`, 'victim'));
    expect(await codes(oneName)).toEqual({ LOGIN_FAILED: 5, LOGIN_THROTTLED: 35 });
    const oneAddress: Promise<unknown>[] = [];
    for (let n = 0; n < 40; n++) oneAddress.push(tryPassword('wrong', '203.0.113.200', `user-${n}`));
    expect(await codes(oneAddress)).toEqual({ LOGIN_FAILED: 5, LOGIN_THROTTLED: 35 });
    await expect(tryPassword(password, '203.0.113.200')).rejects.toMatchObject({
      code: 'LOGIN_THROTTLED',
      details: { retryAfterSeconds: expect.any(Number) as number },
    });
    await session('203.0.113.201');
  });

  it('never holds up an address for signing in with the right password', async () => {
    for (let n = 0; n < 8; n++) await session('192.0.2.77');
    const { rowCount } = await rows.query("SELECT 1 FROM sign_in_failure WHERE subject LIKE '%192.0.2.77'");
    expect(rowCount).toBe(0);
  });

  it('makes, lists, uses and revokes API tokens', async () => {
    const { principal } = await session();
    const { userId } = principal;
    const made: { id: ApiTokenId; secret: string }[] = [];
    for (const name of ['first', 'second', 'third']) {
      const request = { id: newId<ApiTokenId>(), userId, name, expiresAt: null };
      const reply = await client.request(createApiToken, request);
      made.push({ id: reply.id, secret: sealer.open(reply.token) });
      await expect(client.request(createApiToken, request)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
    }
    const [first] = made;
    if (!first) throw new Error('no token');
    const tokenHash = sha256(first.secret);
    expect(await client.request(authenticate, { tokenHash })).toEqual({ ...principal, via: 'token' });
    const page1 = await client.request(listApiTokens, { userId, limit: 2 });
    expect(page1.items.map(({ name }) => name)).toEqual(['third', 'second']);
    const page2 = await client.request(listApiTokens, { userId, limit: 2, cursor: page1.nextCursor ?? '' });
    expect(page2).toMatchObject({ items: [{ name: 'first' }], nextCursor: null });
    expect(page2.items[0]?.lastUsedAt).not.toBeNull();
    const other = newId<UserId>();
    await expect(client.request(revokeApiToken, { userId: other, id: first.id })).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
    await client.request(revokeApiToken, { userId, id: first.id });
    await expect(client.request(authenticate, { tokenHash })).rejects.toMatchObject({
      code: 'UNAUTHENTICATED',
    });
    expect((await client.request(listApiTokens, { userId })).items).toHaveLength(2);
  });

  it('refuses an expiry in the past, and forgets a token at its expiry', async () => {
    const { userId } = (await session()).principal;
    const make = (expiresAt: string) =>
      client.request(createApiToken, { id: newId<ApiTokenId>(), userId, name: 'short', expiresAt });
    await expect(make('2020-01-01T00:00:00Z')).rejects.toMatchObject({ code: 'INPUT_INVALID' });
    const { id, token } = await make(new Date(Date.now() + 3_600_000).toISOString());
    const tokenHash = sha256(sealer.open(token));
    await client.request(authenticate, { tokenHash });
    await rows.query('UPDATE api_token SET expires_at = now() WHERE id = $1', [id]);
    await expect(client.request(authenticate, { tokenHash })).rejects.toMatchObject({
      code: 'UNAUTHENTICATED',
    });
  });

  it('refuses what was sealed with another key', async () => {
    const foreign = createSealer(randomBytes(32).toString('base64')).seal(password);
    const request = { userName: 'admin', password: foreign, clientAddress: '192.0.2.9' };
    await expect(client.request(signIn, request)).rejects.toMatchObject({ code: 'INPUT_INVALID' });
  });

  it('keeps no secret in a row or a log', async () => {
    const { secret, principal } = await session();
    const made = await client.request(createApiToken, {
      id: newId<ApiTokenId>(),
      userId: principal.userId,
      name: 'secret',
      expiresAt: null,
    });
    const secrets = [password, secret, sealer.open(made.token)];
    const tables = ['app_user', 'session', 'api_token', 'sign_in_failure'];
    const dump: string[] = [];
    for (const table of tables) dump.push(JSON.stringify((await rows.query(`SELECT * FROM ${table}`)).rows));
    for (const text of [...dump, ...everything, service.output])
      for (const kept of secrets) expect(text).not.toContain(kept);
    expect(dump.join()).toContain(sha256(secret));
  });
});
