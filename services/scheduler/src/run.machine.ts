import { Fault, type FaultJson, type RunItemId } from '@casvault/contracts';
import { type Machine, type RuntimeEvent, type Step } from '@casvault/machine';
import {
  admit,
  isTerminal,
  runLimits,
  verdictOf,
  type ItemEnd,
  type Parallel,
  type RunningItem,
  type RunState,
  type WaitingItem,
} from './run.js';

/**
 * A run: admits its items by the limits, asks for each until it is heard of, and ends when the last has ended. Stopping
 * ends the waiting ones at once and the running ones through snapshot-engine.
 */
export type RunEvent =
  | {
      readonly type: 'begin';
      readonly items: readonly WaitingItem[];
      readonly parallel: Parallel;
      /** Stopped while it waited for its turn: nothing of it is asked for. */
      readonly isStopped: boolean;
    }
  | { readonly type: 'stop' }
  /** Something was heard of the item at `at`; `end` when it is over. */
  | { readonly type: 'heard'; readonly itemId: RunItemId; readonly at: string; readonly end: ItemEnd | null }
  | RuntimeEvent<RunEffect>;

export type RunEffect =
  /** Asks for the item if it was not heard of lately: asking is idempotent. */
  | { readonly type: 'ask'; readonly itemId: RunItemId; readonly isFirst: boolean }
  | { readonly type: 'stopItem'; readonly itemId: RunItemId }
  /** Writes into the rows of items how they ended without snapshot-engine having said so. */
  | {
      readonly type: 'endItems';
      readonly itemIds: readonly RunItemId[];
      readonly end: ItemEnd;
      readonly fault: FaultJson;
    }
  | { readonly type: 'publish' };

type RunStep = Step<RunState, RunEffect>;

const after = (now: Date, ms: number): string => new Date(now.getTime() + ms).toISOString();
const publish: RunEffect = { type: 'publish' };

const wakeAt = ({ running, state }: RunState): Date | null =>
  isTerminal(state) || running.length === 0
    ? null
    : new Date(Math.min(...running.map(({ askAgainAt }) => Date.parse(askAgainAt))));

const stepOf = (state: RunState, effects: readonly RunEffect[] = []): RunStep => ({
  state,
  effects,
  wakeAt: wakeAt(state),
  done: isTerminal(state.state),
});

const begin = (event: Extract<RunEvent, { type: 'begin' }>, now: Date): RunStep => {
  const state: RunState = {
    state: 'running',
    parallel: event.parallel,
    stopAsked: false,
    waiting: event.items,
    running: [],
    ended: { succeeded: 0, skipped: 0, failed: 0, stopped: 0 },
    startedAt: now.toISOString(),
    finishedAt: null,
  };
  return event.isStopped ? stop(state, now) : goOn(state, [publish], now);
};

/** Admits what may run now; the run is over when nothing runs and nothing waits. */
const goOn = (state: RunState, effects: readonly RunEffect[], now: Date): RunStep => {
  const admitted = admit(state);
  if (state.running.length + state.waiting.length === 0) {
    const over = { ...state, state: verdictOf(state), finishedAt: now.toISOString() };
    return stepOf(over, [...effects.filter(({ type }) => type !== 'publish'), publish]);
  }
  const ids = new Set(admitted.map(({ itemId }) => itemId));
  const fresh = admitted.map((item): RunningItem => ({
    ...item,
    heardAt: now.toISOString(),
    askAgainAt: after(now, runLimits.askAgainMs),
  }));
  const next = {
    ...state,
    waiting: state.waiting.filter(({ itemId }) => !ids.has(itemId)),
    running: [...state.running, ...fresh],
  };
  const asks = fresh.map(({ itemId }): RunEffect => ({ type: 'ask', itemId, isFirst: true }));
  return stepOf(next, [...effects, ...asks]);
};

const count = ({ ended }: RunState, end: ItemEnd, by: number): RunState['ended'] => ({
  ...ended,
  [end]: ended[end] + by,
});

