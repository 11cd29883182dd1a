import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Asks again and again until the answer is neither null, undefined nor false; the last error or answer is in the message. Patient:
 * other suites run at the same time, and to wait costs nothing when things go well.
 */
export const until = async <T>(
  ask: () => T | Promise<T>,
  timeoutMs = 60_000,
  everyMs = 20,
): Promise<NonNullable<T>> => {
  const end = Date.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const answer = await ask();
      if (answer !== null && answer !== undefined && answer !== false) return answer;
      last = answer;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) throw new Error(`not within ${timeoutMs} ms: ${ask.toString()}`, { cause: last });
    await sleep(everyMs);
  }
};
