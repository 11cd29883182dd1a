import {
  Fault,
  type Deletion,
  type FaultJson,
  type removePoints,
  type RunItemId,
  type TransferChanged,
  type TransferId,
  type VmId,
} from '@casvault/contracts';
import { type Machine, type RuntimeEvent, type Step } from '@casvault/machine';
import { type z } from 'zod';
import { after, deadlines, deletionDelayMs, earliest, isPast, timedOut } from './deadlines.js';
import { removedIds, type DeletionRequest, type DeletionState } from './deletion.js';
import {
  askedAgain,
  hasEnded,
  heard,
  isSilent,
  mergedReasons,
  mustAskAgain,
  nextLook,
  transferFault,
  transferSilent,
  watchTransfer,
} from './transfer-watch.js';

/**
 * The deletion of points, once: measured in the pool -> ready -> confirmed -> removed from the pool -> gone from the catalogue.
 * Whether it may be begun is decided where the step into `deleting` is saved, in one transaction with the points' rows. From there
 * it ends in `deleted`, or after bounded attempts over hours in `failed`, from which it can be confirmed again: what was removed
 * stays removed, and removing is idempotent.
 */
export type DeletionEvent =
  | { readonly type: 'preview'; readonly request: DeletionRequest; readonly measureId: TransferId }
  /** `attemptIds` are minted by the caller, one for each attempt. */
  | { readonly type: 'confirm'; readonly by: string; readonly attemptIds: readonly TransferId[] }
  /** What it would delete has changed since it was shown. */
  | { readonly type: 'outdated'; readonly fault: FaultJson }
  | { readonly type: 'cancel' }
  | { readonly type: 'transferNews'; readonly change: TransferChanged }
  | RuntimeEvent<DeletionEffect>;

export type DeletionEffect =
  | { readonly type: 'removePoints'; readonly command: z.infer<typeof removePoints.payload> }
  | { readonly type: 'stopTransfer'; readonly transferId: TransferId }
  | { readonly type: 'removeCheckpoints'; readonly vmId: VmId };

type DeletionStep = Step<DeletionState, DeletionEffect>;

const isOpen = (phase: Deletion['state']): boolean =>
  phase === 'measuring' || phase === 'ready' || phase === 'deleting';

const wakeAt = ({ phase, transfer, nextAttemptAt, deadlineAt }: DeletionState): Date | null => {
  if (!isOpen(phase)) return null;
  if (nextAttemptAt !== null) return earliest(nextAttemptAt, deadlineAt);
  return transfer ? earliest(nextLook(transfer).toISOString(), deadlineAt) : new Date(deadlineAt);
};

const stepOf = (state: DeletionState, effects: readonly DeletionEffect[] = []): DeletionStep => ({
  state,
  effects,
  wakeAt: wakeAt(state),
  done: !isOpen(state.phase),
});

const command = ({ request, phase }: DeletionState, transferId: TransferId): DeletionEffect => ({
  type: 'removePoints',
  command: {
    transferId,
    ownerId: request.deletionId as string as RunItemId,
    poolId: request.poolId,
    chainId: request.chainId,
    pointIds: removedIds(request.list),
    dryRun: phase === 'measuring',
    group: request.group,
  },
});

const stopping = ({ transfer }: DeletionState): DeletionEffect[] =>
  transfer && !hasEnded(transfer) ? [{ type: 'stopTransfer', transferId: transfer.transferId }] : [];

const ended = (
  state: DeletionState,
  phase: Deletion['state'],
  fault: FaultJson | null,
  now: Date,
): DeletionStep =>
  stepOf(
    { ...state, phase, fault, transfer: null, nextAttemptAt: null, finishedAt: now.toISOString() },
    stopping(state),
  );

const begin = (request: DeletionRequest, measureId: TransferId, now: Date): DeletionStep => {
  const state: DeletionState = {
    request,
    phase: 'measuring',
    freedBytes: null,
    transfer: watchTransfer(measureId, now),
    attemptIds: [],
    failures: 0,
    nextAttemptAt: null,
    confirmedBy: null,
    createdAt: now.toISOString(),
    finishedAt: null,
    deadlineAt: after(now, deadlines.measureMs),
    reasons: [],
    fault: null,
  };
  return stepOf(state, [command(state, measureId)]);
};

const conflict = ({ request, phase }: DeletionState, why: string): Fault =>
  new Fault('CONFLICT', `deletion ${request.deletionId} is ${phase}: ${why}`, {
    details: { deletionId: request.deletionId, state: phase },
  });

/** The next attempt at removing; without one left, the end. */
const attempt = (state: DeletionState, now: Date): DeletionStep => {
  const [transferId, ...attemptIds] = state.attemptIds;
  if (transferId === undefined) return ended(state, 'failed', state.fault, now);
  const next: DeletionState = {
    ...state,
    attemptIds,
    transfer: watchTransfer(transferId, now),
    nextAttemptAt: null,
  };
  return stepOf(next, [command(next, transferId)]);
};

const confirm = (
  state: DeletionState,
  { by, attemptIds }: Extract<DeletionEvent, { type: 'confirm' }>,
  now: Date,
): DeletionStep => {
  if (state.phase === 'deleting' || state.phase === 'deleted') return stepOf(state);
  if (state.phase === 'measuring') throw conflict(state, 'confirm it when it is ready');
  if (state.phase !== 'ready' && !(state.phase === 'failed' && state.confirmedBy !== null))
    throw conflict(state, 'preview it anew');
  const confirmed: DeletionState = {
    ...state,
    phase: 'deleting',
    confirmedBy: by,
    attemptIds,
    failures: 0,
    finishedAt: null,
    fault: null,
    deadlineAt: after(now, deadlines.deletionMs),
  };
  return attempt(confirmed, now);
};

