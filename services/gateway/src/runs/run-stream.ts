import type { Clock, RunDetail, RunId, RunState } from '@casvault/contracts';
import type { StreamEvent } from '../api/route.js';
import type { RunFeed } from './run-feed.js';

export interface RunStreamOptions {
  readonly runId: RunId;
  readonly feed: RunFeed;
  /** Asks the scheduler: the row is the truth, changes that arrive by message are only sooner. */
  readonly read: () => Promise<RunDetail>;
  /** Called at every heartbeat; a rejection ends the stream (the caller's token was revoked). */
  readonly stillAllowed: () => Promise<unknown>;
  readonly clock: Clock;
  /** The client, or the gateway, is leaving. */
  readonly signal: AbortSignal;
  readonly heartbeatMs?: number;
}

const ended: ReadonlySet<RunState> = new Set([
  'succeeded',
  'partly failed',
  'failed',
  'stopped',
  'skipped',
  'missed',
  'given up',
]);

/** The newest change that was not yet sent; older ones are dropped. */
class Inbox {
  private run: RunDetail | null = null;
  private wake: (() => void) | null = null;

  put(run: RunDetail): void {
    this.run = run;
    this.wake?.();
  }

  take(): RunDetail | null {
    const { run } = this;
    this.run = null;
    return run;
  }

  /** Resolves when there is something, or when `other` does. */
  async wait(other: Promise<void>): Promise<void> {
    if (this.run !== null) return;
    await Promise.race([new Promise<void>((resolve) => (this.wake = resolve)), other]);
    this.wake = null;
  }
}

/**
 * A run as events: its present state first, then every change, `end` when it is over. At each heartbeat it is read anew, so
 * that a lost message costs at most one heartbeat. Memory: one run, however slow the reader.
 * Rejects only when the first reading fails.
 */
export async function* streamRun(options: RunStreamOptions): AsyncGenerator<StreamEvent> {
  const { feed, runId, signal } = options;
  const inbox = new Inbox();
  const unfollow = feed.follow(runId, (run) => inbox.put(run));
  try {
    let sent = await options.read();
    yield { event: 'run', data: sent };
    while (!ended.has(sent.state) && !signal.aborted) {
      const next = inbox.take() ?? (await nextState(inbox, options));
      if (next === 'gone') return;
      if (next === null || isSame(next, sent)) {
        yield { event: null, data: 'heartbeat' };
        continue;
      }
      sent = next;
      yield { event: 'run', data: sent };
    }
    if (ended.has(sent.state)) yield { event: 'end', data: { state: sent.state } };
  } finally {
    unfollow();
  }
}

/** Waits for a change or the heartbeat. Null: nothing new. */
const nextState = async (inbox: Inbox, options: RunStreamOptions): Promise<RunDetail | 'gone' | null> => {
  const timer = new AbortController();
  const { clock, signal, heartbeatMs = 15_000 } = options;
  await inbox.wait(clock.sleep(heartbeatMs, AbortSignal.any([signal, timer.signal])));
  timer.abort();
  if (signal.aborted) return 'gone';
  const change = inbox.take();
  if (change !== null) return change;
  if (!(await isAllowed(options))) return 'gone';
  return options.read().catch(() => null);
};

/** Only a refusal counts: a silent licensing-auth does not end streams. */
const isAllowed = (options: RunStreamOptions): Promise<boolean> =>
  options.stillAllowed().then(
    () => true,
    (error: unknown) => !(error instanceof Error && 'code' in error && error.code === 'UNAUTHENTICATED'),
  );

const isSame = (left: RunDetail, right: RunDetail): boolean => JSON.stringify(left) === JSON.stringify(right);
