import { Fault, type FaultCode } from '@casvault/contracts';

/** What the SDK's errors have in common; its own classes are not used, as stores name errors differently. */
interface S3Failure {
  readonly name: string;
  readonly message: string;
  readonly status: number | null;
}

export const failureOf = (error: unknown): S3Failure => {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error), status: null };
  const metadata = (error as { $metadata?: { httpStatusCode?: number } }).$metadata;
  return { name: error.name, message: error.message, status: metadata?.httpStatusCode ?? null };
};

const passingNames = new Set([
  'TimeoutError',
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
  if (fullStatus(name, status)) return false;
  return status === null ? isTransport(error) : passingNames.has(name) || status >= 500 || status === 429;
};

/** Errors of sockets and of cut-off answers; everything else without a status is a mistake of ours. */
const isTransport = (error: unknown): boolean => {
  if (!(error instanceof Error)) return false;
  const code = 'code' in error ? error.code : undefined;
  return passingNames.has(error.name) || typeof code === 'string';
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
  return status !== null || isTransport(error) ? 'POOL_UNREACHABLE' : 'BUG';
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
