import { type FaultJson, type ItemChanged } from '@casvault/contracts';

export type ItemPhase = ItemChanged['phase'];

/** How an item ends when it does not succeed; decided before it is carried out. */
export interface Ending {
  readonly phase: 'skipped' | 'failed' | 'stopped';
  readonly fault: FaultJson | null;
}

export const isTerminal = (phase: ItemPhase): phase is 'succeeded' | 'skipped' | 'failed' | 'stopped' =>
  phase === 'succeeded' || phase === 'skipped' || phase === 'failed' || phase === 'stopped';

/** An instant later than the one before, whatever the clock does: of two events the later `at` tells the newer state. */
export const laterThan = (before: string, now: Date): string =>
  new Date(Math.max(now.getTime(), Date.parse(before) + 1)).toISOString();
