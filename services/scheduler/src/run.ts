import { type RunItemId, type RunState as RunStateName } from '@casvault/contracts';

/** Every time and bound of a run, in one place. */
export const runLimits = {
  /** A running item of which nothing was heard for so long is asked for again. */
  askAgainMs: 15_000,
  /** snapshot-engine ends every item by deadlines of its own; a silence longer than any of them ends it here. */
  silenceMs: 2 * 3_600_000,
} as const;

export type ItemEnd = 'succeeded' | 'skipped' | 'failed' | 'stopped';
export type { RunStateName };

export interface Parallel {
  readonly vms: number;
  readonly vmsPerHost: number;
}

/** An item as admission sees it; `host` is null when nobody knows where the VM is. */
export interface WaitingItem {
  readonly itemId: RunItemId;
  readonly host: string | null;
}
export interface RunningItem extends WaitingItem {
  /** By our clock: when something was last heard of it. */
  readonly heardAt: string;
  readonly askAgainAt: string;
}

/**
 * Only what decisions need: names, progress and results of items are rows. A step writes about 100 bytes for every item
 * that still waits or runs.
 */
export interface RunState {
  readonly state: RunStateName;
  readonly parallel: Parallel;
  readonly stopAsked: boolean;
  readonly waiting: readonly WaitingItem[];
  readonly running: readonly RunningItem[];
  readonly ended: Readonly<Record<ItemEnd, number>>;
  readonly startedAt: string | null;
  readonly finishedAt: string | null;
}

export const isTerminal = (state: RunStateName): boolean =>
  state === 'succeeded' || state === 'partly failed' || state === 'failed' || state === 'stopped';

/** A failed VM never fails the others: the run as a whole is judged by what its items came to. One that the job says to skip spoils nothing. */
export const verdictOf = ({ ended, stopAsked }: Pick<RunState, 'ended' | 'stopAsked'>): RunStateName => {
  if (ended.failed === 0 && ended.stopped === 0) return 'succeeded';
  if (stopAsked && ended.stopped > 0) return 'stopped';
  return ended.succeeded + ended.skipped > 0 ? 'partly failed' : 'failed';
};

/** The first of the waiting that both limits let in, in their order; those of a busy host are passed over, not waited for. */
export const admit = ({
  waiting,
  running,
  parallel,
}: Pick<RunState, 'waiting' | 'running' | 'parallel'>): WaitingItem[] => {
  const onHost = new Map<string, number>();
  const count = (host: string | null) => (host === null ? 0 : (onHost.get(host) ?? 0));
  const take = ({ host }: WaitingItem) => host !== null && onHost.set(host, count(host) + 1);
  for (const item of running) take(item);
  const admitted: WaitingItem[] = [];
  for (const item of waiting) {
    if (running.length + admitted.length >= parallel.vms) break;
    if (count(item.host) >= parallel.vmsPerHost) continue;
    take(item);
    admitted.push(item);
  }
  return admitted;
};

/** R15: whether a run may begin with so many older ones of its group not ended. The oldest always may: runs begin in their order. */
export const hasItsTurn = (olderRuns: number, limit: number | undefined): boolean =>
  limit === undefined || olderRuns < limit;