const cancel = (state: DeletionState, now: Date): DeletionStep => {
  if (state.phase === 'cancelled') return stepOf(state);
  if (state.phase !== 'measuring' && state.phase !== 'ready')
    throw conflict(state, 'only what was not confirmed can be cancelled');
  return ended(state, 'cancelled', null, now);
};

const deleted = (state: DeletionState, now: Date): DeletionStep => {
  const { vmId, list } = state.request;
  const { effects, ...step } = ended(state, 'deleted', null, now);
  return { ...step, effects: [...effects, ...(list.newestGoes ? [removeCheckpoints(vmId)] : [])] };
};
const removeCheckpoints = (vmId: VmId): DeletionEffect => ({ type: 'removeCheckpoints', vmId });

/** Damage in the pool is never retried by itself; everything else is, later and later. */
const failedAttempt = (state: DeletionState, fault: FaultJson, now: Date): DeletionStep => {
  const { failures, attemptIds } = state;
  const isFinal = Fault.fromJSON(fault).kind === 'corrupt' || attemptIds.length === 0;
  const told = { ...state, failures: failures + 1, fault };
  if (isFinal) return ended(told, 'failed', fault, now);
  const waiting: DeletionState = {
    ...told,
    transfer: null,
    reasons: mergedReasons(state.reasons, ['REMOVAL_RETRIED']),
    nextAttemptAt: after(now, deletionDelayMs(failures)),
  };
  return stepOf(waiting, stopping(state));
};

const failed = (state: DeletionState, fault: FaultJson, now: Date): DeletionStep =>
  state.phase === 'deleting' ? failedAttempt(state, fault, now) : ended(state, 'failed', fault, now);

const measured = (state: DeletionState, freedBytes: number | null, now: Date): DeletionStep =>
  stepOf({
    ...state,
    phase: 'ready',
    freedBytes,
    transfer: null,
    deadlineAt: after(now, deadlines.confirmMs),
  });

const onTransfer = (state: DeletionState, news: TransferChanged, now: Date): DeletionStep => {
  const transfer = state.transfer && heard(state.transfer, news, now);
  if (!transfer || !isOpen(state.phase)) return stepOf(state);
  const told = { ...state, transfer, reasons: mergedReasons(state.reasons, news.reasons) };
  switch (news.state) {
    case 'queued':
    case 'running':
      return stepOf(told);
    case 'succeeded':
      return state.phase === 'measuring'
        ? measured(told, news.result?.removed?.freedBytes ?? null, now)
        : deleted(told, now);
    case 'failed':
    case 'stopped':
      return failed(told, transferFault(news), now);
  }
};

const pastDeadline = (state: DeletionState, now: Date): DeletionStep => {
  if (state.phase === 'ready') return ended(state, 'expired', null, now);
  const late =
    state.phase === 'measuring'
      ? timedOut('what the deletion frees was not measured', deadlines.measureMs)
      : timedOut('not all points were removed from the pool', deadlines.deletionMs);
  return ended(state, 'failed', state.fault ?? late, now);
};

const woken = (state: DeletionState, now: Date): DeletionStep => {
  const { transfer, nextAttemptAt, phase } = state;
  if (!isOpen(phase)) return stepOf(state);
  if (isPast(state.deadlineAt, now)) return pastDeadline(state, now);
  if (nextAttemptAt !== null) return isPast(nextAttemptAt, now) ? attempt(state, now) : stepOf(state);
  if (!transfer) return stepOf(state);
  if (isSilent(transfer, now)) return failed(state, transferSilent(), now);
  if (!mustAskAgain(transfer, now)) return stepOf(state);
  return stepOf({ ...state, transfer: askedAgain(transfer, now) }, [command(state, transfer.transferId)]);
};

/** A host that is away does not fail what is deleted; the command to remove is asked again by the timer. */
const effectFailed = (
  state: DeletionState,
  { effect, fault }: Extract<DeletionEvent, { type: 'effectFailed' }>,
  now: Date,
): DeletionStep => {
  if (effect.type === 'removeCheckpoints')
    return stepOf({ ...state, reasons: mergedReasons(state.reasons, ['CHECKPOINT_LEFT']) });
  const isAwaited =
    effect.type === 'removePoints' && effect.command.transferId === state.transfer?.transferId;
  return isAwaited && isOpen(state.phase) ? failed(state, fault, now) : stepOf(state);
};

const step = (state: DeletionState | null, event: DeletionEvent, now: Date): DeletionStep => {
  if (event.type === 'preview') return state ? stepOf(state) : begin(event.request, event.measureId, now);
  if (!state) throw new Fault('NOT_FOUND', 'there is no such deletion');
  switch (event.type) {
    case 'confirm':
      return confirm(state, event, now);
    case 'outdated':
      return isOpen(state.phase) && state.phase !== 'deleting'
        ? ended(state, 'refused', event.fault, now)
        : stepOf(state);
    case 'cancel':
      return cancel(state, now);
    case 'transferNews':
      return onTransfer(state, event.change, now);
    case 'woken':
      return woken(state, now);
    case 'effectFailed':
      return effectFailed(state, event, now);
  }
};

export const deletionMachine: Machine<DeletionState, DeletionEvent, DeletionEffect> = {
  kind: 'deletion',
  step,
};
