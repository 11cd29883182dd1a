import { Fault, faultCodes, type FaultCode, type FaultKind } from '@casvault/contracts';
import { httpFaults } from './fault-to-http.js';
import { faultOf, problemHeaders, problemOf } from './problem.js';

const codes = Object.keys(faultCodes) as FaultCode[];
const statuses: Record<FaultKind, readonly number[]> = {
  user: [400, 401, 403, 404, 409, 422, 429],
  conflict: [409, 422, 502],
  unavailable: [502, 503],
  corrupt: [500],
  bug: [500],
};

describe('faults over HTTP', () => {
  it.each(codes)('%s has a status that fits its kind, and a title of its own', (code) => {
    expect(statuses[faultCodes[code]]).toContain(httpFaults[code].status);
    expect(codes.filter((other) => httpFaults[other].title === httpFaults[code].title)).toEqual([code]);
  });

  it('has a Retry-After with every 503 and 429, and with nothing else', () => {
    for (const code of codes) {
      const told = 'Retry-After' in problemHeaders(new Fault(code, ''));
      expect([code, told]).toEqual([code, [503, 429].includes(httpFaults[code].status)]);
    }
  });

  it('answers 401 only where signing in helps', () => {
    expect(codes.filter((code) => httpFaults[code].status === 401)).toEqual([
      'UNAUTHENTICATED',
      'LOGIN_FAILED',
    ]);
  });

  it('takes whatever was thrown for a bug, and hides its words', () => {
    for (const thrown of [new Error('inner words'), 'inner words', { statusCode: 418 }, null]) {
      const problem = problemOf(faultOf(thrown), { path: '/x', traceId: 't' });
      expect(problem).toMatchObject({ status: 500, code: 'BUG', details: {} });
      expect(JSON.stringify(problem)).not.toContain('inner words');
    }
  });
});