const heard = (
  state: RunState,
  { itemId, at, end }: Extract<RunEvent, { type: 'heard' }>,
  now: Date,
): RunStep => {
  const item = state.running.find((one) => one.itemId === itemId);
  if (!item) return stepOf(state);
  const others = state.running.filter((one) => one.itemId !== itemId);
  if (end) return goOn({ ...state, running: others, ended: count(state, end, 1) }, [publish], now);
  const heardAt = at > item.heardAt ? at : item.heardAt;
  return stepOf({ ...state, running: [...others, { ...item, heardAt }] });
};

const stop = (state: RunState, now: Date): RunStep => {
  if (isTerminal(state.state) || state.stopAsked) return stepOf(state, [publish]);
  const itemIds = state.waiting.map(({ itemId }) => itemId);
  const stopping: RunState = {
    ...state,
    state: 'stopping',
    stopAsked: true,
    waiting: [],
    ended: count(state, 'stopped', itemIds.length),
  };
  const fault = new Fault('STOPPED', 'the run was stopped before it began').toJSON();
  const ends: RunEffect[] = itemIds.length > 0 ? [{ type: 'endItems', itemIds, end: 'stopped', fault }] : [];
  const stops = state.running.map(({ itemId }): RunEffect => ({ type: 'stopItem', itemId }));
  return goOn(stopping, [...ends, ...stops, publish], now);
};

/** Asks again for those that are due; gives up those of which nothing was heard for too long. */
const woken = (state: RunState, now: Date): RunStep => {
  const isSilent = ({ heardAt }: RunningItem) => now.getTime() - Date.parse(heardAt) >= runLimits.silenceMs;
  const lost = state.running.filter(isSilent).map(({ itemId }) => itemId);
  const kept = state.running.filter((item) => !isSilent(item));
  const isDue = ({ askAgainAt }: RunningItem) => Date.parse(askAgainAt) <= now.getTime();
  const asks = kept
    .filter(isDue)
    .flatMap(({ itemId }): RunEffect[] => [
      ...(state.stopAsked ? [{ type: 'stopItem' as const, itemId }] : []),
      { type: 'ask', itemId, isFirst: false },
    ]);
  const running = kept.map((item) =>
    isDue(item) ? { ...item, askAgainAt: after(now, runLimits.askAgainMs) } : item,
  );
  if (lost.length === 0) return stepOf({ ...state, running }, asks);
  const ended = count(state, 'failed', lost.length);
  return goOn({ ...state, running, ended }, [...asks, ...giveUp(lost), publish], now);
};

const giveUp = (itemIds: readonly RunItemId[]): RunEffect[] => {
  const minutes = runLimits.silenceMs / 60_000;
  const message = `nothing was heard of it for ${minutes} minutes`;
  const fault = new Fault('DEADLINE_EXCEEDED', message, { details: { minutes } }).toJSON();
  return [
    { type: 'endItems', itemIds, end: 'failed', fault },
    ...itemIds.map((itemId): RunEffect => ({ type: 'stopItem', itemId })),
  ];
};

/** What can't be asked for at all (a bug of ours) fails its item. */
const effectFailed = (
  state: RunState,
  { effect, fault }: Extract<RunEvent, { type: 'effectFailed' }>,
  now: Date,
): RunStep => {
  if (effect.type !== 'ask' || !state.running.some(({ itemId }) => itemId === effect.itemId))
    return stepOf(state);
  const running = state.running.filter(({ itemId }) => itemId !== effect.itemId);
  const ends: RunEffect = { type: 'endItems', itemIds: [effect.itemId], end: 'failed', fault };
  return goOn({ ...state, running, ended: count(state, 'failed', 1) }, [ends, publish], now);
};

const step = (state: RunState | null, event: RunEvent, now: Date): RunStep => {
  if (event.type === 'begin') return state ? stepOf(state) : begin(event, now);
  if (!state) throw new Fault('NOT_FOUND', 'there is no such run');
  switch (event.type) {
    case 'stop':
      return stop(state, now);
    case 'heard':
      return heard(state, event, now);
    case 'woken':
      return woken(state, now);
    case 'effectFailed':
      return effectFailed(state, event, now);
  }
};

export const runMachine: Machine<RunState, RunEvent, RunEffect> = { kind: 'run', step };
