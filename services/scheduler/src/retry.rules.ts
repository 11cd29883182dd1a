import { faultCodes, type FaultJson, type Retry } from '@casvault/contracts';

/**
 * Whether another attempt may succeed where this one failed: a network or other passing cause, and nothing left on the platform
 * that somebody must look at first.
 */
export const isPassing = ({ code, details }: FaultJson): boolean =>
  faultCodes[code] === 'unavailable' && details['left'] === undefined;

/** When the attempt of this number, counted from 1, is followed by another; null: it was the last. */
export const nextAttemptAt = (
  attempt: number,
  fault: FaultJson | null,
  retry: Retry | null | undefined,
  now: Date,
): string | null =>
  retry && fault && attempt <= retry.count && isPassing(fault)
    ? new Date(now.getTime() + retry.intervalMinutes * 60_000).toISOString()
    : null;
