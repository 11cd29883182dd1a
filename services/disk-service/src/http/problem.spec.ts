import { Fault } from '@casvault/contracts';
import { NotFoundException } from '@nestjs/common';
import { z } from 'zod';
import { Metrics } from '../metrics.js';
import { statusOf, toFault, toProblem } from './problem.js';

describe('faults over HTTP', () => {
  test.each([
    ['DISK_SERVICE_UNAUTHORISED', 401],
    ['VM_NOT_FOUND', 404],
    ['NOT_FOUND', 404],
    ['CONFLICT', 409],
    ['CAPTURE_REFUSED', 409],
    ['LIBVIRT_FAILED', 409],
    ['CAPTURE_LOST', 410],
    ['DEPENDENCY_UNAVAILABLE', 503],
    ['BUG', 500],
  ] as const)('%s is %d', (code, status) => {
    expect(statusOf(new Fault(code, 'x'))).toBe(status);
  });

  test('a detail never replaces a member of the problem', () => {
    const fault = new Fault('CONFLICT', 'why', { details: { status: 200, vmUuid: 'u' } });
    expect(toProblem(fault, '/v1/x', 'trace')).toEqual({
      type: 'urn:casvault:problem:CONFLICT',
      title: 'Conflict',
      status: 409,
      code: 'CONFLICT',
      detail: 'why',
      instance: '/v1/x',
      traceId: 'trace',
      vmUuid: 'u',
      details: { status: 200, vmUuid: 'u' },
    });
  });

  test('what others throw becomes a fault of ours', () => {
    const parsed = z.object({ a: z.number() }).safeParse({ a: 'x' });
    expect(toFault(parsed.error)).toMatchObject({
      code: 'INPUT_INVALID',
      message: expect.stringMatching(/^a: /) as string,
    });
    expect(toFault(new NotFoundException('no route'))).toMatchObject({ code: 'NOT_FOUND' });
    expect(toFault(Object.assign(new Error('too large'), { statusCode: 413 }))).toMatchObject({
      code: 'INPUT_INVALID',
    });
    expect(toFault(new TypeError('oops'))).toMatchObject({ code: 'BUG' });
  });
});

test('metrics are told family by family', () => {
  const metrics = new Metrics();
  metrics.opened('live');
  metrics.opened('live');
  metrics.closed('lost');
  metrics.request('GET', '/v1/health', 200, 0.5);
  expect(metrics.render({ openings: 3, scratchFreeBytes: 7 })).toBe(
    [
      '# TYPE casvault_disk_service_openings gauge',
      'casvault_disk_service_openings 3',
      '# TYPE casvault_disk_service_scratch_free_bytes gauge',
      'casvault_disk_service_scratch_free_bytes 7',
      '# TYPE casvault_disk_service_http_requests_total counter',
      'casvault_disk_service_http_requests_total{method="GET",route="/v1/health",status="200"} 1',
      '# TYPE casvault_disk_service_openings_ended_total counter',
      'casvault_disk_service_openings_ended_total{how="lost"} 1',
      '# TYPE casvault_disk_service_openings_opened_total counter',
      'casvault_disk_service_openings_opened_total{method="live"} 2',
      '# TYPE casvault_disk_service_http_request_seconds histogram',
      ...[
        ['0.005', 0],
        ['0.02', 0],
        ['0.1', 0],
        ['0.5', 1],
        ['2', 1],
        ['10', 1],
        ['60', 1],
        ['+Inf', 1],
      ].map(
        ([le, count]) =>
          `casvault_disk_service_http_request_seconds_bucket{method="GET",route="/v1/health",status="200",le="${le}"} ${count}`,
      ),
      'casvault_disk_service_http_request_seconds_sum{method="GET",route="/v1/health",status="200"} 0.5',
      'casvault_disk_service_http_request_seconds_count{method="GET",route="/v1/health",status="200"} 1',
      '',
    ].join('\n'),
  );
});
