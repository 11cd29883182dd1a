import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { HypervisorHost } from './hypervisor-host.js';

describe('traces', () => {
  let host: HypervisorHost;
  let collector: Server;
  let received = '';

  beforeAll(async () => {
    collector = createServer((incoming, reply) => {
      incoming.on('data', (chunk: Buffer) => (received += chunk.toString('latin1')));
      incoming.on('end', () => reply.writeHead(200, { 'content-type': 'application/json' }).end('{}'));
    });
    await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve));
    host = await HypervisorHost.start('21500-21599');
    const { port } = collector.address() as AddressInfo;
    await host.startService({ OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${String(port)}` });
  });
  afterAll(async () => {
    await host.stop();
    await new Promise((resolve) => collector.close(resolve));
  });

  test('a request is a span of its caller’s trace, and holds no secret', async () => {
    const traceId = '0af7651916cd43dd8448eb211c80319c';
    const headers = {
      authorization: `Bearer ${host.token}`,
      traceparent: `00-${traceId}-b7ad6b7169203331-01`,
    };
    expect((await fetch(`${host.url}/v1/openings`, { headers })).status).toBe(200);
    await host.stopService('SIGTERM');
    const body = JSON.parse(received.slice(received.indexOf('{'))) as {
      resourceSpans: {
        scopeSpans: { spans: { name: string; traceId: string; parentSpanId?: string }[] }[];
      }[];
    };
    const spans = body.resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap((scope) => scope.spans));
    expect(spans.filter((span) => span.traceId === traceId)).toEqual([
      expect.objectContaining({ name: 'GET /v1/openings', parentSpanId: 'b7ad6b7169203331' }),
    ]);
    expect(received).not.toContain(host.token);
  });
});
