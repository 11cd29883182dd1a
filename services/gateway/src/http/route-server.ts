import { getRun, Fault, newId } from '@casvault/contracts';
import { Injectable } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import {
  basePath,
  Content,
  type Ask,
  type Call,
  type Caller,
  type Route,
  type StreamEvent,
} from '../api/route.js';
import { streamRun } from '../runs/run-stream.js';
import type { World } from '../world.js';
import { Authenticator } from './authenticator.js';
import { sendContent } from './content-proxy.js';
import { sendEvents } from './event-stream.js';
import { idempotencyKeyOf, keyedId } from './idempotency.js';
import { parseInput } from './input.js';
import { nextPageLink } from './page-link.js';
import { pathOf, recordOf } from './request-record.js';
import { clearedCookie, sessionCookie, sentToken } from './session-cookie.js';

const defaultDeadlineMs = 10_000;

/** Aborts when the client goes away before its answer is complete. */
const leavingSignal = (reply: FastifyReply): AbortSignal => {
  const leaving = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) leaving.abort();
  });
  return leaving.signal;
};

const isAsyncIterable = (value: unknown): value is AsyncIterable<StreamEvent> =>
  typeof value === 'object' && value !== null && Symbol.asyncIterator in value;

/** Serves any route of the table: input, call, answer. Whoever may not was stopped by the guard before. */
@Injectable()
export class RouteServer {
  constructor(
    private readonly world: World,
    private readonly authenticator: Authenticator,
    private readonly openApi: unknown,
  ) {}

  async serve(route: Route, request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const input = parseInput(route, request);
    const signal = leavingSignal(reply);
    const answer = route.serve({ ...input, ...this.callOf(route, request, reply, signal) });
    if (isAsyncIterable(answer)) return sendEvents(reply, answer);
    const body = await answer;
    if (body instanceof Content) return sendContent(body, request, reply, signal);
    reply.status(route.status).headers(this.headersOf(route, request, body));
    await (route.reply === undefined ? reply.send() : reply.send(body));
  }

  private headersOf(route: Route, request: FastifyRequest, body: unknown): Record<string, string> {
    const link = nextPageLink(request.url, body);
    const id = typeof body === 'object' && body !== null && 'id' in body ? String(body.id) : '';
    return {
      ...(link === null ? {} : { Link: link }),
      ...(route.location === undefined ? {} : { Location: basePath + route.location.replace('{id}', id) }),
    };
  }

  private callOf(
    route: Route,
    request: FastifyRequest,
    reply: FastifyReply,
    signal: AbortSignal,
  ): Omit<Call, 'params' | 'query' | 'body'> {
    const { services, sealer, isConnected, version } = this.world;
    const deadlineMs = route.deadlineMs ?? defaultDeadlineMs;
    const actor = recordOf(request)?.caller?.principal.userName;
    const options = { signal, deadlineMs, ...(actor === undefined ? {} : { actor }) };
    const ask: Ask = (query, payload) => services.request(query, payload, options);
    const secure = request.protocol === 'https';
    return {
      ask,
      resourceId: this.idSource(route, request),
      caller: () => callerOf(request),
      clientAddress: request.ip,
      seal: (clear) => sealer.seal(clear),
      open: (sealed) => sealer.open(sealed),
      setSessionCookie: (token, expiresAt) =>
        void reply.header('Set-Cookie', sessionCookie(token, expiresAt, secure)),
      forgetSession: () => {
        this.authenticator.forget(callerOf(request).tokenHash);
        reply.header('Set-Cookie', clearedCookie(secure));
      },
      watchRun: (runId) =>
        streamRun({
          runId,
          feed: this.world.feed,
          read: () => ask(getRun, { runId }),
          stillAllowed: () => this.authenticator.authenticate(sentToken(request.headers)?.token ?? ''),
          clock: this.world.clock,
          signal: AbortSignal.any([signal, this.world.stopping]),
        }),
      health: () => ({ status: isConnected() ? 'ok' : 'unavailable', version }),
      openApi: () => this.openApi,
    };
  }

  /** Reads the key now, so that a wrong one is refused before anything is asked. */
  private idSource(route: Route, request: FastifyRequest): Call['resourceId'] {
    const key = route.idempotent === true ? idempotencyKeyOf(request.headers['idempotency-key']) : null;
    if (key === null) return newId;
    const { userId } = callerOf(request).principal;
    const id = keyedId({ userId, method: request.method, path: pathOf(request), key });
    return <T extends string>() => id as T;
  }
}

const callerOf = (request: FastifyRequest): Caller => {
  const caller = recordOf(request)?.caller;
  if (caller) return caller;
  throw new Fault('BUG', 'a public route has no caller');
};
