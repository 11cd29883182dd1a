import { Fault, faultCodes, type FaultCode } from '@casvault/contracts';
import { verdictFor } from './fault-to-ack.js';

const verdict = (code: FaultCode, attempt: number) => verdictFor(new Fault(code, 'x'), attempt);

describe('what becomes of a failed message', () => {
  it('comes again after a passing cause, for ever, with growing delays up to 15 s', () => {
    const delays = [1, 2, 3, 7, 8, 100, 1_000_000].map((attempt) => verdict('POOL_UNREACHABLE', attempt));
    expect(delays.map((one) => (one.verdict === 'nak' ? one.delayMs : 'term'))).toEqual([
      250, 500, 1_000, 15_000, 15_000, 15_000, 15_000,
    ]);
  });

  it('has three tries at a bug', () => {
    expect([1, 2, 3, 4].map((attempt) => verdict('BUG', attempt).verdict)).toEqual([
      'nak',
      'nak',
      'term',
      'term',
    ]);
  });

  it.each(Object.entries(faultCodes).filter(([, kind]) => ['user', 'conflict', 'corrupt'].includes(kind)))(
    'ends with %s (%s) at once',
    (code) => {
      expect(verdict(code as FaultCode, 1)).toEqual({ verdict: 'term' });
    },
  );
});
