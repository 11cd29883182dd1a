import {
  bytesBehind,
  Fault,
  type BackupHostId,
  type DiskProgress,
  type HookKind,
  type OpeningId,
  type ReasonCode,
  type TransferId,
  type TransferResult,
  type WriterId,
} from '@casvault/contracts';
import { type Machine, type RuntimeEvent, type Step } from '@casvault/machine';
import {
  isRepeatable,
  isTerminal,
  queueMsOf,
  transferLimits,
  type CaptureMethod,
  type TransferNews,
  type TransferRequest,
  type TransferState,
  type TransferStateName,
} from './transfer.js';

/**
 * A transfer in the controller: queued until a worker claims it, running while the worker renews its lease, queued again
 * when the lease runs out or the worker hands it back, and ended once, for good. The epoch fences: whatever a worker
 * reports under an older one is refused with LEASE_LOST, and nothing changes.
 */
export type TransferEvent =
  | { readonly type: 'start'; readonly request: TransferRequest; readonly stopAsked?: boolean }
  | { readonly type: 'stop' }
  /** `writerId` and `openingId` are minted by the caller; the claim holds if the state shows this `writerId` afterwards. */
  | {
      readonly type: 'claim';
      readonly workerId: BackupHostId;
      readonly writerId: WriterId;
      readonly openingId: OpeningId;
    }
  | {
      readonly type: 'renew';
      readonly epoch: number;
      readonly capturedAt: string | null;
      readonly method: CaptureMethod | null;
      readonly progress: readonly DiskProgress[];
    }
  | {
      readonly type: 'replaceOpening';
      readonly epoch: number;
      readonly lostOpeningId: OpeningId;
      readonly openingId: OpeningId;
      readonly writerId: WriterId;
    }
  | { readonly type: 'nextWriter'; readonly epoch: number; readonly writerId: WriterId }
  | { readonly type: 'finish'; readonly epoch: number; readonly outcome: FinishOutcome }
  | RuntimeEvent<TransferEffect>;

export type FinishOutcome =
  | { readonly state: 'succeeded'; readonly result: TransferResult }
  | { readonly state: 'failed'; readonly fault: NonNullable<TransferState['fault']> }
  | { readonly state: 'stopped' }
  | { readonly state: 'released' };

export type TransferEffect =
  | {
      readonly type: 'nudge';
      readonly group: string;
      readonly transferId: TransferId;
      /** Hooks have a queue of their own: they do not wait behind transfers of hours. */
      readonly isHook?: true;
    }
  | { readonly type: 'publish'; readonly change: TransferNews; readonly hook?: HookKind };

type Event<T extends TransferEvent['type']> = Extract<TransferEvent, { type: T }>;
type TransferStep = Step<TransferState, TransferEffect>;

const after = (now: Date, ms: number): string => new Date(now.getTime() + ms).toISOString();

const begin = (request: TransferRequest, now: Date): TransferState => ({
  request,
  state: 'queued',
  epoch: 0,
  claim: null,
  openingId: null,
  writers: [],
  stopAsked: false,
  stopFault: null,
  capturedAt: null,
  method: null,
  progress: [],
  reasons: [],
  result: null,
  fault: null,
  furthestBytes: 0,
  movedAt: now.toISOString(),
  fruitless: 0,
  recaptures: 0,
  queuedAt: now.toISOString(),
  nudgeAt: now.toISOString(),
  publishedAt: new Date(0).toISOString(),
});

const withReason = (reasons: readonly ReasonCode[], reason: ReasonCode): readonly ReasonCode[] =>
  reasons.includes(reason) ? reasons : [...reasons, reason];

/** Every event of one transfer bears a later `at` than the one before, whatever the clock does. */
const change = (state: TransferState): TransferNews => ({
  transferId: state.request.transferId,
  ownerId: state.request.ownerId as TransferNews['ownerId'],
  kind: state.request.spec.kind,
  state: state.state,
  epoch: state.epoch,
  capturedAt: state.capturedAt,
  progress: [...state.progress],
  reasons: [...state.reasons],
  result: state.result,
  fault: state.fault,
  at: state.publishedAt,
});

