import {
  type FaultJson,
  type HookKind,
  type Retry,
  type RunItemId,
  type RunState as RunStateName,
} from '@casvault/contracts';

/** Every time and bound of a run, in one place. */
export const runLimits = {
  /** A running item of which nothing was heard for so long is asked for again. */
  askAgainMs: 15_000,
  /** snapshot-engine ends every item by deadlines of its own; a silence longer than any of them ends it here. */
  silenceMs: 2 * 3_600_000,
  /** The controller of the movers tells of a hook whenever it is asked for it; silent for so long it is not there. */
  hookSilenceMs: 15 * 60_000,
  /** A precondition and a pre script wait for a backup host as VMs do; a post script, which holds up the end of its run, does not. */
  hookWaitMinutes: { precondition: 720, pre: 720, post: 15 },
  /** A stopped run waits so long for its items to end; with the timer's second it is over within ten. */
  stopWithinMs: 7_000,
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
  /** Absent: the first. */
  readonly attempt?: number;
  /** When it is tried again; absent: it waits for the limits alone. */
  readonly notBefore?: string;
}
export interface RunningItem extends Omit<WaitingItem, 'notBefore'> {
  /** By our clock: when something was last heard of it. */
  readonly heardAt: string;
  readonly askAgainAt: string;
}

/** A precondition or a script that was asked for. */
export interface RunningHook {
  readonly hook: HookKind;
  /** By our clock. */
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
  /** Null or absent: nothing is tried again. */
  readonly retry?: Retry | null;
  readonly stopAsked: boolean;
  /** Then it is over, ended or not. */
  readonly stopBy?: string;
  readonly waiting: readonly WaitingItem[];
  readonly running: readonly RunningItem[];
  /** Stopped, and not waited for any more: told to stop until they are heard to have ended. */
  readonly leaving?: readonly RunningItem[];
  readonly ended: Readonly<Record<ItemEnd, number>>;
  /** Of the job's precondition and scripts, what was not asked for yet. */
  readonly hooks?: readonly HookKind[];
  /** What the run waits for. */
  readonly hook?: RunningHook | null;
  /** Why it was given up, or none of its items asked for. */
  readonly fault?: FaultJson | null;
  /** Null while its precondition is asked. */
  readonly startedAt: string | null;
  readonly finishedAt: string | null;
}

export const isTerminal = (state: RunStateName): boolean =>
  state === 'succeeded' ||
  state === 'partly failed' ||
  state === 'failed' ||
  state === 'stopped' ||
  state === 'given up';

/**
 * What comes before the run goes on: the precondition and the pre script before its items, and after them the post script of a run that
 * has begun.
 */
export const nextHook = ({
  hooks = [],
  waiting,
  running,
  startedAt,
}: Pick<RunState, 'hooks' | 'waiting' | 'running' | 'startedAt'>): HookKind | null => {
  const isOver = waiting.length + running.length === 0;
  if (isOver) return startedAt !== null && hooks.includes('post') ? 'post' : null;
  return hooks.find((hook) => hook !== 'post') ?? null;
};

/** A failed VM never fails the others: the run as a whole is judged by what its items came to. One that the job says to skip spoils nothing. */
export const verdictOf = ({ ended, stopAsked }: Pick<RunState, 'ended' | 'stopAsked'>): RunStateName => {
  if (ended.failed === 0 && ended.stopped === 0) return 'succeeded';
  if (stopAsked && ended.stopped > 0) return 'stopped';
  return ended.succeeded + ended.skipped > 0 ? 'partly failed' : 'failed';
};

export const attemptOf = ({ attempt = 1 }: Pick<WaitingItem, 'attempt'>): number => attempt;

/** Waits for an instant, not for the limits. */
export const isEarly = ({ notBefore }: WaitingItem, now: Date): boolean =>
  notBefore !== undefined && Date.parse(notBefore) > now.getTime();

/**
 * The first of the waiting that both limits let in, in their order; those of a busy host, and those for which it is too early, are
 * passed over, not waited for.
 */
export const admit = (
  { waiting, running, parallel }: Pick<RunState, 'waiting' | 'running' | 'parallel'>,
  now: Date,
): WaitingItem[] => {
  const onHost = new Map<string, number>();
  const count = (host: string | null) => (host === null ? 0 : (onHost.get(host) ?? 0));
  const take = ({ host }: WaitingItem) => host !== null && onHost.set(host, count(host) + 1);
  for (const item of running) take(item);
  const admitted: WaitingItem[] = [];
  for (const item of waiting) {
    if (running.length + admitted.length >= parallel.vms) break;
    if (count(item.host) >= parallel.vmsPerHost || isEarly(item, now)) continue;
    take(item);
    admitted.push(item);
  }
  return admitted;
};

/**
 * R15: whether a run may begin with so many others of its group before it. Asked twice: of the older ones that have not ended, for
 * runs begin in their order; and where it begins, of all that have begun, for what is older may be seen late.
 */
export const hasItsTurn = (others: number, limit: number | undefined): boolean =>
  limit === undefined || others < limit;

/** What a step did to items, for their rows. */
interface ItemSteps {
  /** As they wait for their next attempt, or are in it already. */
  readonly retried: readonly WaitingItem[];
  readonly admitted: readonly RunItemId[];
}

export const itemSteps = (
  before: Pick<RunState, 'running'> | null,
  after: Pick<RunState, 'waiting' | 'running'>,
): ItemSteps => {
  const were = new Map(before?.running.map((item) => [item.itemId, attemptOf(item)]));
  const isFurther = (item: WaitingItem): boolean =>
    item.attempt !== undefined && item.attempt > (were.get(item.itemId) ?? Infinity);
  return {
    retried: [...after.waiting, ...after.running].filter(isFurther),
    admitted: after.running
      .filter((item) => were.get(item.itemId) !== attemptOf(item))
      .map(({ itemId }) => itemId),
  };
};
