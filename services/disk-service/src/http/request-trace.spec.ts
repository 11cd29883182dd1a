import { setImmediate as tick } from 'node:timers/promises';
import { Writable } from 'node:stream';
import { recordSpans } from '@casvault/testkit';
import { fastify } from 'fastify';
import { createLogger } from '../logger.js';
import { Metrics } from '../metrics.js';
import { traceRequests } from './request-trace.js';

const traceId = '0af7651916cd43dd8448eb211c80319c';
const callerSpan = 'b7ad6b7169203331';

describe('a request', () => {
  const recorder = recordSpans();
  const lines: Record<string, unknown>[] = [];
  const sink = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      lines.push(JSON.parse(chunk.toString()) as Record<string, unknown>);
      done();
    },
  });
  const logger = createLogger('info', sink);
  const app = fastify();
  traceRequests(app, logger, new Metrics());
  app.put('/v1/openings/:id', async () => {
    await tick();
    logger.info('from within');
    return {};
  });
  const put = (headers: Record<string, string>) =>
    app.inject({ method: 'PUT', url: '/v1/openings/7?x=y', headers, payload: { a: 1 } });

  beforeEach(() => lines.splice(0));
  afterAll(() => app.close());

  it('is a span of its caller’s trace, with all that is logged meanwhile, once its body has come', async () => {
    await put({ traceparent: `00-${traceId}-${callerSpan}-01` });
    const span = recorder.span('PUT /v1/openings/:id');
    expect(span.spanContext().traceId).toBe(traceId);
    expect(span.parentSpanContext?.spanId).toBe(callerSpan);
    expect(span.attributes).toMatchObject({ 'http.response.status_code': 200 });
    const { spanId } = span.spanContext();
    const common = { service: 'disk-service', level: 'info', traceId, spanId };
    expect(lines).toEqual([
      { ...common, time: expect.stringMatching(/^\d{4}-.*Z$/) as string, msg: 'from within' },
      expect.objectContaining({ ...common, msg: 'request', path: '/v1/openings/7', status: 200 }),
    ]);
  });

  it('begins a trace of its own when the caller sent none, or no real one', async () => {
    for (const traceparent of ['', traceId, `00-${'0'.repeat(32)}-${callerSpan}-01`])
      await put({ traceparent });
    const ids = lines.map((line) => String(line['traceId']));
    expect(new Set(ids).size).toBe(3);
    for (const id of ids) expect(id).toMatch(/^(?!0{32})[0-9a-f]{32}$/);
    expect(ids).not.toContain(traceId);
  });
});
