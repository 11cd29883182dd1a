/** Failed sign-ins in a row of one user name or from one address. */
export interface Failures {
  readonly count: number;
  readonly lastAt: Date;
}

/** Mistyped passwords cost nothing. */
const freeFailures = 5;
const longestWaitMs = 15 * 60_000;
/** After this without a failure a subject starts anew. */
export const forgetFailuresAfterMs = 24 * 3_600_000;

/**
 * How long a next try must wait, in ms; 0: it may be made. From the sixth failure in a row the wait doubles from 2 s up to
 * 15 min; of several subjects the longest wait holds. A guesser gets about 100 tries a day, for each user and each address.
 */
export const waitBeforeSignIn = (failures: readonly Failures[], now: Date): number =>
  failures.reduce((longest, { count, lastAt }) => {
    if (count < freeFailures) return longest;
    const wait = Math.min(longestWaitMs, 2_000 * 2 ** Math.min(30, count - freeFailures));
    return Math.max(longest, lastAt.getTime() + wait - now.getTime());
  }, 0);
