import { Fault } from '@casvault/contracts';
import fc from 'fast-check';
import { defaultRetry, retryDelayMs, withRetry } from './s3-retry.js';

const quick = { attempts: 4, firstDelayMs: 1, maxDelayMs: 2 };
const always = { policy: quick, random: () => 0, isPassing: () => true, signal: undefined };

const failing = (times: number, error: Error) => {
  const tries: number[] = [];
  const action = async (attempt: number): Promise<string> => {
    tries.push(attempt);
    if (tries.length <= times) throw error;
    return 'done';
  };
  return { tries, action };
};

describe('withRetry', () => {
  it('tries until it succeeds', async () => {
    const { tries, action } = failing(3, new Error('busy'));
    expect(await withRetry(action, always)).toBe('done');
    expect(tries).toEqual([1, 2, 3, 4]);
  });

  it('gives up after its attempts with the last error', async () => {
    const error = new Error('busy');
    const { tries, action } = failing(9, error);
    await expect(withRetry(action, always)).rejects.toBe(error);
    expect(tries).toHaveLength(4);
  });

  it('does not repeat what will not pass', async () => {
    const { tries, action } = failing(9, new Error('denied'));
    await expect(withRetry(action, { ...always, isPassing: () => false })).rejects.toThrow('denied');
    expect(tries).toHaveLength(1);
  });

  it('stops waiting when its signal is aborted', async () => {
    const control = new AbortController();
    const { action } = failing(9, new Error('busy'));
    const policy = { attempts: 3, firstDelayMs: 60_000, maxDelayMs: 60_000 };
    const waiting = withRetry(action, { ...always, policy, signal: control.signal });
    setTimeout(() => {
      control.abort(new Fault('LEASE_LOST', 'gone'));
    }, 5);
    await expect(waiting).rejects.toMatchObject({ code: 'LEASE_LOST' });
  });
});

describe('retryDelayMs', () => {
  it('grows twofold up to its limit, the upper half by chance', () => {
    const attempts = fc.integer({ min: 2, max: 60 });
    const chance = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
    fc.assert(
      fc.property(attempts, chance, (attempt, random) => {
        const full = Math.min(4000, 200 * 2 ** (attempt - 2));
        const delay = retryDelayMs(defaultRetry, attempt, random);
        expect(delay).toBeGreaterThanOrEqual(full / 2);
        expect(delay).toBeLessThanOrEqual(full);
      }),
    );
  });
});
