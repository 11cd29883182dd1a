import { Fault, type FieldError, type Problem } from '@casvault/contracts';
import { HttpException } from '@nestjs/common';
import { httpFaults } from './fault-to-http.js';
import { InputFault } from './input.js';

/** What the HTTP server itself refuses, before or beside the routes, with its own status. */
export class HttpRefusal extends Fault {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(status === 404 ? 'NOT_FOUND' : status >= 500 ? 'DEPENDENCY_UNAVAILABLE' : 'INPUT_INVALID', message);
  }
}

const refusals: Readonly<Record<number, string>> = {
  400: 'the request is not well formed',
  408: 'the request took too long to arrive',
  413: 'the body is larger than 1 MiB',
  414: 'the path is too long',
  415: 'a body must be application/json',
  431: 'the headers are too large',
  503: 'the gateway is shutting down',
};

const statusOf = (error: unknown): number | null => {
  if (typeof error !== 'object' || error === null) return null;
  if (error instanceof HttpException) return error.getStatus();
  return 'statusCode' in error && typeof error.statusCode === 'number' ? error.statusCode : null;
};

const isInvalidJson = (error: unknown): boolean =>
  typeof error === 'object' &&
  error !== null &&
  'code' in error &&
  (error.code === 'FST_ERR_CTP_INVALID_JSON_BODY' || error.code === 'FST_ERR_CTP_EMPTY_JSON_BODY');

/** Anything thrown while a request was served, as a Fault. Texts of the HTTP server may quote the body and are not shown. */
export const faultOf = (error: unknown): Fault => {
  if (Fault.is(error)) return error;
  const status = statusOf(error);
  if (isInvalidJson(error) || error instanceof SyntaxError)
    return new InputFault([{ field: 'body', rule: 'must be valid JSON' }]);
  const text = status === null ? undefined : refusals[status];
  if (status === null || text === undefined) return Fault.from(error);
  return new HttpRefusal(status, text);
};

const fieldErrorsOf = (fault: Fault): readonly FieldError[] | undefined => {
  if (fault instanceof InputFault) return fault.errors;
  const { field, rule, value } = fault.details;
  if (fault.code !== 'INPUT_INVALID' || typeof field !== 'string') return undefined;
  const shown = value === undefined ? {} : { value };
  return [{ field, rule: typeof rule === 'string' ? rule : fault.message, ...shown }];
};

/** RFC 9457. A bug's message stays in the log: it may hold anything. */
export const problemOf = (fault: Fault, request: { path: string; traceId: string }): Problem => {
  const { title } = httpFaults[fault.code];
  const errors = fieldErrorsOf(fault);
  const isBug = fault.kind === 'bug';
  return {
    type: `urn:casvault:problem:${fault.code}`,
    title,
    status: fault instanceof HttpRefusal ? fault.status : httpFaults[fault.code].status,
    detail: isBug ? 'an unexpected error; the log has it under the trace id' : fault.message,
    instance: request.path,
    code: fault.code,
    details: isBug ? {} : fault.details,
    ...(errors === undefined ? {} : { errors: [...errors] }),
    traceId: request.traceId,
  };
};

/** Headers that go with a problem. */
export const problemHeaders = (fault: Fault): Record<string, string> => {
  const told = fault.details['retryAfterSeconds'];
  const retryAfter = typeof told === 'number' ? Math.ceil(told) : httpFaults[fault.code].retryAfterSeconds;
  return {
    ...(retryAfter === undefined ? {} : { 'Retry-After': String(retryAfter) }),
    ...(fault.code === 'UNAUTHENTICATED' ? { 'WWW-Authenticate': 'Bearer realm="casvault"' } : {}),
  };
};
