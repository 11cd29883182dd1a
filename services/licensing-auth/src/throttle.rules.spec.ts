import fc from 'fast-check';
import { waitBeforeSignIn } from './throttle.rules.js';

const now = new Date('2026-01-01T00:00:00Z');
const failed = (count: number, agoMs = 0) => ({ count, lastAt: new Date(now.getTime() - agoMs) });

describe('B5: sign-in throttling', () => {
  it.each([0, 1, 4])('%d failures cost nothing', (count) => {
    expect(waitBeforeSignIn([failed(count)], now)).toBe(0);
  });

  it('doubles from 2 s and stops at 15 min', () => {
    const waits = [5, 6, 7, 12, 40, 10_000].map((count) => waitBeforeSignIn([failed(count)], now));
    expect(waits).toEqual([2_000, 4_000, 8_000, 256_000, 900_000, 900_000]);
  });

  it('is over when the time has passed', () => {
    expect(waitBeforeSignIn([failed(6, 3_999)], now)).toBe(1);
    expect(waitBeforeSignIn([failed(6, 4_000)], now)).toBe(0);
  });

  it('takes the longest wait of all subjects', () => {
    const subjects = fc.array(fc.tuple(fc.nat(30), fc.nat(1_000_000)));
    fc.assert(
      fc.property(subjects, (list) => {
        const failures = list.map(([count, ago]) => failed(count, ago));
        const alone = failures.map((one) => waitBeforeSignIn([one], now));
        expect(waitBeforeSignIn(failures, now)).toBe(Math.max(0, ...alone));
      }),
    );
  });
});
