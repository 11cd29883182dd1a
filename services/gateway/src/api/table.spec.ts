import { readFileSync } from 'node:fs';
import { Fault, type Role } from '@casvault/contracts';
import { version } from '../version.js';
import { queries } from '../testing/fake-services.js';
import { bearer, testGateway, type TestGateway } from '../testing/test-gateway.js';
import * as examples from './examples.js';
import { basePath, pathParameters, type Route } from './route.js';
import { routes } from './table.js';

const roles = ['administrator', 'operator', 'auditor'] as const satisfies readonly Role[];

/** Who may do what, written out: a change of a role must be meant. A: administrator, O: operator, R: auditor. */
const mayCall: Record<string, string> = {
  'POST /sessions': 'public',
  'DELETE /sessions/current': 'signed-in',
  'GET /me': 'signed-in',
  'POST /api-tokens': 'signed-in',
  'GET /api-tokens': 'signed-in',
  'DELETE /api-tokens/{apiTokenId}': 'signed-in',
  'POST /platforms': 'A',
  'GET /platforms': 'AOR',
  'GET /platforms/{platformId}': 'AOR',
  'DELETE /platforms/{platformId}': 'A',
  'POST /platforms/{platformId}/reconciliation': 'AO',
  'POST /platforms/{platformId}/diagnosis': 'AO',
  'POST /platforms/{platformId}/sync': 'AO',
  'GET /platforms/{platformId}/hosts': 'AOR',
  'GET /platforms/{platformId}/storages': 'AOR',
  'GET /platforms/{platformId}/switches': 'AOR',
  'GET /platforms/{platformId}/profiles': 'AOR',
  'GET /platforms/{platformId}/images': 'AOR',
  'GET /vms': 'AOR',
  'GET /vms/{vmId}': 'AOR',
  'DELETE /vms/{vmId}/trackers': 'AO',
  'GET /backup-hosts': 'AOR',
  'POST /pools': 'A',
  'GET /pools': 'AOR',
  'GET /pools/{poolId}': 'AOR',
  'POST /jobs': 'AO',
  'GET /jobs': 'AOR',
  'GET /jobs/{jobId}': 'AOR',
  'PUT /jobs/{jobId}': 'AO',
  'PUT /jobs/{jobId}/enabled': 'AO',
  'POST /jobs/{jobId}/clones': 'AO',
  'DELETE /jobs/{jobId}': 'AO',
  'POST /jobs/check': 'AOR',
  'POST /plans/preview': 'AOR',
  'POST /restores/preview': 'AO',
  'POST /backups/preview': 'AO',
  'POST /contents/preview': 'AOR',
  'POST /jobs/{jobId}/runs': 'AO',
  'GET /runs': 'AOR',
  'GET /runs/{runId}': 'AOR',
  'POST /runs/{runId}/stop': 'AO',
  'GET /runs/{runId}/log': 'AOR',
  'GET /runs/{runId}/events': 'AOR',
  'GET /points': 'AOR',
  'GET /points/{pointId}': 'AOR',
  'GET /points/{pointId}/verification': 'AOR',
  'GET /verifications/{verificationId}': 'AOR',
  'POST /points/{pointId}/rollback': 'AO',
  'POST /points/{pointId}/disks/{target}/volumes': 'AO',
  'POST /points/{pointId}/images': 'AO',
  'POST /points/{pointId}/verification': 'AO',
  'GET /points/{pointId}/disks/{target}/content': 'AO',
  'GET /chains': 'AOR',
  'GET /chains/{chainId}': 'AOR',
  'POST /chains/{chainId}/points': 'AO',
  'PUT /points/{pointId}/hold': 'AO',
  'DELETE /points/{pointId}/hold': 'AO',
  'DELETE /verifications/{verificationId}': 'AO',
  'PUT /chains/{chainId}/hold': 'AO',
  'DELETE /chains/{chainId}/hold': 'AO',
  'POST /licences': 'A',
  'GET /licences': 'AOR',
  'POST /deletions': 'AO',
  'GET /deletions': 'AOR',
  'GET /deletions/{deletionId}': 'AOR',
  'POST /deletions/{deletionId}/confirmation': 'AO',
  'DELETE /deletions/{deletionId}': 'AO',
  'GET /alerts': 'AOR',
  'PUT /alerts/{alertId}/acknowledgement': 'AO',
  'POST /alert-channels': 'A',
  'GET /alert-channels': 'A',
  'GET /alert-channels/{channelId}': 'A',
  'PUT /alert-channels/{channelId}': 'A',
  'DELETE /alert-channels/{channelId}': 'A',
  'POST /alert-channels/{channelId}/test': 'A',
  'GET /healthz': 'public',
  'GET /openapi.json': 'public',
};

