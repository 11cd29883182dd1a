import type { Socket } from 'node:net';
import type { Logger } from '@casvault/contracts';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { FastifyInstance, FastifyServerOptions } from 'fastify';
import { HttpRefusal, problemOf } from './http/problem.js';
import { ProblemFilter } from './http/problem.filter.js';
import { addSecurityHeaders } from './http/security-headers.js';
import { addTelemetry } from './http/telemetry.js';

export interface HttpOptions {
  /** PEM; both or neither. */
  readonly tls: { readonly cert: string; readonly key: string } | null;
  /** Addresses or networks whose X-Forwarded-For and -Proto are believed. */
  readonly trustedProxies: readonly string[];
}

/** 10,000 VM ids of a job take 400 kB; NATS carries 1 MiB. Memory: bodies in flight x this. */
const bodyLimitBytes = 1024 * 1024;
const requestTimeoutMs = 30_000;

/** Only JSON; a body that is announced but empty is no body. */
const addJsonParser = (http: FastifyInstance): void => {
  const parse = http.getDefaultJsonParser('error', 'error');
  http.removeAllContentTypeParsers();
  http.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    if (body.length === 0) done(null, undefined);
    else void parse.call(http, request, body as string, done);
  });
};

/** What is no HTTP at all is answered on the bare socket. */
const refuseConnection = (error: NodeJS.ErrnoException, socket: Socket): void => {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
  const status =
    error.code === 'HPE_HEADER_OVERFLOW' ? 431 : error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 408 : 400;
  const refusal = new HttpRefusal(
    status,
    status === 431 ? 'the headers are too large' : 'this is no HTTP request',
  );
  const body = JSON.stringify(problemOf(refusal, { path: '', traceId: '' }));
  socket.end(
    `HTTP/1.1 ${status} Refused\r\nContent-Type: application/problem+json\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
};

/** For Fastify, when it is made. */
export const fastifyOptions = (
  { tls, trustedProxies }: HttpOptions,
  logger: Logger,
): FastifyServerOptions => {
  const problems = new ProblemFilter(logger);
  return {
    bodyLimit: bodyLimitBytes,
    requestTimeout: requestTimeoutMs,
    trustProxy: trustedProxies.length === 0 ? false : [...trustedProxies],
    frameworkErrors: (error, request, reply) => problems.answer(error, request, reply),
    clientErrorHandler: refuseConnection,
    ...(tls === null ? {} : { https: { ...tls, minVersion: 'TLSv1.2' } }),
  };
};

/** Before Nest makes the routes. Nest must add no body parsers of its own. */
export const configureHttp = (app: NestFastifyApplication, logger: Logger): void => {
  const http = app.getHttpAdapter().getInstance();
  addSecurityHeaders(http);
  addTelemetry(http, logger);
  addJsonParser(http);
};