/** Of a running transfer: when its claim is lost unless it is renewed. */
const claimEnd = ({ claim, request: { spec } }: TransferState): number =>
  claim === null
    ? -Infinity
    : Date.parse(claim.leaseUntil) + (isRepeatable(spec) ? 0 : transferLimits.scriptPatienceMs);

const wakeAt = (state: TransferState): Date | null => {
  if (state.state === 'running' && state.claim) return new Date(claimEnd(state));
  return state.state === 'queued' ? new Date(state.nudgeAt) : null;
};

const stepOf = (state: TransferState, effects: readonly TransferEffect[] = []): TransferStep => ({
  state,
  effects,
  wakeAt: wakeAt(state),
  done: isTerminal(state.state),
});

const published = (
  state: TransferState,
  now: Date,
  effects: readonly TransferEffect[] = [],
): TransferStep => {
  const at = Math.max(now.getTime(), Date.parse(state.publishedAt) + 1);
  const next = { ...state, publishedAt: new Date(at).toISOString() };
  const { spec } = state.request;
  const told: TransferEffect = {
    type: 'publish',
    change: change(next),
    ...(spec.kind === 'hook' ? { hook: spec.hook } : {}),
  };
  return stepOf(next, [...effects, told]);
};

const ended = (
  state: TransferState,
  outcome: Partial<TransferState> & { state: TransferStateName },
  now: Date,
): TransferStep => published({ ...state, writers: pastWriters(state), claim: null, ...outcome }, now);

const failed = (state: TransferState, fault: Fault, now: Date): TransferStep =>
  ended(state, { state: 'failed', fault: fault.toJSON() }, now);

/** The end of a transfer that was told to stop: failed if it was the controller's own decision. */
const stopped = (state: TransferState, now: Date): TransferStep =>
  state.stopFault
    ? ended(state, { state: 'failed', fault: state.stopFault }, now)
    : ended(state, { state: 'stopped' }, now);

const nudge = ({ request }: TransferState): TransferEffect => ({
  type: 'nudge',
  group: request.group,
  transferId: request.transferId,
  ...(request.spec.kind === 'hook' ? { isHook: true } : {}),
});

const queued = (state: TransferState, now: Date): TransferStep => {
  const nudgeAt = after(now, transferLimits.nudgeEveryMs);
  return published({ ...state, state: 'queued', queuedAt: now.toISOString(), nudgeAt }, now, [nudge(state)]);
};

/** The writer of a claim that is over, kept so that the next attempt can take over its packs. */
const pastWriters = (state: TransferState): TransferState['writers'] =>
  state.claim && state.openingId
    ? [...state.writers, { writerId: state.claim.writerId, openingId: state.openingId }].slice(
        -transferLimits.keptWriters,
      )
    : state.writers;

const loseClaim = (state: TransferState, now: Date): TransferStep => {
  const fruitless = state.fruitless + 1;
  const lost = { ...state, fruitless, reasons: withReason(state.reasons, 'WORKER_LOST') };
  if (state.stopAsked) return stopped(lost, now);
  if (!isRepeatable(state.request.spec)) {
    const message = 'its backup host was lost; it may have run in part, and is not run again';
    return failed(lost, new Fault('DEPENDENCY_UNAVAILABLE', message), now);
  }
  if (fruitless < transferLimits.fruitlessClaims) return queued(lost, now);
  const message = `the mover was lost ${fruitless} times in a row without getting further`;
  return failed(lost, new Fault('DEPENDENCY_UNAVAILABLE', message, { details: { claims: fruitless } }), now);
};

const leaseIsOver = (state: TransferState, now: Date): boolean => claimEnd(state) <= now.getTime();

/**
 * Grants when nobody holds it: queued, lease over, or held by the same worker, which then has been started anew (a
 * worker never claims what it is carrying).
 */
