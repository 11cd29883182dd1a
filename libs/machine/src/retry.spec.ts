import { Fault } from '@casvault/contracts';
import { backoffMs, retryUnavailable, retryWithin } from './retry.js';

type Effect = { readonly type: 'ask' } | { readonly type: 'tell' };
const failed = (
  attempt: number,
  code: 'DEPENDENCY_UNAVAILABLE' | 'NOT_FOUND' = 'DEPENDENCY_UNAVAILABLE',
) => ({
  fault: new Fault(code, 'no'),
  attempt,
  done: false,
});

describe('retries of effects', () => {
  it('go on while the cause may pass, and end with one that stays', () => {
    expect(retryUnavailable({}, failed(9_000))).toBe(15_000);
    expect(retryUnavailable({}, failed(1, 'NOT_FOUND'))).toBeNull();
  });

  it('end with the limit of their type, if it has one', () => {
    const retry = retryWithin<Effect>({ ask: 3 });
    expect([2, 3, 4].map((attempt) => retry({ type: 'ask' }, failed(attempt)))).toEqual([
      backoffMs(2),
      null,
      null,
    ]);
    expect(retry({ type: 'tell' }, failed(4))).toBe(backoffMs(4));
    expect(retry({ type: 'ask' }, failed(1, 'NOT_FOUND'))).toBeNull();
  });
});
