import {
  Fault,
  type FaultJson,
  type HookKind,
  type Retry,
  type RunItem,
  type RunItemId,
} from '@casvault/contracts';
import { type Machine, type RuntimeEvent, type Step } from '@casvault/machine';
import { nextAttemptAt } from './retry.rules.js';
import {
  admit,
  attemptOf,
  isEarly,
  isTerminal,
  nextHook,
  runLimits,
  verdictOf,
  type ItemEnd,
  type Parallel,
  type RunningHook,
  type RunningItem,
  type RunState,
  type RunStateName,
  type WaitingItem,
} from './run.js';

/** How a hook has ended; `refused`: it was carried out, and did not end well. */
export type HookEnd =
  { readonly type: 'passed' } | { readonly type: 'refused' | 'failed'; readonly fault: FaultJson };

/**
 * A run: asks first, if its job says so, whether it may begin, and lets a script go before; then admits its items by the limits, asks for each until it is heard of, lets those that failed for a passing cause wait for
 * another attempt, and ends when the last has ended, and the script that comes after them. Stopping ends the waiting ones at once and the running ones through
 * snapshot-engine; those that take too long are left behind, and told to stop until they have.
 */
export type RunEvent =
  | {
      readonly type: 'begin';
      readonly items: readonly WaitingItem[];
      /** Items that had failed before the run began. */
      readonly failed: number;
      readonly parallel: Parallel;
      readonly retry: Retry | null;
      /** What the job does around its runs; absent: nothing. */
      readonly hooks?: readonly HookKind[];
      /** Stopped while it waited for its turn: nothing of it is asked for. */
      readonly isStopped: boolean;
    }
  | { readonly type: 'stop' }
  /** Something was heard of an attempt at the item at `at`; `end` when it is over. */
  | {
      readonly type: 'heard';
      readonly itemId: RunItemId;
      readonly attempt: number;
      readonly at: string;
      readonly end: ItemEnd | null;
      readonly fault: FaultJson | null;
    }
  /** Something was heard of a hook; `end` when it is over. */
  | { readonly type: 'hookHeard'; readonly hook: HookKind; readonly end: HookEnd | null }
  | RuntimeEvent<RunEffect>;

export type RunEffect =
  /** Asks for the attempt if it was not heard of lately: asking is idempotent. */
  | {
      readonly type: 'ask';
      readonly itemId: RunItemId;
      readonly attempt: number;
      readonly isFirst: boolean;
    }
  | { readonly type: 'stopItem'; readonly itemId: RunItemId; readonly attempt: number }
  /** Writes into the rows of items how they ended without snapshot-engine having said so. */
  | {
      readonly type: 'endItems';
      readonly itemIds: readonly RunItemId[];
      readonly end: ItemEnd;
      readonly phase: RunItem['phase'];
      readonly fault: FaultJson | null;
    }
  /** Asks for a hook, which is idempotent, or says that it is not wanted any more. `verdict`: how the run will have ended. */
  | {
      readonly type: 'askHook';
      readonly hook: HookKind;
      readonly isStopped: boolean;
      readonly verdict: RunStateName | null;
    }
  /** Writes into the row of a hook how it ended without a mover having said so. */
  | { readonly type: 'endHook'; readonly hook: HookKind; readonly fault: FaultJson }
  | { readonly type: 'publish' };

type RunStep = Step<RunState, RunEffect>;

const after = (now: Date, ms: number): string => new Date(now.getTime() + ms).toISOString();
const publish: RunEffect = { type: 'publish' };
const askFor = (item: RunningItem, isFirst: boolean): RunEffect => ({
  type: 'ask',
  itemId: item.itemId,
  attempt: attemptOf(item),
  isFirst,
});
const stopFor = (item: RunningItem): RunEffect => ({
  type: 'stopItem',
  itemId: item.itemId,
  attempt: attemptOf(item),
});

/** A post script goes on when its run is stopped; what comes before the items does not. */
const mayStop = ({ hook }: RunningHook): boolean => hook !== 'post';
const hookEffect = (state: RunState, { hook }: RunningHook): Extract<RunEffect, { type: 'askHook' }> => ({
  type: 'askHook',
  hook,
  isStopped: state.stopAsked && hook !== 'post',
  verdict: hook === 'post' ? verdictOf(state) : null,
});

/** Whoever might be let in by now is let in at once: news that change nothing must not cost a retry its timer. */
const wakeAt = (state: RunState, now: Date): Date | null => {
  const { running, leaving = [], waiting, stopBy, hook } = state;
  if (!hook && admit(state, now).length > 0) return now;
  const instants = [...running, ...leaving, ...(hook ? [hook] : [])].map(({ askAgainAt }) => askAgainAt);
  if (stopBy !== undefined && (running.length > 0 || (hook && mayStop(hook)))) instants.push(stopBy);
  for (const item of waiting)
    if (item.notBefore !== undefined && isEarly(item, now)) instants.push(item.notBefore);
  const earliest = instants.reduce((first, at) => Math.min(first, Date.parse(at)), Infinity);
  return earliest === Infinity ? null : new Date(earliest);
};

