import { type Fault } from '@casvault/contracts';

export interface Failure {
  readonly fault: Fault;
  /** The attempt that failed, from 1. */
  readonly attempt: number;
  /** Whether the instance is done: nobody waits for the effect's result any more. */
  readonly done: boolean;
}
/** Milliseconds until the next attempt, or null: give the effect up (the machine gets `effectFailed`). */
export type RetryPolicy<F> = (effect: F, failure: Failure) => number | null;

const firstDelayMs = 200;
const longestDelayMs = 15_000;
/** About a day of attempts at the longest delay. */
const attemptsWhenDone = 5_800;

/** 200 ms, doubled with every attempt, at most 15 s. */
export const backoffMs = (attempt: number): number =>
  Math.min(longestDelayMs, firstDelayMs * 2 ** Math.min(attempt - 1, 16));

/**
 * The default: a passing cause (`unavailable`) is retried for as long as the instance runs, and about a day longer, so
 * that a finished instance's last messages outlive an outage; every other fault is final.
 */
export const retryUnavailable: RetryPolicy<unknown> = (_effect, { fault, attempt, done }) => {
  if (fault.kind !== 'unavailable') return null;
  return done && attempt >= attemptsWhenDone ? null : backoffMs(attempt);
};

/** As `retryUnavailable`, but effects of a type that `limits` names are given up after so many attempts. */
export const retryWithin =
  <F extends { readonly type: string }>(
    limits: Readonly<Partial<Record<F['type'], number>>>,
  ): RetryPolicy<F> =>
  (effect, failure) => {
    const limit = limits[effect.type as F['type']];
    return limit !== undefined && failure.attempt >= limit ? null : retryUnavailable(effect, failure);
  };
