import { setTimeout as sleep } from 'node:timers/promises';
import { Fault } from '@casvault/contracts';

export interface RetryPolicy {
  /** Tries in all. */
  readonly attempts: number;
  readonly firstDelayMs: number;
  readonly maxDelayMs: number;
}

/** About 8 s of trouble are bridged here; longer ones are the caller's to wait for. */
export const defaultRetry: RetryPolicy = { attempts: 6, firstDelayMs: 200, maxDelayMs: 4000 };

/** Delay before try `attempt` (2 is the first repetition): exponential, the upper half of it random in `[0, 1)`. */
export const retryDelayMs = (policy: RetryPolicy, attempt: number, random: number): number => {
  const full = Math.min(policy.maxDelayMs, policy.firstDelayMs * 2 ** (attempt - 2));
  return (full / 2) * (1 + random);
};

/** Tries until it succeeds, fails for good, or the attempts are used up: then the last error is thrown. */
export const withRetry = async <T>(
  action: (attempt: number) => Promise<T>,
  options: {
    readonly policy: RetryPolicy;
    readonly random: () => number;
    readonly isPassing: (error: unknown) => boolean;
    readonly signal: AbortSignal | undefined;
  },
): Promise<T> => {
  const { policy, random, isPassing, signal } = options;
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await action(attempt);
    } catch (error) {
      if (signal?.aborted === true) throw Fault.ofAbort(signal);
      if (attempt >= policy.attempts || !isPassing(error)) throw error;
    }
    await pause(retryDelayMs(policy, attempt + 1, random()), signal);
  }
};

const pause = async (ms: number, signal: AbortSignal | undefined): Promise<void> => {
  try {
    await sleep(ms, undefined, { signal });
  } catch (error) {
    throw signal === undefined ? error : Fault.ofAbort(signal);
  }
};