const stepOf = (state: RunState, now: Date, effects: readonly RunEffect[] = []): RunStep => ({
  state,
  effects,
  wakeAt: wakeAt(state, now),
  done: isTerminal(state.state) && (state.leaving ?? []).length === 0,
});

const begin = (event: Extract<RunEvent, { type: 'begin' }>, now: Date): RunStep => {
  const { items, failed, parallel, retry } = event;
  // With nothing to do there is nothing to do around it.
  const hooks = event.isStopped || items.length === 0 ? [] : (event.hooks ?? []);
  const state: RunState = {
    state: 'running',
    parallel,
    retry,
    stopAsked: false,
    waiting: items,
    running: [],
    ended: { succeeded: 0, skipped: 0, failed, stopped: 0 },
    ...(hooks.length > 0 ? { hooks } : {}),
    startedAt: hooks.includes('precondition') ? null : now.toISOString(),
    finishedAt: null,
  };
  return event.isStopped ? stop(state, now) : goOn(state, [publish], now);
};

/** Asks for the hook whose turn it is, else admits what may run now; the run is over when nothing runs and nothing waits. */
const goOn = (state: RunState, effects: readonly RunEffect[], now: Date): RunStep => {
  if (state.hook) return stepOf(state, now, effects);
  const hook = nextHook(state);
  return hook === null ? goOnWithItems(state, effects, now) : askHook(state, hook, effects, now);
};

const goOnWithItems = (state: RunState, effects: readonly RunEffect[], now: Date): RunStep => {
  if (state.running.length + state.waiting.length === 0) {
    const over = { ...state, state: verdictOf(state), finishedAt: now.toISOString() };
    return stepOf(over, now, [...effects.filter(({ type }) => type !== 'publish'), publish]);
  }
  const admitted = admit(state, now);
  const ids = new Set(admitted.map(({ itemId }) => itemId));
  const fresh = admitted.map(({ notBefore: _, ...item }): RunningItem => ({
    ...item,
    heardAt: now.toISOString(),
    askAgainAt: after(now, runLimits.askAgainMs),
  }));
  const next = {
    ...state,
    waiting: state.waiting.filter(({ itemId }) => !ids.has(itemId)),
    running: [...state.running, ...fresh],
  };
  return stepOf(next, now, [...effects, ...fresh.map((item) => askFor(item, true))]);
};

const askHook = (state: RunState, hook: HookKind, effects: readonly RunEffect[], now: Date): RunStep => {
  const running: RunningHook = {
    hook,
    heardAt: now.toISOString(),
    askAgainAt: after(now, runLimits.askAgainMs),
  };
  const hooks = (state.hooks ?? []).filter((one) => one !== hook);
  return stepOf({ ...state, hooks, hook: running }, now, [...effects, hookEffect(state, running)]);
};

const count = ({ ended }: RunState, end: ItemEnd, by: number): RunState['ended'] => ({
  ...ended,
  [end]: ended[end] + by,
});

type Heard = Extract<RunEvent, { type: 'heard' }>;
const isOf =
  ({ itemId, attempt }: Heard) =>
  (item: RunningItem): boolean =>
    item.itemId === itemId && attemptOf(item) === attempt;

const heard = (state: RunState, event: Heard, now: Date): RunStep => {
  const { end, at } = event;
  const item = state.running.find(isOf(event));
  if (!item) return end ? left(state, event, now) : stepOf(state, now);
  const others = state.running.filter((one) => one !== item);
  if (end) return ended({ ...state, running: others }, item, event, now);
  const heardAt = at > item.heardAt ? at : item.heardAt;
  return stepOf({ ...state, running: [...others, { ...item, heardAt }] }, now);
};

/** What a stopped run left behind has ended too. */
const left = (state: RunState, event: Heard, now: Date): RunStep => {
  const { leaving = [] } = state;
  const kept = leaving.filter((item) => !isOf(event)(item));
  return stepOf(kept.length < leaving.length ? { ...state, leaving: kept } : state, now);
};

/** An attempt is over; one that failed for a passing cause is followed by another, which waits without holding a place. */
const ended = (state: RunState, item: RunningItem, { end, fault }: Heard, now: Date): RunStep => {
  const { itemId, host } = item;
  const attempt = attemptOf(item);
  const notBefore =
    end === 'failed' && !state.stopAsked ? nextAttemptAt(attempt, fault, state.retry, now) : null;
  if (notBefore === null) return goOn({ ...state, ended: count(state, end ?? 'failed', 1) }, [publish], now);
  const again: WaitingItem = { itemId, host, attempt: attempt + 1, notBefore };
  return goOn({ ...state, waiting: [...state.waiting, again] }, [publish], now);
};

