import { metrics, trace } from '@opentelemetry/api';
import { startOtlpReceiver, startPrometheus, until } from '@casvault/testkit';
import { HealthServer } from '../src/health-server.js';
import { startTelemetry } from '../src/index.js';

interface Exemplars {
  readonly seriesLabels: Readonly<Record<string, string>>;
  readonly exemplars: readonly {
    readonly labels: Readonly<Record<string, string>>;
    readonly value: string;
  }[];
}

it('H4: a real Prometheus leads from a bucket of a histogram to a trace that the collector has', async () => {
  await using resources = new AsyncDisposableStack();
  const otlp = resources.use(await startOtlpReceiver());
  const telemetry = await startTelemetry({ name: 'test', version: '0', endpoint: otlp.endpoint });
  const health = new HealthServer(telemetry);
  const port = await health.listen('127.0.0.1', 0);
  resources.defer(() => health.close());
  const meter = metrics.getMeter('test');
  const bounds = { advice: { explicitBucketBoundaries: [0.1, 1] } };
  const seconds = meter.createHistogram('x.work_seconds', { description: 'Says "how\\long"', ...bounds });
  const done = meter.createCounter('x_done_total', { description: 'Done' });
  meter.createObservableGauge('x_left').addCallback((result) => result.observe(7, { of: 'a' }));

  const attributes = { 'http.route': '/a/{id}', odd: 'a "b",c="d" \\ e\nf', code: 200 };
  const traceIds: string[] = [];
  const inTrace = (value: number): void =>
    trace.getTracer('test').startActiveSpan('work', (span) => {
      seconds.record(value, attributes);
      traceIds.push(span.spanContext().traceId);
      span.end();
    });
  seconds.record(0.05, attributes);
  for (const value of [0.4, 0.5, 30]) inTrace(value);
  done.add(4);

  const prometheus = resources.use(await startPrometheus([`127.0.0.1:${port}`]));
  const now = Date.now() / 1_000;
  const during = { start: String(now - 60), end: String(now + 3_600) };
  const found = await until(async () => {
    const query = { query: 'x_work_seconds_bucket', ...during };
    const [series, ...more] = (await prometheus.ask('query_exemplars', query)) as Exemplars[];
    return series && more.length > 0 ? [series, ...more] : null;
  });
  const led = found.map(({ seriesLabels, exemplars }) => [
    seriesLabels['le'],
    exemplars.map(({ labels, value }) => [labels['trace_id'], value]),
  ]);
  // Of a bucket the last; none of what was measured outside a trace.
  expect(Object.fromEntries(led)).toEqual({ '1': [[traceIds[1], '0.5']], '+Inf': [[traceIds[2], '30']] });
  expect(found[0]?.seriesLabels).toMatchObject({ http_route: '/a/{id}', odd: attributes.odd, code: '200' });

  const valueOf = async (query: string): Promise<string | undefined> => {
    const { result } = (await prometheus.ask('query', { query })) as {
      result: { value: [number, string] }[];
    };
    return result[0]?.value[1];
  };
  const queries = [
    'x_work_seconds_count',
    'x_done_total',
    'x_left',
    'up',
    'process_resident_memory_bytes > 1',
  ];
  const values: (string | undefined)[] = [];
  for (const query of queries) values.push(await valueOf(query));
  expect(values).toEqual(['4', '4', '7', '1', expect.stringMatching(/^\d+$/) as string]);
  await telemetry.shutdown();
  for (const traceId of traceIds) expect(otlp.spans(traceId)).toHaveLength(1);
});
