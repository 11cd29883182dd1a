import { faultCodes, Fault, type FaultCode } from '@casvault/contracts';
import { isPassing, nextAttemptAt } from './retry.rules.js';

const faultOf = (code: FaultCode, details = {}) => new Fault(code, 'why', { details }).toJSON();
const now = new Date('2026-01-01T00:00:00Z');

describe('retry: which faults are worth another attempt', () => {
  const passing: readonly FaultCode[] = [
    'PLATFORM_UNREACHABLE',
    'PLATFORM_PROTOCOL',
    'PLATFORM_BUSY',
    'CAPTURE_LOST',
    'DISK_SERVICE_UNREACHABLE',
    'NBD_PROTOCOL',
    'NBD_DISCONNECTED',
    'NBD_IO',
    'POOL_UNREACHABLE',
    'DEADLINE_EXCEEDED',
    'DEPENDENCY_UNAVAILABLE',
  ];
  it.each(Object.keys(faultCodes) as FaultCode[])('%s', (code) => {
    expect(isPassing(faultOf(code))).toBe(passing.includes(code));
  });

  it('none that left a VM off or its snapshot behind: somebody has to look at it first', () => {
    expect(isPassing(faultOf('NBD_IO', { left: 'power-off' }))).toBe(false);
  });
});

describe('retry: when', () => {
  it.each([
    [1, 3, 10, '2026-01-01T00:10:00.000Z'],
    [3, 3, 120, '2026-01-01T02:00:00.000Z'],
    [4, 3, 10, null],
    [1, 1, 0, '2026-01-01T00:00:00.000Z'],
    [1, 0, 10, null],
  ])('after attempt %d of %d further ones, %d minutes apart: %s', (attempt, count, intervalMinutes, at) => {
    expect(nextAttemptAt(attempt, faultOf('NBD_IO'), { count, intervalMinutes }, now)).toBe(at);
  });

  it('never what did not fail for a passing cause, nor where nothing is to be tried again', () => {
    const retry = { count: 10, intervalMinutes: 0 };
    expect(nextAttemptAt(1, faultOf('POOL_FULL'), retry, now)).toBeNull();
    expect(nextAttemptAt(1, null, retry, now)).toBeNull();
    expect(nextAttemptAt(1, faultOf('NBD_IO'), null, now)).toBeNull();
  });
});