const hookHeard = (
  state: RunState,
  { hook, end }: Extract<RunEvent, { type: 'hookHeard' }>,
  now: Date,
): RunStep => {
  const present = state.hook;
  if (present?.hook !== hook) return stepOf(state, now);
  if (end) return hookEnded(state, present, end, [], now);
  return stepOf({ ...state, hook: { ...present, heardAt: now.toISOString() } }, now);
};

/** What has not ended well is a warning after the items; before them no item is asked for. */
const hookEnded = (
  state: RunState,
  { hook }: RunningHook,
  end: HookEnd,
  effects: readonly RunEffect[],
  now: Date,
): RunStep => {
  const next: RunState = { ...state, hook: null };
  const told = [...effects, publish];
  if (hook === 'post' || state.stopAsked) return goOn(next, told, now);
  if (end.type === 'passed')
    return goOn(hook === 'precondition' ? { ...next, startedAt: now.toISOString() } : next, told, now);
  const isGivenUp = hook === 'precondition' && end.type === 'refused';
  return isGivenUp ? giveUpRun(next, end.fault, told, now) : failItems(next, end.fault, told, now);
};

/** D10: not failed; the job is idle again. */
const giveUpRun = (state: RunState, fault: FaultJson, effects: readonly RunEffect[], now: Date): RunStep => {
  const itemIds = state.waiting.map(({ itemId }) => itemId);
  const ends: RunEffect = { type: 'endItems', itemIds, end: 'skipped', phase: 'skipped', fault: null };
  const over: RunState = {
    ...state,
    state: 'given up',
    waiting: [],
    ended: count(state, 'skipped', itemIds.length),
    fault,
    finishedAt: now.toISOString(),
  };
  return stepOf(over, now, [ends, ...effects]);
};

const failItems = (state: RunState, fault: FaultJson, effects: readonly RunEffect[], now: Date): RunStep => {
  const itemIds = state.waiting.map(({ itemId }) => itemId);
  const ends: RunEffect = { type: 'endItems', itemIds, end: 'failed', phase: 'failed', fault };
  const failed = { ...state, waiting: [], ended: count(state, 'failed', itemIds.length), fault };
  return goOn(failed, [ends, ...effects], now);
};

const stop = (state: RunState, now: Date): RunStep => {
  if (isTerminal(state.state) || state.stopAsked) return stepOf(state, now, [publish]);
  const itemIds = state.waiting.map(({ itemId }) => itemId);
  const stopping: RunState = {
    ...state,
    state: 'stopping',
    stopAsked: true,
    stopBy: after(now, runLimits.stopWithinMs),
    waiting: [],
    ended: count(state, 'stopped', itemIds.length),
  };
  const fault = new Fault('STOPPED', 'the run was stopped before its turn came').toJSON();
  const ends: RunEffect = { type: 'endItems', itemIds, end: 'stopped', phase: 'stopped', fault };
  const { hook } = state;
  const stops = [
    ...state.running.map(stopFor),
    ...(hook && mayStop(hook) ? [hookEffect(stopping, hook)] : []),
  ];
  return goOn(stopping, [...(itemIds.length > 0 ? [ends] : []), ...stops, publish], now);
};

/** Which of the items are due to be asked or told again, and of which nothing was heard for too long. */
const lookAt = (items: readonly RunningItem[], now: Date) => {
  const isSilent = ({ heardAt }: RunningItem) => now.getTime() - Date.parse(heardAt) >= runLimits.silenceMs;
  const isDue = ({ askAgainAt }: RunningItem) => Date.parse(askAgainAt) <= now.getTime();
  const heardOf = items.filter((item) => !isSilent(item));
  const askAgainAt = after(now, runLimits.askAgainMs);
  return {
    silent: items.filter(isSilent),
    due: heardOf.filter(isDue),
    kept: heardOf.map((item) => (isDue(item) ? { ...item, askAgainAt } : item)),
  };
};

/**
 * Asks again for those that are due, or tells them to stop; gives up those of which nothing was heard for too long; admits
 * those that it is time to try again.
 */
const woken = (state: RunState, now: Date): RunStep => {
  const leaving = lookAt(state.leaving ?? [], now);
  const { silent, due, kept } = lookAt(state.running, now);
  const again = due.map((item) => (state.stopAsked ? stopFor(item) : askFor(item, false)));
  const effects = [...leaving.due.map(stopFor), ...again, ...giveUp(silent)];
  const next: RunState = {
    ...state,
    running: kept,
    ...(state.leaving ? { leaving: leaving.kept } : {}),
    ended: count(state, 'failed', silent.length),
  };
  if (isTerminal(state.state)) return stepOf(next, now, effects);
  const isLate = state.stopBy !== undefined && Date.parse(state.stopBy) <= now.getTime();
  if (state.hook) return lookAtHook(next, state.hook, isLate && mayStop(state.hook), effects, now);
  return isLate ? leave(next, effects, now) : goOn(next, effects, now);
};

