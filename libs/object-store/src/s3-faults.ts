import { isNativeError } from 'node:util/types';
import { Fault, type FaultCode } from '@casvault/contracts';

/** What the SDK's errors have in common; its own classes are not used, as stores name errors differently. */
interface S3Failure {
  readonly name: string;
  readonly message: string;
  readonly status: number | null;
}

export const failureOf = (error: unknown): S3Failure => {
  if (!isNativeError(error)) return { name: 'Error', message: String(error), status: null };
  const metadata = (error as { $metadata?: { httpStatusCode?: number } }).$metadata;
  return { name: error.name, message: error.message, status: metadata?.httpStatusCode ?? null };
};

/** Refusals that may pass. The network's own troubles are faults already when they come here. */
const passingNames = new Set([
  'RequestTimeout',
  'RequestTimeTooSkewed',
  'SlowDown',
  'ServiceUnavailable',
  'InternalError',
  'ConditionalRequestConflict',
  'OperationAborted',
]);

/** A cause that may pass: the store was not reached, or not able. */
export const isPassing = (error: unknown): boolean => {
  if (Fault.is(error)) return error.kind === 'unavailable';
  const { name, status } = failureOf(error);
  if (status === null || fullStatus(name, status)) return false;
  return passingNames.has(name) || status >= 500 || status === 429;
};

const fullStatus = (name: string, status: number | null): boolean =>
  status === 507 || name === 'QuotaExceeded' || name === 'XMinioStorageFull';

const deniedNames = new Set([
  'AccessDenied',
  'InvalidAccessKeyId',
  'SignatureDoesNotMatch',
  'AllAccessDisabled',
  'AccountProblem',
]);

const codeOf = (error: unknown): FaultCode => {
  const { name, status } = failureOf(error);
  if (fullStatus(name, status)) return 'POOL_FULL';
  if (deniedNames.has(name) || status === 401 || status === 403) return 'POOL_ACCESS_DENIED';
  return status === null ? 'BUG' : 'POOL_UNREACHABLE';
};

/** Any error of the SDK as the pool's fault. The store's own words are kept: they hold no secret. */
export const s3Fault = (what: string, error: unknown): Fault => {
  if (Fault.is(error)) return error;
  const { name, message, status } = failureOf(error);
  const said = status === null ? message : `${status} ${name}: ${message}`;
  return new Fault(codeOf(error), `${what} failed: ${said}`, {
    details: status === null ? { error: name } : { error: name, status },
    cause: error,
  });
};

/** The object is not there; a missing bucket is another thing. */
export const isMissingObject = (error: unknown): boolean => {
  const { name, status } = failureOf(error);
  return name === 'NoSuchKey' || (status === 404 && name !== 'NoSuchBucket');
};

export const isPreconditionFailed = (error: unknown): boolean => failureOf(error).status === 412;
export const isBadRange = (error: unknown): boolean => failureOf(error).status === 416;
