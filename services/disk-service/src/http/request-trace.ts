import type { Fault, Logger } from '@casvault/contracts';
import {
  context,
  propagation,
  SpanKind,
  SpanStatusCode,
  trace,
  type Context,
  type Span,
} from '@opentelemetry/api';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Metrics } from '../metrics.js';

type TracedRequest = FastifyRequest & { traceId?: string; span?: Span; context?: Context; fault?: Fault };

const routeOf = (request: FastifyRequest): string => request.routeOptions.url ?? 'unknown';

function begin(request: TracedRequest): void {
  const caller = propagation.extract(context.active(), request.headers);
  const attributes = { 'http.request.method': request.method, 'http.route': routeOf(request) };
  const name = `${request.method} ${routeOf(request)}`;
  const span = trace
    .getTracer('casvault.disk-service')
    .startSpan(name, { kind: SpanKind.SERVER, attributes }, caller);
  request.span = span;
  request.context = trace.setSpan(caller, span);
  request.traceId = span.spanContext().traceId;
}

function end({ span, fault }: TracedRequest, status: number): void {
  span?.setAttribute('http.response.status_code', status);
  if (fault) span?.setAttribute('casvault.fault', fault.code);
  if (status >= 500) span?.setStatus({ code: SpanStatusCode.ERROR });
  span?.end();
}

function log(logger: Logger, request: TracedRequest, status: number, ms: number): void {
  const fields = {
    method: request.method,
    path: request.url.split('?')[0],
    status,
    ms: Math.round(ms),
    ...(request.fault ? { code: request.fault.code, said: request.fault.message } : {}),
  };
  if (status >= 500) logger.error(fields, 'request failed');
  else if (request.url.startsWith('/v1/openings')) logger.info(fields, 'request');
  else logger.debug(fields, 'request');
}

/** One span, one log line and one count per request, under the caller's trace when it sent one. */
export function traceRequests(app: FastifyInstance, logger: Logger, metrics: Metrics): void {
  app.addHook('onRequest', (request: TracedRequest, _reply, done) => {
    begin(request);
    done();
  });
  // The last hook before the route, after the body has come: what the route does runs inside the span.
  app.addHook('preHandler', (request: TracedRequest, _reply, done) => {
    context.with(request.context ?? context.active(), done);
  });
  app.addHook('onResponse', (request: TracedRequest, reply, done) => {
    const { statusCode: status, elapsedTime: ms } = reply;
    end(request, status);
    metrics.request(request.method, routeOf(request), status, ms / 1_000);
    context.with(request.context ?? context.active(), () => log(logger, request, status, ms));
    done();
  });
}
