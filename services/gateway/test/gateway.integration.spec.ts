import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { request as httpsRequest } from 'node:https';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import {
  authenticate,
  Fault,
  getRun,
  listPoints,
  listVms,
  newId,
  problemSchema,
  registerPlatform,
  runChanged,
  runDetailSchema,
  type RunDetail,
  type RunState,
} from '@casvault/contracts';
import { createSealer } from '@casvault/service-host';
import {
  freePort,
  spawnService,
  startNats,
  tempDir,
  until,
  type NatsServer,
  type RunningProcess,
} from '@casvault/testkit';
import * as examples from '../src/api/examples.js';
import { ScriptedResponder } from '../src/testing/scripted-responder.js';
import { bearer, knownTokens } from '../src/testing/test-gateway.js';

const main = fileURLToPath(new URL('../src/main.js', import.meta.url));
const sealingKey = Buffer.alloc(32, 9).toString('base64');

const run = (doneBytes: number, state: RunState = 'running'): RunDetail =>
  runDetailSchema.parse({ ...examples.runDetail, doneBytes, state });

/** The gateway as a process of its own, over a real NATS server, with scripted services behind it. */
describe('the gateway', () => {
  let nats: NatsServer;
  let responder: ScriptedResponder;
  let gateway: RunningProcess;
  let origin: string;
  let healthPort: number;

  const environment = async (port: number): Promise<Record<string, string>> => ({
    CASVAULT_NATS_URL: nats.url,
    CASVAULT_SEALING_KEY: sealingKey,
    CASVAULT_GATEWAY_PORT: String(port),
    CASVAULT_HTTP_PORT: String(healthPort),
  });
  const startGateway = async (): Promise<void> => {
    const port = await freePort();
    healthPort = await freePort();
    gateway = spawnService(main, { env: await environment(port) });
    origin = `http://127.0.0.1:${port}`;
    await gateway.sees(/service started/);
  };

  beforeAll(async () => {
    nats = await startNats();
    responder = await ScriptedResponder.start(nats.url, ({ name }) => name !== 'list-jobs');
    await startGateway();
  });
  beforeEach(() => {
    responder.services.on(authenticate, knownTokens);
  });
  afterAll(async () => {
    await gateway.stop();
    await responder.stop();
    await nats[Symbol.asyncDispose]();
  });

  const ask = (path: string, init: RequestInit = {}): Promise<Response> =>
    fetch(`${origin}/api/v1${path}`, { ...init, headers: { ...bearer('administrator'), ...init.headers } });
  const publish = (state: RunDetail): Promise<void> =>
    responder.client.publish(runChanged, state, { messageId: newId() });

  it('serves its health and its document without a sign-in', async () => {
    const health = await fetch(`${origin}/api/v1/healthz`);
    expect(await health.json()).toMatchObject({ status: 'ok' });
    const document: unknown = await (await fetch(`${origin}/api/v1/openapi.json`)).json();
    const committed = new URL('../../../../docs/api/openapi.json', import.meta.url);
    expect(document).toEqual(JSON.parse(await readFile(committed, 'utf8')));
  });

  it('asks the services over NATS, for the caller, within the same trace', async () => {
    responder.services.on(listVms, { items: [examples.vm], nextCursor: null });
    const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
    const response = await ask('/vms?search=erp', {
      headers: { traceparent: `00-${traceId}-00f067aa0ba902b7-01` },
    });
    expect(await response.json()).toEqual({ items: [examples.vm], nextCursor: null });
    expect(response.headers.get('x-trace-id')).toBe(traceId);
    expect(response.headers.get('traceresponse')).toMatch(new RegExp(`^00-${traceId}-[0-9a-f]{16}-01$`));
    expect(responder.services.asked.at(-1)).toEqual({
      name: 'list-vms',
      request: { search: 'erp', limit: 50 },
      actor: 'administrator',
    });
    await until(() => gateway.output.includes(`"traceId":"${traceId}"`));
  });

  it('lets no secret into messages or logs in clear', async () => {
    responder.services.on(registerPlatform, examples.platform);
    const response = await ask('/platforms', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        name: 'CAS',
        address: '192.0.2.1',
        userName: 'admin',
        password: 'clear-password',
        diskService: { token: 'clear-token' },
      }),
    });
    expect(response.status).toBe(201);
    const asked = responder.services.last(registerPlatform);
    expect(JSON.stringify(asked)).not.toContain('clear-');
    const sealer = createSealer(sealingKey);
    expect(sealer.open(asked?.connection.password ?? '')).toBe('clear-password');
    expect(sealer.open(asked?.diskService.token ?? '')).toBe('clear-token');
    expect(gateway.output).not.toMatch(/clear-password|clear-token|token-administrator/);
  });

  it('says that a service is away, and that one is too slow', async () => {
    const away = await ask('/jobs');
    expect(away.status).toBe(503);
    expect(away.headers.get('retry-after')).toBe('5');
    expect(problemSchema.parse(await away.json()).code).toBe('DEPENDENCY_UNAVAILABLE');
    responder.services.on(authenticate, () => sleep(5_500));
    const slow = await fetch(`${origin}/api/v1/me`, { headers: { authorization: 'Bearer never-seen' } });
    expect(slow.status).toBe(503);
    expect(problemSchema.parse(await slow.json()).code).toBe('DEADLINE_EXCEEDED');
  });

  describe('the events of a run', () => {
    const watch = async (): Promise<{ response: Response; next: (pattern: RegExp) => Promise<string> }> => {
      const response = await ask(`/runs/${examples.ids.run}/events`, { headers: { 'last-event-id': '41' } });
      const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
      let text = '';
      const next = async (pattern: RegExp): Promise<string> => {
        while (!pattern.test(text)) {
          const chunk = await reader?.read();
          if (chunk === undefined || chunk.done) throw new Error(`ended before ${pattern}: ${text}`);
          text += chunk.value;
        }
        const seen = text;
        text = '';
        return seen;
      };
      return { response, next };
    };

    it('begin with its state, follow its changes, and end with it', async () => {
      responder.services.on(getRun, run(1));
      const { response, next } = await watch();
      expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
      expect(await next(/"doneBytes":1,.*\n\n/)).toMatch(/^retry: 2000\n\nevent: run\ndata: \{/);
      await publish(run(2));
      await next(/"doneBytes":2,.*\n\n/);
      await publish(run(3, 'succeeded'));
      expect(await next(/event: end\n.*\n\n/)).toContain('data: {"state":"succeeded"}');
      await expect(next(/anything/)).rejects.toThrow('ended before');
    });

    it('are let go when the reader leaves', async () => {
      responder.services.on(getRun, run(1));
      const leaving = new AbortController();
      const open = async (): Promise<number> => {
        const metrics = await (await fetch(`http://127.0.0.1:${healthPort}/metrics`)).text();
        return Number(/^http_server_active_requests\{.*\} (\d+)/m.exec(metrics)?.[1]);
      };
      const response = await ask(`/runs/${examples.ids.run}/events`, { signal: leaving.signal });
      expect(response.status).toBe(200);
      expect(await open()).toBe(1);
      leaving.abort();
      await until(async () => (await open()) === 0);
    });

    it('do not exist for a run that does not', async () => {
      responder.services.on(getRun, new Fault('NOT_FOUND', 'no run has this id'));
      const { response } = await watch();
      expect(response.status).toBe(404);
      expect(response.headers.get('content-type')).toBe('application/problem+json');
    });

    it('come again after NATS was away, as does everything else', async () => {
      responder.services.on(getRun, run(1)).on(listPoints, { items: [], nextCursor: null });
      const { next } = await watch();
      await next(/"doneBytes":1,/);
      await nats.stop();
      await until(async () => (await fetch(`${origin}/api/v1/healthz`)).status === 503);
      expect((await ask('/points')).status).toBe(503);
      await nats.start();
      await until(async () => (await fetch(`${origin}/api/v1/healthz`)).status === 200);
      await until(async () => (await ask('/points')).status === 200);
      await until(() => responder.client.connected);
      await publish(run(5, 'failed'));
      await next(/"doneBytes":5,.*\n\n[^]*event: end/);
    });

    it('end when the gateway is told to end, which it does at once', async () => {
      responder.services.on(getRun, run(1));
      const { next } = await watch();
      await next(/"doneBytes":1,/);
      const begun = performance.now();
      expect(await gateway.stop()).toBe(0);
      expect(performance.now() - begun).toBeLessThan(10_000);
      await expect(next(/anything/)).rejects.toThrow();
      await startGateway();
    });
  });

  it('measures rate, errors and duration by route', async () => {
    await ask('/chains/nowhere');
    await ask('/vms');
    const metrics = await (await fetch(`http://127.0.0.1:${healthPort}/metrics`)).text();
    expect(metrics).toMatch(
      /http_server_request_duration_(seconds_)?count\{[^}]*http_route="\/api\/v1\/vms"[^}]*\} [1-9]/,
    );
    expect(metrics).not.toContain('nowhere');
  });

  it('answers with a problem to what is no HTTP', async () => {
    const socket = connect(Number(new URL(origin).port), '127.0.0.1');
    socket.write('what is this\r\n\r\n');
    let answer = '';
    for await (const chunk of socket) answer += String(chunk);
    expect(answer).toMatch(/^HTTP\/1.1 400 [^]*application\/problem\+json[^]*"code":"INPUT_INVALID"/);
  });

  it('does not start with a configuration that is wrong, and says all that is', async () => {
    const broken = spawnService(main, { env: { CASVAULT_GATEWAY_PORT: 'x', CASVAULT_SEALING_KEY: 'short' } });
    expect(await broken.exited).toBe(78);
    for (const name of ['CASVAULT_NATS_URL', 'CASVAULT_GATEWAY_PORT', 'CASVAULT_SEALING_KEY'])
      expect(broken.output).toContain(name);
    expect(broken.output).not.toContain('short');
  });

  it('speaks HTTPS with a certificate', async () => {
    const place = await tempDir('gateway-tls');
    const [cert, key] = [join(place.path, 'cert.pem'), join(place.path, 'key.pem')];
    const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1'];
    const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
    await promisify(execFile)('openssl', [
      'req',
      '-x509',
      ...newKey,
      ...subject,
      '-keyout',
      key,
      '-out',
      cert,
    ]);
    const port = await freePort();
    const env = { ...(await environment(port)), CASVAULT_HTTP_PORT: '' };
    const secure = spawnService(main, {
      env: { ...env, CASVAULT_GATEWAY_TLS_CERT_FILE: cert, CASVAULT_GATEWAY_TLS_KEY_FILE: key },
    });
    try {
      await secure.sees(/service started/);
      const ca = await readFile(cert, 'utf8');
      const status = await new Promise((resolve, reject) =>
        httpsRequest({ host: '127.0.0.1', port, path: '/api/v1/healthz', ca }, (response) => {
          response.resume();
          resolve([response.statusCode, response.headers['strict-transport-security']]);
        })
          .on('error', reject)
          .end(),
      );
      expect(status).toEqual([200, 'max-age=31536000']);
    } finally {
      await secure.stop();
      await place.remove();
    }
  });
});
