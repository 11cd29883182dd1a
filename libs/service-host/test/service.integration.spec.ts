import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { trace } from '@opentelemetry/api';
import { MessagingClient } from '@casvault/messaging';
import { provisionSchema } from '@casvault/persistence';
import {
  freePort,
  spawnService,
  startNats,
  startOtlpReceiver,
  startPostgres,
  TestLogger,
  until,
  type NatsServer,
  type PostgresServer,
  type RunningProcess,
} from '@casvault/testkit';
import { startTelemetry } from '../src/index.js';
import { echo, note, notes } from './echo-service.js';

const main = fileURLToPath(new URL('./echo-service.js', import.meta.url));

describe('a service', () => {
  let nats: NatsServer;
  let postgres: PostgresServer;
  let client: MessagingClient;
  let environment: Record<string, string>;
  const running: RunningProcess[] = [];
  const start = async (extra: Record<string, string> = {}) => {
    const service = spawnService(main, { env: { ...environment, ...extra } });
    running.push(service);
    await service.sees(/service started/);
    return service;
  };

  beforeAll(async () => {
    nats = await startNats();
    postgres = await startPostgres();
    const rolePrefix = `t${randomBytes(4).toString('hex')}`;
    environment = {
      CASVAULT_NATS_URL: nats.url,
      CASVAULT_DATABASE_URL: await provisionSchema(postgres.adminUrl, 'echo-service', { rolePrefix }),
      CASVAULT_SEALING_KEY: randomBytes(32).toString('base64'),
      CASVAULT_DRAIN_SECONDS: '10',
    };
    client = await MessagingClient.connect({ url: nats.url, service: 'test', logger: new TestLogger() });
  });
  afterEach(async () => {
    for (const service of running.splice(0)) await service.kill9();
  });
  afterAll(async () => {
    await client.close();
    await nats[Symbol.asyncDispose]();
    await postgres[Symbol.asyncDispose]();
  });

  it('reports every configuration problem at once and exits 78', async () => {
    const service = spawnService(main, {
      env: { CASVAULT_NATS_URL: 'http://x', CASVAULT_SEALING_KEY: 'short' },
    });
    expect(await service.exited).toBe(78);
    expect(service.output).toMatch(/CASVAULT_NATS_URL: must be nats/);
    expect(service.output).toMatch(/CASVAULT_SEALING_KEY: must be 32 bytes/);
    expect(service.output).toMatch(/CASVAULT_DATABASE_URL: is not set/);
    expect(service.output).not.toMatch(/short/);
  });

  it('answers queries, carries out commands and hears its own event', async () => {
    const service = await start();
    const reply = await client.request(echo, { text: 'hello' }, { actor: 'admin' });
    expect(reply).toEqual({ text: 'hello', pid: service.pid });
    await expect(client.request(echo, { text: 'x', fail: true })).rejects.toMatchObject({
      name: 'Fault',
      code: 'VM_NOT_FOUND',
      message: 'no vm x',
      details: { text: 'x' },
    });
    await client.send(note, { text: 'first' }, { messageId: 'm1' });
    await client.send(note, { text: 'first' }, { messageId: 'm1' });
    const seen = await until(async () => {
      const now = await client.request(notes, {});
      return now.events.length > 0 ? now : null;
    });
    expect(seen).toMatchObject({ commands: ['first'], events: ['first'] });
    expect(service.output).toMatch(/"actor":"admin","password":"\[secret\]"/);
    expect(await service.stop()).toBe(0);
    expect(service.output).toMatch(/service ended/);
  });

  it('tells its health and metrics, and stays small', async () => {
    const port = await freePort();
    // What Node keeps of its compiling is the tests' alone, and is resident too.
    const service = await start({ CASVAULT_HTTP_PORT: String(port), NODE_DISABLE_COMPILE_CACHE: '1' });
    const get = async (path: string) => fetch(`http://127.0.0.1:${port}${path}`);
    await client.request(echo, { text: 'x' });
    expect((await get('/health/live')).status).toBe(200);
    const ready = await get('/health/ready');
    expect(ready.status).toBe(200);
    expect(await ready.json()).toEqual({ status: 'ready', checks: { nats: true, postgres: true } });
    const metrics = await (await get('/metrics')).text();
    expect(metrics).toMatch(
      /casvault_message_duration_seconds_count\{[^}]*subject="qry.inventory.echo.v1",outcome="ok"/,
    );
    const status = readFileSync(`/proc/${service.pid}/status`, 'utf8');
    const residentMiB = Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
    expect(residentMiB).toBeLessThan(125);
  });

  it('passes one trace on: caller, command, event', async () => {
    await using collector = await startOtlpReceiver();
    const { endpoint } = collector;
    const service = await start({ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint });
    const telemetry = await startTelemetry({ name: 'test', version: '0', endpoint });
    const traceId = await trace.getTracer('test').startActiveSpan('root', async (span) => {
      await client.send(note, { text: 'traced' }, { messageId: 'm-traced' });
      span.end();
      return span.spanContext().traceId;
    });
    await until(async () => (await client.request(notes, {})).events.includes('traced'));
    await service.stop();
    await telemetry.shutdown();
    const names = collector.spans(traceId).map(({ name }) => name);
    expect(names.sort()).toEqual([
      'cmd.inventory.note.v1',
      'evt.inventory.noted.v1',
      'root',
      'send cmd.inventory.note.v1',
      'send evt.inventory.noted.v1',
    ]);
    expect(service.output).toContain(traceId);
  });

  it('starts before NATS is there, and goes on after an outage', async () => {
    await nats.stop();
    const service = spawnService(main, { env: environment });
    running.push(service);
    await service.sees(/NATS is not there yet/);
    await nats.start();
    await service.sees(/service started/);
    await until(() => client.connected);
    expect(await client.request(echo, { text: 'back' })).toMatchObject({ text: 'back' });
    await nats.kill();
    await expect(client.request(echo, { text: 'gone' })).rejects.toMatchObject({
      code: 'DEPENDENCY_UNAVAILABLE',
    });
    await nats.start();
    await client.send(note, { text: 'second' }, { messageId: 'm2' });
    const seen = await until(async () => {
      const now = await client.request(notes, {});
      return now.events.includes('second') ? now : null;
    });
    expect(seen.commands).toContain('second');
  });

  it('ends at once without NATS when told to', async () => {
    const service = spawnService(main, { env: { ...environment, CASVAULT_NATS_URL: 'nats://127.0.0.1:1' } });
    running.push(service);
    await service.sees(/NATS is not there yet/);
    expect(await service.stop(5_000)).toBe(0);
  });
});
