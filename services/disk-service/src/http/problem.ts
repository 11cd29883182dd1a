import { STATUS_CODES } from 'node:http';
import { Fault, type FaultCode, type FaultKind } from '@casvault/contracts';
import { Catch, HttpException, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';

const statusByKind: Record<FaultKind, number> = {
  user: 400,
  conflict: 409,
  unavailable: 503,
  corrupt: 500,
  bug: 500,
};
const statusByCode: Partial<Record<FaultCode, number>> = {
  NOT_FOUND: 404,
  VM_NOT_FOUND: 404,
  DISK_SERVICE_UNAUTHORISED: 401,
  CAPTURE_LOST: 410,
};

export const statusOf = (fault: Fault): number => statusByCode[fault.code] ?? statusByKind[fault.kind];

/** Any thrown value as a fault of ours; what a framework or a schema throws is the caller's. */
export function toFault(error: unknown): Fault {
  if (error instanceof z.ZodError) {
    const rules = error.issues.map((issue) => `${issue.path.join('.') || 'request'}: ${issue.message}`);
    return new Fault('INPUT_INVALID', rules.join('; '));
  }
  if (error instanceof HttpException && error.getStatus() === 404) {
    return new Fault('NOT_FOUND', error.message);
  }
  const isRequestError =
    (error instanceof HttpException && error.getStatus() < 500) ||
    (error instanceof Error && 'statusCode' in error && Number(error.statusCode) < 500);
  if (isRequestError && error instanceof Error) return new Fault('INPUT_INVALID', error.message);
  return Fault.from(error);
}

/** RFC 9457. Details of the fault stand beside the members of the problem; they never replace one. */
export function toProblem(fault: Fault, instance: string, traceId: string): object {
  const status = statusOf(fault);
  return {
    ...fault.details,
    type: `urn:casvault:problem:${fault.code}`,
    title: STATUS_CODES[status] ?? 'Error',
    status,
    code: fault.code,
    detail: fault.message,
    instance,
    details: fault.details,
    traceId,
  };
}

@Catch()
export class ProblemFilter implements ExceptionFilter {
  catch(error: unknown, host: ArgumentsHost): void {
    const reply = host.switchToHttp().getResponse<FastifyReply>();
    const request = host.switchToHttp().getRequest<FastifyRequest & { traceId?: string; fault?: Fault }>();
    const fault = toFault(error);
    request.fault = fault;
    void reply
      .status(statusOf(fault))
      .header('content-type', 'application/problem+json; charset=utf-8')
      .send(JSON.stringify(toProblem(fault, request.url, request.traceId ?? '')));
  }
}