const initials: Record<Role, string> = { administrator: 'A', operator: 'O', auditor: 'R' };
const nameOf = ({ method, path }: Route): string => `${method} ${path}`;
const accessOf = ({ access }: Route): string =>
  typeof access === 'string' ? access : access.map((role) => initials[role]).join('');
const each = routes.map((route): [string, Route] => [nameOf(route), route]);

describe('the route table', () => {
  it('gives every route to exactly those who may', () => {
    expect(Object.fromEntries(routes.map((route) => [nameOf(route), accessOf(route)]))).toEqual(mayCall);
  });

  it('has every operation id and every path once', () => {
    expect(new Set(routes.map(({ id }) => id)).size).toBe(routes.length);
    expect(new Set(routes.map(nameOf)).size).toBe(routes.length);
  });

  it.each(each)('%s names its parameters, and its examples hold', (_name, route) => {
    expect(Object.keys(route.params?.shape ?? {})).toEqual(pathParameters(route.path));
    for (const body of [route.example.body, ...Object.values(route.otherBodies ?? {})])
      route.body?.parse(body);
    if (route.reply !== undefined)
      expect(route.reply.parse(route.example.reply)).toEqual(route.example.reply);
  });

  it('lets an auditor change nothing of the installation', () => {
    const writable = routes.filter(
      ({ method, access }) => method !== 'GET' && typeof access !== 'string' && access.includes('auditor'),
    );
    // They compute, and keep nothing.
    expect(writable.map(nameOf)).toEqual([
      'POST /jobs/check',
      'POST /plans/preview',
      'POST /contents/preview',
    ]);
  });

  it('takes an idempotency key wherever something is made, and says where it is', () => {
    const making = routes.filter(
      ({ method, status, id }) => method === 'POST' && status === 201 && id !== 'signIn',
    );
    expect(making.filter(({ idempotent }) => idempotent !== true).map(nameOf)).toEqual([]);
    const placed = making.filter(({ location }) => location === undefined).map(nameOf);
    expect(placed).toEqual(['POST /api-tokens']);
  });

  it('is of the version that is released', () => {
    const manifest: unknown = JSON.parse(
      readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'),
    );
    expect(manifest).toMatchObject({ version });
  });
});

describe('every route, served', () => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await testGateway();
  });
  afterAll(() => gateway.stop());

  const urlOf = (path: string): string => basePath + path.replaceAll(/\{\w+\}/g, examples.ids.run);
  /** Every service answers every query with the example of the route. */
  const script = (reply: unknown): void => {
    for (const query of queries)
      if (query.name !== 'authenticate') gateway.services.on(query, () => reply ?? {});
  };
  const sealedTokens = (reply: unknown): unknown =>
    typeof reply === 'object' && reply !== null && 'token' in reply
      ? { ...reply, token: gateway.world.sealer.seal(String(reply.token)) }
      : reply;
  const ended = { ...examples.runDetail, state: 'succeeded' };
  const call = (route: Route, headers: Record<string, string>) =>
    gateway.app.inject({
      method: route.method,
      url: urlOf(route.path),
      headers,
      ...(route.body === undefined ? {} : { payload: route.example.body as object }),
    });

  const told = each.filter(([, { bytes }]) => bytes !== true);
  it.each(told)('%s answers its example to those who may, and 401 or 403 to others', async (_name, route) => {
    script(route.stream === true ? ended : sealedTokens(route.example.reply));
    for (const role of roles) {
      const response = await call(route, bearer(role));
      const may = typeof route.access === 'string' || route.access.includes(role);
      expect([role, response.statusCode]).toEqual([role, may ? route.status : 403]);
    }
    const stranger = await call(route, {});
    expect(stranger.statusCode).toBe(route.access === 'public' ? route.status : 401);
  });

  it.each(each.filter(([, { reply, id }]) => reply !== undefined && id !== 'getOpenApi'))(
    '%s answers with its example',
    async (_name, route) => {
      script(sealedTokens(route.example.reply));
      const expected =
        route.id === 'getMe'
          ? { ...examples.principal, userName: 'administrator' }
          : route.id === 'getHealth'
            ? { status: 'ok', version: '0.0.0' }
            : route.example.reply;
      expect((await call(route, bearer('administrator'))).json()).toEqual(expected);
    },
  );

  it.each(each.filter(([, { access }]) => access !== 'public'))(
    '%s passes on that its service fails',
    async (_name, route) => {
      if (route.id === 'getMe') return;
      script(new Fault('DEADLINE_EXCEEDED', 'no answer in time'));
      const response = await call(route, bearer('administrator'));
      expect(response.statusCode).toBe(503);
      expect(response.headers['retry-after']).toBeDefined();
    },
  );
});
