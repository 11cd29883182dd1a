import { startOtlpReceiver, type OtlpReceiver } from '@casvault/testkit';
import { HypervisorHost } from './hypervisor-host.js';

describe('traces', () => {
  let host: HypervisorHost;
  let collector: OtlpReceiver;

  beforeAll(async () => {
    collector = await startOtlpReceiver();
    host = await HypervisorHost.start('21500-21599');
    await host.startService({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint });
  });
  afterAll(async () => {
    await host.stop();
    await collector[Symbol.asyncDispose]();
  });

  test('a request is a span of its caller’s trace, and holds no secret', async () => {
    const traceId = '0af7651916cd43dd8448eb211c80319c';
    const headers = {
      authorization: `Bearer ${host.token}`,
      traceparent: `00-${traceId}-b7ad6b7169203331-01`,
    };
    expect((await fetch(`${host.url}/v1/openings`, { headers })).status).toBe(200);
    await host.stopService('SIGTERM');
    expect(collector.spans(traceId)).toEqual([
      expect.objectContaining({
        service: 'casvault-disk-service',
        name: 'GET /v1/openings',
        kind: 'server',
        parentSpanId: 'b7ad6b7169203331',
      }),
    ]);
    expect(collector.bytes().includes(host.token)).toBe(false);
  });
});
