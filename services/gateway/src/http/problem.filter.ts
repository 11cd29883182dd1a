import { Fault, type Logger } from '@casvault/contracts';
import { Catch, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { routes } from '../api/table.js';
import { basePath } from '../api/route.js';
import { faultOf, HttpRefusal, problemHeaders, problemOf } from './problem.js';
import { pathOf, recordOf } from './request-record.js';

const patterns = routes.map(({ method, path }) => ({
  method,
  pattern: new RegExp(`^${basePath}${path.replaceAll('.', '\\.').replaceAll(/\{\w+\}/g, '[^/]+')}$`),
}));

/** Methods that the table has for a path; empty: there is no such path. */
export const allowedMethods = (path: string): string[] =>
  patterns.filter(({ pattern }) => pattern.test(path)).map(({ method }) => method);

const faultFor = (
  error: unknown,
  request: FastifyRequest,
): { fault: Fault; headers: Record<string, string> } => {
  const isUnrouted = !Fault.is(error) && request.is404;
  if (!isUnrouted) {
    const fault = faultOf(error);
    return { fault, headers: problemHeaders(fault) };
  }
  const path = pathOf(request);
  const allowed = allowedMethods(path);
  if (allowed.length === 0)
    return { fault: new HttpRefusal(404, `there is no ${request.method} ${path}`), headers: {} };
  const fault = new HttpRefusal(405, `${request.method} is not possible here, only ${allowed.join(', ')}`);
  return { fault, headers: { Allow: allowed.join(', ') } };
};

/** Everything that goes wrong ends here as problem+json. */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  constructor(private readonly logger: Logger) {}

  catch(error: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    this.answer(error, http.getRequest<FastifyRequest>(), http.getResponse<FastifyReply>());
  }

  answer(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
    const record = recordOf(request);
    const { fault, headers } = faultFor(error, request);
    const traceId = record?.traceId ?? '';
    if (record !== undefined) record.faultCode = fault.code;
    if (fault.kind === 'bug') this.logger.error({ traceId, err: error }, 'request ended in a bug');
    if (reply.sent) return;
    // As bytes: for text Fastify adds a charset, which this media type does not have.
    const problem = problemOf(fault, { path: pathOf(request), traceId });
    void reply
      .status(problem.status)
      .headers(headers)
      .header('Content-Type', 'application/problem+json')
      .send(Buffer.from(JSON.stringify(problem)));
  }
}