/** Asks again for the hook, or tells it to stop; waits no longer for one that is late, or of which nothing is heard. */
const lookAtHook = (
  state: RunState,
  hook: RunningHook,
  isLate: boolean,
  effects: readonly RunEffect[],
  now: Date,
): RunStep => {
  const isSilent = now.getTime() - Date.parse(hook.heardAt) >= runLimits.hookSilenceMs;
  if (isLate || isSilent) {
    const minutes = runLimits.hookSilenceMs / 60_000;
    const fault = isLate
      ? new Fault('STOPPED', 'stopped; the backup host has not said yet that it ended').toJSON()
      : new Fault('DEADLINE_EXCEEDED', `nothing was heard of it for ${minutes} minutes`).toJSON();
    const ends: RunEffect = { type: 'endHook', hook: hook.hook, fault };
    const stops: RunEffect = { ...hookEffect(state, hook), isStopped: true };
    return hookEnded(state, hook, { type: 'failed', fault }, [...effects, stops, ends], now);
  }
  if (Date.parse(hook.askAgainAt) > now.getTime()) return stepOf(state, now, effects);
  const again = { ...hook, askAgainAt: after(now, runLimits.askAgainMs) };
  return stepOf({ ...state, hook: again }, now, [...effects, hookEffect(state, again)]);
};

/** A run that was stopped does not wait for a platform or a data-mover that hangs. */
const leave = (state: RunState, effects: readonly RunEffect[], now: Date): RunStep => {
  const { running, leaving = [] } = state;
  const itemIds = running.map(({ itemId }) => itemId);
  const fault = new Fault('STOPPED', 'stopped; what it had begun is still being cleaned up').toJSON();
  const ends: RunEffect = { type: 'endItems', itemIds, end: 'stopped', phase: 'cleaning', fault };
  const next = {
    ...state,
    running: [],
    leaving: [...leaving, ...running],
    ended: count(state, 'stopped', itemIds.length),
  };
  return goOn(next, [...effects, ...(itemIds.length > 0 ? [ends] : []), publish], now);
};

/** Not tried again: nobody knows whether what was asked for has ended. */
const giveUp = (items: readonly RunningItem[]): RunEffect[] => {
  if (items.length === 0) return [];
  const minutes = runLimits.silenceMs / 60_000;
  const message = `nothing was heard of it for ${minutes} minutes`;
  const fault = new Fault('DEADLINE_EXCEEDED', message, { details: { minutes } }).toJSON();
  const itemIds = items.map(({ itemId }) => itemId);
  const ends: RunEffect = { type: 'endItems', itemIds, end: 'failed', phase: 'failed', fault };
  return [ends, ...items.map(stopFor), publish];
};

/** What can't be asked for at all (a bug of ours) fails its item, or is a hook that failed. */
const effectFailed = (
  state: RunState,
  { effect, fault }: Extract<RunEvent, { type: 'effectFailed' }>,
  now: Date,
): RunStep => {
  if (effect.type === 'askHook' && state.hook?.hook === effect.hook && !effect.isStopped) {
    const ends: RunEffect = { type: 'endHook', hook: effect.hook, fault };
    return hookEnded(state, state.hook, { type: 'failed', fault }, [ends], now);
  }
  if (effect.type !== 'ask' || !state.running.some(({ itemId }) => itemId === effect.itemId))
    return stepOf(state, now);
  const running = state.running.filter(({ itemId }) => itemId !== effect.itemId);
  const itemIds = [effect.itemId];
  const ends: RunEffect = { type: 'endItems', itemIds, end: 'failed', phase: 'failed', fault };
  return goOn({ ...state, running, ended: count(state, 'failed', 1) }, [ends, publish], now);
};

const step = (state: RunState | null, event: RunEvent, now: Date): RunStep => {
  if (event.type === 'begin') return state ? stepOf(state, now) : begin(event, now);
  if (!state) throw new Fault('NOT_FOUND', 'there is no such run');
  switch (event.type) {
    case 'stop':
      return stop(state, now);
    case 'heard':
      return heard(state, event, now);
    case 'hookHeard':
      return hookHeard(state, event, now);
    case 'woken':
      return woken(state, now);
    case 'effectFailed':
      return effectFailed(state, event, now);
  }
};

export const runMachine: Machine<RunState, RunEvent, RunEffect> = { kind: 'run', step };