const claim = (state: TransferState, event: Event<'claim'>, now: Date): TransferStep => {
  const isFree =
    state.state === 'queued' || leaseIsOver(state, now) || state.claim?.workerId === event.workerId;
  if (isTerminal(state.state) || !isFree) return stepOf(state);
  const held = state.state === 'running' ? loseClaim(state, now).state : state;
  if (isTerminal(held.state)) return published(held, now);
  const granted: TransferState = {
    ...held,
    state: 'running',
    epoch: held.epoch + 1,
    writers: pastWriters(state),
    claim: {
      workerId: event.workerId,
      writerId: event.writerId,
      leaseUntil: after(now, transferLimits.leaseMs),
    },
    openingId: held.openingId ?? event.openingId,
    movedAt: now.toISOString(),
  };
  return published(granted, now);
};

const leaseLost = (state: TransferState, epoch: number): Fault =>
  new Fault('LEASE_LOST', `transfer ${state.request.transferId} is ${state.state} at epoch ${state.epoch}`, {
    details: { epoch, presentEpoch: state.epoch },
  });

/** Throws LEASE_LOST unless `epoch` is the present one and its claim stands, or ran out without anybody claiming since. */
const heldUnder = (state: TransferState, epoch: number): NonNullable<TransferState['claim']> => {
  if (state.epoch !== epoch || isTerminal(state.state) || !state.claim) throw leaseLost(state, epoch);
  return state.claim;
};

const progressed = (state: TransferState, event: Event<'renew'>, now: Date): TransferState => {
  const behind = bytesBehind(event.progress);
  const movedAt = behind === bytesBehind(state.progress) ? state.movedAt : now.toISOString();
  const next = { ...state, progress: event.progress.length > 0 ? event.progress : state.progress, movedAt };
  return behind > state.furthestBytes ? { ...next, furthestBytes: behind, fruitless: 0 } : next;
};

const stallFault = (state: TransferState): Fault => {
  const minutes = transferLimits.stallMs / 60_000;
  return new Fault('DEADLINE_EXCEEDED', `no byte was transferred for ${minutes} minutes`, {
    details: { minutes, epoch: state.epoch },
  });
};

const renew = (state: TransferState, event: Event<'renew'>, now: Date): TransferStep => {
  const held = heldUnder(state, event.epoch);
  const further = progressed(state, event, now);
  const isStalled = now.getTime() - Date.parse(further.movedAt) > transferLimits.stallMs;
  const next: TransferState = {
    ...further,
    state: 'running',
    claim: { ...held, leaseUntil: after(now, transferLimits.leaseMs) },
    capturedAt: event.capturedAt ?? state.capturedAt,
    method: event.method ?? state.method,
    ...(isStalled && !state.stopAsked ? { stopAsked: true, stopFault: stallFault(state).toJSON() } : {}),
  };
  const isNews = next.capturedAt !== state.capturedAt || next.state !== state.state;
  const isDue = now.getTime() - Date.parse(state.publishedAt) >= transferLimits.progressEveryMs;
  return isNews || isDue ? published(next, now) : stepOf(next);
};

/** Asked again for an opening that was replaced already, it leaves the replacement. Past the bound nothing is replaced. */
const replaceOpening = (state: TransferState, event: Event<'replaceOpening'>, now: Date): TransferStep => {
  const held = heldUnder(state, event.epoch);
  if (state.openingId !== event.lostOpeningId) return stepOf(state);
  if (state.recaptures >= transferLimits.recaptures)
    throw new Fault('CAPTURE_LOST', `the capture was lost ${state.recaptures + 1} times`, {
      details: { captures: state.recaptures + 1 },
    });
  const replaced: TransferState = {
    ...state,
    writers: pastWriters(state),
    claim: { ...held, writerId: event.writerId },
    openingId: event.openingId,
    recaptures: state.recaptures + 1,
    reasons: withReason(state.reasons, 'CAPTURE_LOST_RESTARTED'),
    capturedAt: null,
    method: null,
    progress: [],
    furthestBytes: 0,
    movedAt: now.toISOString(),
  };
  return published(replaced, now);
};

