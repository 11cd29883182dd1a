import type { FaultCode } from '@casvault/contracts';
import type { Context, Span } from '@opentelemetry/api';
import type { FastifyRequest } from 'fastify';
import type { Caller } from '../api/route.js';

/** What the steps of one request tell each other. */
export interface RequestRecord {
  readonly traceId: string;
  readonly span: Span;
  readonly context: Context;
  /** `performance.now()` at its beginning. */
  readonly begunAt: number;
  caller: Caller | null;
  faultCode: FaultCode | null;
}

const records = new WeakMap<object, RequestRecord>();

export const setRecord = (request: FastifyRequest, record: RequestRecord): void => {
  records.set(request, record);
};

/** Undefined only for what was refused before any hook ran (a malformed URL). */
export const recordOf = (request: FastifyRequest): RequestRecord | undefined => records.get(request);

/** The path without its query: cursors and search words stay out of logs, spans and problems. */
export const pathOf = (request: FastifyRequest): string => request.url.split('?', 1)[0] ?? '/';
