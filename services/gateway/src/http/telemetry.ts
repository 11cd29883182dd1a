import { newId, type Logger } from '@casvault/contracts';
import {
  context,
  isSpanContextValid,
  metrics,
  propagation,
  SpanKind,
  SpanStatusCode,
  trace,
  type Span,
} from '@opentelemetry/api';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { pathOf, recordOf, setRecord } from './request-record.js';

const name = 'casvault-gateway';

/** The pattern of the path, so that ids make no new series; what no route serves shares one. */
const patternOf = (request: FastifyRequest): string => request.routeOptions.url ?? 'unknown';

const startSpan = (request: FastifyRequest): void => {
  const parent = propagation.extract(context.active(), request.headers);
  const span = trace.getTracer(name).startSpan(
    `${request.method} ${patternOf(request)}`,
    {
      kind: SpanKind.SERVER,
      attributes: {
        'http.request.method': request.method,
        'http.route': patternOf(request),
        'url.path': pathOf(request),
        'client.address': request.ip,
      },
    },
    parent,
  );
  const told = span.spanContext();
  setRecord(request, {
    traceId: isSpanContextValid(told) ? told.traceId : newId().replaceAll('-', ''),
    span,
    context: trace.setSpan(parent, span),
    begunAt: performance.now(),
    caller: null,
    faultCode: null,
  });
};

/** W3C Trace Context level 2 calls this header `traceresponse`. */
const tellTrace = (reply: FastifyReply, span: Span, traceId: string): void => {
  const told = span.spanContext();
  reply.header('X-Trace-Id', traceId);
  if (!isSpanContextValid(told)) return;
  const flags = told.traceFlags.toString(16).padStart(2, '0');
  reply.header('traceresponse', `00-${told.traceId}-${told.spanId}-${flags}`);
};

/** `left`: the client went away before the end of the answer. */
const logAccess = (
  logger: Logger,
  request: FastifyRequest,
  reply: FastifyReply,
  durationMs: number,
): void => {
  const record = recordOf(request);
  logger.info(
    {
      method: request.method,
      path: pathOf(request),
      route: patternOf(request),
      status: reply.statusCode,
      durationMs: Math.round(durationMs * 10) / 10,
      clientAddress: request.ip,
      ...(record?.caller
        ? { userName: record.caller.principal.userName, via: record.caller.principal.via }
        : {}),
      ...(reply.raw.writableFinished ? {} : { left: true }),
      ...(record?.faultCode ? { code: record.faultCode } : {}),
      traceId: record?.traceId,
    },
    'request served',
  );
};

/**
 * One server span, one measurement and one log line for every request. `http_server_request_duration_seconds` gives rate, errors and
 * duration; its attributes are bounded by the route table.
 */
export const addTelemetry = (http: FastifyInstance, logger: Logger): void => {
  const meter = metrics.getMeter(name);
  const duration = meter.createHistogram('http_server_request_duration_seconds', {
    description: 'Time of requests of the API, by method, route and status',
    advice: { explicitBucketBoundaries: [0.005, 0.02, 0.1, 0.5, 2, 10, 60] },
  });
  const active = meter.createUpDownCounter('http_server_active_requests', {
    description: 'Requests of the API under way, event streams included',
  });

  const end = (request: FastifyRequest, reply: FastifyReply): void => {
    const record = recordOf(request);
    const durationMs = performance.now() - (record?.begunAt ?? performance.now());
    const attributes = {
      'http.request.method': request.method,
      'http.route': patternOf(request),
      'http.response.status_code': reply.statusCode,
    };
    active.add(-1, { 'http.request.method': request.method });
    duration.record(durationMs / 1000, attributes, record?.context);
    record?.span.setAttributes(attributes);
    if (reply.statusCode >= 500) record?.span.setStatus({ code: SpanStatusCode.ERROR });
    record?.span.end();
    logAccess(logger, request, reply, durationMs);
  };

  http.addHook('onRequest', (request, reply, done) => {
    startSpan(request);
    const record = recordOf(request);
    if (record !== undefined) tellTrace(reply, record.span, record.traceId);
    active.add(1, { 'http.request.method': request.method });
    // Not onResponse: it does not come when the client leaves before the end.
    reply.raw.once('close', () => end(request, reply));
    done();
  });
  // The last hook before the route: what the route does runs inside the span.
  http.addHook('preHandler', (request, _reply, done) => {
    context.with(recordOf(request)?.context ?? context.active(), done);
  });
};