const nextWriter = (state: TransferState, { epoch, writerId }: Event<'nextWriter'>): TransferStep => {
  const held = heldUnder(state, epoch);
  return stepOf({ ...state, writers: pastWriters(state), claim: { ...held, writerId } });
};

const finish = (state: TransferState, event: Event<'finish'>, now: Date): TransferStep => {
  const { outcome, epoch } = event;
  if (state.epoch === epoch && state.state === outcome.state) return stepOf(state);
  heldUnder(state, epoch);
  switch (outcome.state) {
    case 'succeeded': {
      const { result } = outcome;
      const progress = result.disks.map(({ sizeBytes: _size, mapRoot: _root, ...disk }) => disk);
      const capturedAt = result.capturedAt ?? state.capturedAt;
      return ended(state, { state: 'succeeded', result, progress, capturedAt }, now);
    }
    case 'failed':
      return ended(state, { state: 'failed', fault: state.stopFault ?? outcome.fault }, now);
    case 'stopped':
      return stopped(state, now);
    case 'released':
      if (state.stopAsked) return stopped(state, now);
      return queued({ ...state, writers: pastWriters(state), claim: null }, now);
  }
};

const stop = (state: TransferState, now: Date): TransferStep => {
  if (isTerminal(state.state)) return published(state, now);
  const asked = { ...state, stopAsked: true };
  return state.state === 'queued' ? stopped(asked, now) : stepOf(asked);
};

/** Asked for and not wanted any more: whichever of its requests comes first, it never runs. */
const startStopped = (state: TransferState | null, request: TransferRequest, now: Date): TransferStep =>
  state ? stop(state, now) : stopped({ ...begin(request, now), stopAsked: true }, now);

const start = (state: TransferState | null, event: Event<'start'>, now: Date): TransferStep => {
  if (event.stopAsked) return startStopped(state, event.request, now);
  return state ? published(state, now) : queued(begin(event.request, now), now);
};

const woken = (state: TransferState, now: Date): TransferStep => {
  if (state.state === 'running') return leaseIsOver(state, now) ? loseClaim(state, now) : stepOf(state);
  if (state.state !== 'queued') return stepOf(state);
  const queueMs = queueMsOf(state.request.spec);
  if (now.getTime() - Date.parse(state.queuedAt) >= queueMs) {
    const hours = queueMs / 3_600_000;
    const message = `no mover of group '${state.request.group}' took the transfer within ${hours} hours`;
    return failed(state, new Fault('DEADLINE_EXCEEDED', message, { details: { hours } }), now);
  }
  const nudgeAt = after(now, transferLimits.nudgeEveryMs);
  const waiting = { ...state, nudgeAt, reasons: withReason(state.reasons, 'WAITING_FOR_WORKER') };
  const isNews = waiting.reasons.length > state.reasons.length;
  return isNews ? published(waiting, now, [nudge(state)]) : stepOf(waiting, [nudge(state)]);
};

const step = (state: TransferState | null, event: TransferEvent, now: Date): TransferStep => {
  if (event.type === 'start') return start(state, event, now);
  if (!state) throw new Fault('NOT_FOUND', 'there is no such transfer');
  switch (event.type) {
    case 'stop':
      return stop(state, now);
    case 'claim':
      return claim(state, event, now);
    case 'renew':
      return renew(state, event, now);
    case 'replaceOpening':
      return replaceOpening(state, event, now);
    case 'nextWriter':
      return nextWriter(state, event);
    case 'finish':
      return finish(state, event, now);
    case 'woken':
      return woken(state, now);
    case 'effectFailed':
      return stepOf(state);
  }
};

export const transferMachine: Machine<TransferState, TransferEvent, TransferEffect> = {
  kind: 'transfer',
  step,
};
