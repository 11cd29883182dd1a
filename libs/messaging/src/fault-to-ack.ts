import { type Fault, type FaultKind } from '@casvault/contracts';

/** What becomes of a message whose handler failed: again after a while, or never. */
export type Verdict = { readonly verdict: 'nak'; readonly delayMs: number } | { readonly verdict: 'term' };

const term: Verdict = { verdict: 'term' };
const nak = (attempt: number): Verdict => ({
  verdict: 'nak',
  delayMs: Math.min(15_000, 250 * 2 ** Math.min(attempt - 1, 16)),
});

/** `attempt` is the one that failed, from 1. */
const table: Record<FaultKind, (attempt: number) => Verdict> = {
  user: () => term,
  conflict: () => term,
  unavailable: nak,
  corrupt: () => term,
  bug: (attempt) => (attempt < 3 ? nak(attempt) : term),
};

export const verdictFor = (fault: Fault, attempt: number): Verdict => table[fault.kind](attempt);
