import {
  createApiToken,
  createJob,
  createPool,
  Fault,
  getRun,
  getVm,
  listVms,
  problemSchema,
  registerPlatform,
  signIn,
  signOut,
  startRun,
  stopRun,
} from '@casvault/contracts';
import * as examples from './api/examples.js';
import { fakeSealer } from './testing/fake-services.js';
import { bearer, testGateway, tokens, type TestGateway } from './testing/test-gateway.js';

describe('the HTTP surface', () => {
  let gateway: TestGateway;
  beforeEach(async () => {
    gateway = await testGateway();
  });
  afterEach(() => gateway.stop());

  const inject = (options: {
    method?: 'GET' | 'POST' | 'DELETE' | 'PUT';
    url: string;
    headers?: Record<string, string>;
    payload?: string | object;
  }) =>
    gateway.app.inject({
      method: options.method ?? 'GET',
      url: `/api/v1${options.url}`,
      headers: options.headers ?? bearer('administrator'),
      ...(options.payload === undefined ? {} : { payload: options.payload }),
    });
  const problemOf = (response: { json: () => unknown; headers: object }) => {
    expect(response.headers).toMatchObject({ 'content-type': 'application/problem+json' });
    return problemSchema.parse(response.json());
  };

  describe('sign-in', () => {
    const body = { userName: 'admin', password: 'open sesame' };
    const answer = { ...examples.session, token: fakeSealer.seal('the-token') };

    it('seals the password, opens the token and keeps both out of logs', async () => {
      gateway.services.on(signIn, answer);
      const response = await inject({ method: 'POST', url: '/sessions', headers: {}, payload: body });
      expect(response.statusCode).toBe(201);
      expect(response.json()).toMatchObject({ token: 'the-token', principal: { userName: 'admin' } });
      const asked = gateway.services.last(signIn);
      expect(asked).toMatchObject({ userName: 'admin', clientAddress: '127.0.0.1' });
      expect(fakeSealer.open(asked?.password ?? fakeSealer.seal(''))).toBe('open sesame');
      expect(response.headers['set-cookie']).toBeUndefined();
      expect(JSON.stringify(gateway.logger.lines)).not.toMatch(/open sesame|the-token/);
    });

    it('sets an HttpOnly SameSite=Strict cookie when asked, which is then enough', async () => {
      gateway.services.on(signIn, { ...answer, token: fakeSealer.seal(tokens.auditor) });
      const response = await inject({
        method: 'POST',
        url: '/sessions',
        headers: {},
        payload: { ...body, cookie: true },
      });
      const cookie = String(response.headers['set-cookie']);
      expect(cookie).toMatch(
        /^casvault_session=token-auditor; Expires=.+; Path=\/api; HttpOnly; SameSite=Strict$/,
      );
      const me = await inject({ url: '/me', headers: { cookie: cookie.split(';')[0] ?? '' } });
      expect(me.json()).toMatchObject({ userName: 'auditor' });
    });

    it('refuses the cookie on a change that comes from another site', async () => {
      const response = await inject({
        method: 'DELETE',
        url: '/sessions/current',
        headers: { cookie: `casvault_session=${tokens.auditor}`, 'sec-fetch-site': 'cross-site' },
      });
      expect(response.statusCode).toBe(403);
    });

    it('tells a throttled caller when to come again', async () => {
      const fault = new Fault('LOGIN_THROTTLED', 'too many failures', {
        details: { retryAfterSeconds: 17.2 },
      });
      gateway.services.on(signIn, fault);
      const response = await inject({ method: 'POST', url: '/sessions', headers: {}, payload: body });
      expect(response.statusCode).toBe(429);
      expect(response.headers['retry-after']).toBe('18');
      expect(problemOf(response).code).toBe('LOGIN_THROTTLED');
    });

    it('signs out by the hash of the token, and asks anew for it afterwards', async () => {
      gateway.services.on(signOut, {});
      const response = await inject({ method: 'DELETE', url: '/sessions/current' });
      expect(response.statusCode).toBe(204);
      expect(gateway.services.last(signOut)?.tokenHash).toMatch(/^[0-9a-f]{64}$/);
      const before = gateway.services.asked.length;
      await inject({ url: '/me' });
      expect(gateway.services.asked.slice(before).map(({ name }) => name)).toEqual(['authenticate']);
    });
  });

  describe('who may', () => {
    it.each([
      ['no token', {}],
      ['an unknown token', { authorization: 'Bearer what' }],
      ['another scheme', { authorization: 'Basic YTpi' }],
      [
        'a scheme before a good cookie',
        { authorization: 'Basic YTpi', cookie: `casvault_session=${tokens.auditor}` },
      ],
    ])('answers 401 to %s', async (_name, headers) => {
      const response = await inject({ url: '/me', headers: headers });
      expect(response.statusCode).toBe(401);
      expect(response.headers['www-authenticate']).toBe('Bearer realm="casvault"');
      expect(problemOf(response)).toMatchObject({ code: 'UNAUTHENTICATED', instance: '/api/v1/me' });
    });

    it('asks licensing-auth once for many requests of one token', async () => {
      await Promise.all([inject({ url: '/me' }), inject({ url: '/me' })]);
      await inject({ url: '/me' });
      expect(gateway.services.asked).toHaveLength(1);
    });

    it('lets an API token make no tokens', async () => {
      const response = await inject({
        method: 'POST',
        url: '/api-tokens',
        headers: bearer('apiToken'),
        payload: { name: 'x' },
      });
      expect(response.statusCode).toBe(403);
      expect(gateway.services.last(createApiToken)).toBeUndefined();
    });
  });

  describe('input', () => {
    it('lists every wrong field with rule and value, and never a secret', async () => {
      const response = await inject({
        method: 'POST',
        url: '/platforms',
        payload: {
          name: '',
          address: '192.0.2.1',
          port: 70_000,
          sll: 'do-not-echo-1',
          userName: 'admin',
          password: 42,
          diskService: 'do-not-echo-2',
        },
      });
      expect(response.statusCode).toBe(400);
      const { errors, code } = problemOf(response);
      expect(code).toBe('INPUT_INVALID');
      expect(errors).toEqual([
        { field: 'name', rule: 'Too small: expected string to have >=1 characters', value: '' },
        { field: 'port', rule: 'Too big: expected number to be <=65535', value: 70_000 },
        { field: 'password', rule: 'expected string, received number' },
        { field: 'diskService', rule: 'expected object, received string' },
        { field: 'sll', rule: 'is not known here' },
      ]);
      expect(response.body).not.toMatch(/do-not-echo|"value":42/);
    });

    it('shows no secret in the place of another field either', async () => {
      const response = await inject({
        method: 'POST',
        url: '/platforms',
        payload: {
          name: 'x',
          address: '192.0.2.1',
          port: 'do-not-echo-1',
          ssl: 'say do-not-echo-2',
          userName: 7,
          password: 'do-not-echo-1',
          diskService: { port: 8192, token: 'do-not-echo-2' },
        },
      });
      expect(problemOf(response).errors).toEqual([
        { field: 'ssl', rule: 'expected boolean, received string' },
        { field: 'port', rule: 'expected number, received string' },
        { field: 'userName', rule: 'expected string, received number', value: 7 },
      ]);
    });

    it('refuses unknown fields however deep, and in the query', async () => {
      const payload = {
        name: 'x',
        plans: [{ type: 'manual' }],
        definition: {
          kind: 'backup',
          vmIds: [examples.ids.vm],
          poolId: examples.ids.pool,
          options: { compression: { mode: 'fast', level: 3 } },
        },
      };
      const deep = await inject({ method: 'POST', url: '/jobs', payload });
      expect(problemOf(deep).errors).toEqual([
        { field: 'definition.options.compression.level', rule: 'is not known here' },
      ]);
      const query = await inject({ url: '/vms?serach=erp&limit=0' });
      expect(problemOf(query).errors).toEqual([
        { field: 'limit', rule: 'Too small: expected number to be >=1', value: '0' },
        { field: 'serach', rule: 'is not known here' },
      ]);
    });

    it('refuses an id that is none', async () => {
      const response = await inject({ url: '/vms/42' });
      expect(problemOf(response).errors).toEqual([
        { field: 'vmId', rule: 'must be a UUID (VmId)', value: '42' },
      ]);
    });

    it.each([
      ['broken JSON', '{"password": "do-not-echo"', 400],
      ['a poisoned prototype', '{"__proto__": {"do-not-echo": 1}}', 400],
      ['too much', JSON.stringify({ userName: 'x'.repeat(1024 * 1024) }), 413],
    ])('refuses %s', async (_name, payload, status) => {
      const headers = { 'content-type': 'application/json' };
      const response = await inject({ method: 'POST', url: '/sessions', headers, payload });
      expect(response.statusCode).toBe(status);
      expect(problemOf(response).code).toBe('INPUT_INVALID');
      expect(response.body).not.toContain('do-not-echo');
    });

    it('takes JSON alone', async () => {
      const headers = { 'content-type': 'application/x-www-form-urlencoded' };
      const response = await inject({ method: 'POST', url: '/sessions', headers, payload: 'userName=x' });
      expect(response.statusCode).toBe(415);
    });

    it.each(['/nowhere', '/vms/x/y', '/%zz'])('answers %s with a problem', async (url) => {
      const response = await inject({ url });
      expect([400, 404]).toContain(response.statusCode);
      problemOf(response);
    });

    it('names the methods that a path has', async () => {
      const response = await inject({ method: 'PUT', url: '/vms' });
      expect(response.statusCode).toBe(405);
      expect(response.headers['allow']).toBe('GET');
      expect(problemOf(response).status).toBe(405);
    });
  });

  describe('what is passed on', () => {
    const platformBody = {
      name: 'CAS',
      address: '192.0.2.1',
      userName: 'admin',
      password: 'pw',
      diskService: { token: 'tk' },
    };

    it.each([
      [{}, 8080],
      [{ ssl: true }, 8443],
      [{ ssl: true, port: 443 }, 443],
    ])('registers a platform with %j on port %d, secrets sealed', async (extra, port) => {
      gateway.services.on(registerPlatform, examples.platform);
      const response = await inject({
        method: 'POST',
        url: '/platforms',
        payload: { ...platformBody, ...extra },
      });
      expect(response.statusCode).toBe(201);
      expect(response.headers['location']).toBe(`/api/v1/platforms/${examples.ids.platform}`);
      expect(gateway.services.last(registerPlatform)).toMatchObject({
        name: 'CAS',
        connection: { address: '192.0.2.1', port, password: fakeSealer.seal('pw'), sslIgnoreErrors: false },
        diskService: { port: 8192, token: fakeSealer.seal('tk') },
      });
    });

    it('creates pools of both types, and shows no secret even if a service does', async () => {
      const sealed = fakeSealer.seal('s3-secret');
      const leaky = { ...examples.pool, location: { ...examples.pool.location, secretKey: sealed } };
      gateway.services.on(createPool, leaky);
      const object = {
        type: 'object',
        name: 'p',
        endpoint: 'https://s3.example.org',
        bucket: 'backups',
        accessKeyId: 'K',
        secretKey: 's3-secret',
      };
      const response = await inject({ method: 'POST', url: '/pools', payload: object });
      expect(response.statusCode).toBe(201);
      expect(response.body).not.toContain(sealed);
      expect(gateway.services.last(createPool)).toMatchObject({
        type: 'object',
        location: { kind: 's3', bucket: 'backups', secretKey: sealed, region: 'us-east-1' },
      });
      await inject({
        method: 'POST',
        url: '/pools',
        payload: { type: 'standard', name: 'p', path: '/srv/p' },
      });
      expect(gateway.services.last(createPool)).toMatchObject({
        type: 'standard',
        location: { kind: 'fs', path: '/srv/p' },
      });
    });

    it('says on whose behalf it asks', async () => {
      gateway.services.on(stopRun, {});
      const url = `/runs/${examples.ids.run}/stop`;
      const response = await inject({ method: 'POST', url, headers: bearer('operator') });
      expect(response.statusCode).toBe(202);
      expect(gateway.services.asked.at(-1)).toMatchObject({ name: 'stop-run', actor: 'operator' });
    });

    it('pages: limit and cursor in, nextCursor and a Link out', async () => {
      gateway.services.on(listVms, { items: [examples.vm], nextCursor: 'n/e=x t' });
      const response = await inject({ url: '/vms?search=erp&limit=1&cursor=abc' });
      expect(gateway.services.last(listVms)).toEqual({ search: 'erp', limit: 1, cursor: 'abc' });
      expect(response.json()).toMatchObject({ nextCursor: 'n/e=x t' });
      const link = /^<(.+)>; rel="next"$/.exec(String(response.headers['link']))?.[1] ?? '';
      await gateway.app.inject({ url: link, headers: bearer('auditor') });
      expect(gateway.services.last(listVms)).toEqual({ search: 'erp', limit: 1, cursor: 'n/e=x t' });
    });
  });

  describe('idempotency keys', () => {
    const job = {
      name: 'x',
      plans: [{ type: 'manual' }],
      definition: { kind: 'backup', vmIds: [examples.ids.vm], poolId: examples.ids.pool },
    };
    const idOf = async (headers: Record<string, string>): Promise<string | undefined> => {
      gateway.services.on(createJob, examples.job);
      const response = await inject({ method: 'POST', url: '/jobs', payload: job, headers });
      expect(response.statusCode).toBe(201);
      return gateway.services.last(createJob)?.id;
    };

    it('give the same id for the same caller, path and key, quoted or not', async () => {
      const headers = { ...bearer('operator'), 'idempotency-key': 'k-1' };
      const first = await idOf(headers);
      expect(await idOf(headers)).toBe(first);
      expect(await idOf({ ...headers, 'idempotency-key': '"k-1"' })).toBe(first);
      expect(await idOf({ ...headers, 'idempotency-key': 'k-2' })).not.toBe(first);
      expect(await idOf(bearer('operator'))).not.toBe(await idOf(bearer('operator')));
    });

    it('belong to one parent', async () => {
      gateway.services.on(startRun, examples.run);
      const headers = { ...bearer('operator'), 'idempotency-key': 'k-1' };
      const start = async (jobId: string): Promise<unknown> => {
        await inject({ method: 'POST', url: `/jobs/${jobId}/runs`, headers });
        return gateway.services.last(startRun)?.runId;
      };
      expect(await start(examples.ids.job)).not.toBe(await start(examples.ids.run));
    });

    it('are refused when they cannot be one, and passed on as 422 when a service says so', async () => {
      const bad = { ...bearer('operator'), 'idempotency-key': 'a b' };
      const refused = await inject({ method: 'POST', url: '/jobs', payload: job, headers: bad });
      expect(problemOf(refused).errors?.[0]?.field).toBe('Idempotency-Key');
      gateway.services.on(createJob, new Fault('IDEMPOTENCY_KEY_REUSED', 'another job has this id'));
      const reused = await inject({ method: 'POST', url: '/jobs', payload: job });
      expect(reused.statusCode).toBe(422);
    });
  });

  describe('when things go wrong', () => {
    it('passes on what a service says', async () => {
      gateway.services.on(getVm, new Fault('VM_NOT_FOUND', 'no VM has this id'));
      const response = await inject({ url: `/vms/${examples.ids.vm}` });
      expect(response.statusCode).toBe(404);
      expect(problemOf(response)).toMatchObject({
        type: 'urn:casvault:problem:VM_NOT_FOUND',
        title: 'There is no such virtual machine',
        detail: 'no VM has this id',
      });
    });

    it('answers 503 with Retry-After when nobody answers', async () => {
      const response = await inject({ url: '/runs' });
      expect(response.statusCode).toBe(503);
      expect(response.headers['retry-after']).toBe('5');
      expect(problemOf(response).code).toBe('DEPENDENCY_UNAVAILABLE');
    });

    it('keeps the words of a bug in the log, and gives the trace id', async () => {
      gateway.services.on(getRun, () => {
        throw new TypeError('postgres://user:do-not-echo@host');
      });
      const response = await inject({ url: `/runs/${examples.ids.run}` });
      expect(response.statusCode).toBe(500);
      const problem = problemOf(response);
      expect(response.body).not.toContain('do-not-echo');
      expect(problem.traceId).toBe(response.headers['x-trace-id']);
      expect(gateway.logger.lines).toContainEqual(
        expect.objectContaining({
          level: 'error',
          fields: expect.objectContaining({ traceId: problem.traceId }) as object,
        }),
      );
    });

    it('shows a field that a service refuses like one of its own', async () => {
      const details = { field: 'definition.poolId', rule: 'names no pool', value: examples.ids.pool };
      gateway.services.on(getRun, new Fault('INPUT_INVALID', 'wrong', { details }));
      const response = await inject({ url: `/runs/${examples.ids.run}` });
      expect(problemOf(response).errors).toEqual([details]);
    });
  });

  it('logs each request once, without its query', async () => {
    gateway.services.on(listVms, { items: [], nextCursor: null });
    await inject({ url: '/vms?search=secret-name', headers: bearer('auditor') });
    const lines = gateway.logger.lines.filter(({ message }) => message === 'request served');
    expect(lines).toHaveLength(1);
    expect(lines[0]?.fields).toMatchObject({ path: '/api/v1/vms', status: 200, userName: 'auditor' });
    expect(JSON.stringify(gateway.logger.lines)).not.toContain('secret-name');
  });

  it('sends security headers with every answer', async () => {
    for (const url of ['/vms', '/nowhere', '/healthz']) {
      const { headers } = await inject({ url });
      expect(headers).toMatchObject({
        'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
        'x-content-type-options': 'nosniff',
        'cache-control': 'no-store',
      });
    }
  });
});
