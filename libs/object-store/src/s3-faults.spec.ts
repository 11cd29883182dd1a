import { Fault, type FaultCode } from '@casvault/contracts';
import { isMissingObject, isPassing, s3Fault } from './s3-faults.js';

const replied = (name: string, httpStatusCode: number): Error =>
  Object.assign(new Error('words of the store'), { name, $metadata: { httpStatusCode } });

describe('faults of an S3 store', () => {
  it.each<[Error, FaultCode, boolean]>([
    [replied('AccessDenied', 403), 'POOL_ACCESS_DENIED', false],
    [replied('InvalidAccessKeyId', 403), 'POOL_ACCESS_DENIED', false],
    [replied('SignatureDoesNotMatch', 403), 'POOL_ACCESS_DENIED', false],
    [replied('Unauthorized', 401), 'POOL_ACCESS_DENIED', false],
    [replied('RequestTimeTooSkewed', 403), 'POOL_ACCESS_DENIED', true],
    [replied('NoSuchBucket', 404), 'POOL_UNREACHABLE', false],
    [replied('InternalError', 500), 'POOL_UNREACHABLE', true],
    [replied('SlowDown', 503), 'POOL_UNREACHABLE', true],
    [replied('TooManyRequests', 429), 'POOL_UNREACHABLE', true],
    [replied('RequestTimeout', 400), 'POOL_UNREACHABLE', true],
    [replied('ConditionalRequestConflict', 409), 'POOL_UNREACHABLE', true],
    [replied('InsufficientStorage', 507), 'POOL_FULL', false],
    [replied('QuotaExceeded', 403), 'POOL_FULL', false],
    [new TypeError('ours'), 'BUG', false],
  ])('%s is %s', (error, code, passing) => {
    expect(s3Fault('reading', error).code).toBe(code);
    expect(isPassing(error)).toBe(passing);
  });

  it('tells what the store said', () => {
    const fault = s3Fault('reading object a in bucket b', replied('NoSuchBucket', 404));
    expect(fault.message).toBe('reading object a in bucket b failed: 404 NoSuchBucket: words of the store');
    expect(fault.details).toEqual({ error: 'NoSuchBucket', status: 404 });
  });

  it('lets faults through', () => {
    const fault = new Fault('POOL_OBJECT_DAMAGED', 'short');
    expect(s3Fault('x', fault)).toBe(fault);
    expect(isPassing(fault)).toBe(false);
    expect(isPassing(new Fault('POOL_UNREACHABLE', 'cut'))).toBe(true);
  });

  it('tells a missing object from a missing bucket', () => {
    expect(isMissingObject(replied('NoSuchKey', 404))).toBe(true);
    expect(isMissingObject(replied('NotFound', 404))).toBe(true);
    expect(isMissingObject(replied('NoSuchBucket', 404))).toBe(false);
  });
});
