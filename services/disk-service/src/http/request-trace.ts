import { randomBytes } from 'node:crypto';
import type { Fault, Logger } from '@casvault/contracts';
import { context, propagation, SpanKind, SpanStatusCode, trace, type Span } from '@opentelemetry/api';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Metrics } from '../metrics.js';

type TracedRequest = FastifyRequest & { traceId?: string; span?: Span; fault?: Fault };

/** The trace id of a W3C `traceparent` header; null: none, or not one. */
export function traceIdOf(header: unknown): string | null {
  const id =
    typeof header === 'string'
      ? /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}/.exec(header)?.[1]
      : undefined;
  return id === undefined || /^0+$/.test(id) ? null : id;
}

const routeOf = (request: FastifyRequest): string => request.routeOptions.url ?? 'unknown';

function end(request: TracedRequest, status: number): void {
  request.span?.setAttribute('http.response.status_code', status);
  if (status >= 500) request.span?.setStatus({ code: SpanStatusCode.ERROR });
  request.span?.end();
}

/** One span, one log line and one count per request, under the caller's trace when it sent one. */
export function traceRequests(app: FastifyInstance, logger: Logger, metrics: Metrics): void {
  const tracer = trace.getTracer('@casvault/disk-service');
  app.addHook('onRequest', (request: TracedRequest, _reply, done) => {
    const caller = propagation.extract(context.active(), request.headers);
    const attributes = { 'http.request.method': request.method, 'http.route': routeOf(request) };
    const name = `${request.method} ${routeOf(request)}`;
    request.span = tracer.startSpan(name, { kind: SpanKind.SERVER, attributes }, caller);
    const own = request.span.spanContext().traceId;
    request.traceId =
      traceIdOf(request.headers['traceparent']) ?? (/^0+$/.test(own) ? randomBytes(16).toString('hex') : own);
    context.with(trace.setSpan(caller, request.span), done);
  });
  app.addHook('onResponse', (request: TracedRequest, reply, done) => {
    const status = reply.statusCode;
    end(request, status);
    metrics.request(request.method, routeOf(request), status, reply.elapsedTime / 1_000);
    const fields = {
      traceId: request.traceId,
      method: request.method,
      path: request.url.split('?')[0],
      status,
      ms: Math.round(reply.elapsedTime),
      ...(request.fault ? { code: request.fault.code, said: request.fault.message } : {}),
    };
    if (status >= 500) logger.error(fields, 'request failed');
    else if (request.url.startsWith('/v1/openings')) logger.info(fields, 'request');
    else logger.debug(fields, 'request');
    done();
  });
}
