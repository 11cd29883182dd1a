import { type FaultJson, type ReasonCode, type TransferChanged } from '@casvault/contracts';
import { after, deadlines } from './deadlines.js';
import { type Ending } from './item.js';
import { type ProtectionState } from './protection.js';
import {
  published,
  removeCommand,
  stepOf,
  stopCommand,
  type ProtectionEffect,
  type ProtectionStep,
} from './protection-step.js';
import { askedAgain, hasEnded, mergedReasons } from './transfer-watch.js';

/** Nothing is left to do. */
const over = (
  state: ProtectionState,
  now: Date,
  effects: readonly ProtectionEffect[] = [],
): ProtectionStep => {
  const { ending } = state;
  const phase = ending?.phase ?? 'succeeded';
  return published({ ...state, stage: 'over', phase, fault: ending?.fault ?? null }, now, effects);
};

const undo = (
  state: ProtectionState,
  now: Date,
  effects: readonly ProtectionEffect[] = [],
): ProtectionStep => {
  const { platform, request, ending } = state;
  if (!platform) return settle(state, now, effects);
  const undoing: ProtectionState = {
    ...state,
    stage: 'undoing',
    phase: ending ? 'cleaning' : 'finishing',
    deadlineAt: after(now, deadlines.undoMs),
  };
  const command: ProtectionEffect = { type: 'platform', action: 'undo', use: platform.kind, request };
  return published(undoing, now, [...effects, command]);
};

const removeData = (state: ProtectionState, now: Date): ProtectionStep => {
  const cleaning: ProtectionState = {
    ...state,
    stage: 'removing',
    phase: 'cleaning',
    transfer: state.transfer && askedAgain(state.transfer, now),
    deadlineAt: after(now, deadlines.cleanMs),
  };
  return published(cleaning, now, [removeCommand(cleaning)]);
};

/**
 * The next thing to do once nothing is moved any more, whatever came of it: the platform is left as it was found first, the
 * guest waits for it; then the data of a point that did not become available are removed; then it is over.
 */
export const settle = (
  state: ProtectionState,
  now: Date,
  effects: readonly ProtectionEffect[] = [],
): ProtectionStep => {
  const isLost = state.ending !== null && state.pointState !== 'available';
  const told: ProtectionState = isLost
    ? { ...state, pointState: state.pointState && 'failed', fault: state.ending?.fault ?? null }
    : state;
  if (told.platform?.inEffect) return undo(told, now, effects);
  const mayHaveWritten = told.transfer !== null && (!hasEnded(told.transfer) || told.transfer.epoch > 0);
  if (isLost && mayHaveWritten && told.stage !== 'removing') return removeData(told, now);
  return over(told, now, effects);
};

/**
 * Goes towards an end other than success. Until the transfer has ended the end is only intended: one that succeeds all the
 * same makes an available point.
 */
export const conclude = (state: ProtectionState, ending: Ending, now: Date): ProtectionStep => {
  const ends = { ...state, ending };
  const { transfer } = state;
  if (!transfer || hasEnded(transfer)) return settle(ends, now);
  const stopping: ProtectionState = {
    ...ends,
    stage: 'stopping',
    deadlineAt: after(now, deadlines.stopMs),
    transfer: askedAgain(transfer, now),
  };
  return stepOf(stopping, [stopCommand(state)]);
};

export const fail = (state: ProtectionState, fault: FaultJson, now: Date): ProtectionStep =>
  conclude(state, { phase: 'failed', fault }, now);

/** Durable in the pool: from now on the point stays, whatever else goes wrong. */
export const succeed = (
  state: ProtectionState,
  news: TransferChanged,
  now: Date,
  effects: readonly ProtectionEffect[],
): ProtectionStep => {
  const { plan, request, ids } = state;
  const at = now.toISOString();
  const done: ProtectionState = {
    ...state,
    pointState: 'available',
    availableAt: at,
    result: news.result,
    reasons: mergedReasons(state.reasons, news.result?.reasons ?? []),
    ending: null,
  };
  const fact = {
    pointId: ids.pointId,
    chainId: plan?.spec.chainId ?? ids.chainId,
    vmId: request.vmId,
    poolId: request.poolId,
    runId: request.runId,
    at,
  };
  return settle(done, now, [...effects, { type: 'pointAvailable', fact }]);
};

/** The VM could not be started again, or its snapshot not be removed: the operator is told what is left. */
export const leftBehind = (state: ProtectionState, why: string, now: Date): ProtectionStep => {
  const { platform, plan, ending } = state;
  if (!platform) return stepOf(state);
  const name = plan?.spec.vm.name ?? '';
  const left =
    platform.kind === 'power-off'
      ? `VM '${name}' could not be started again`
      : `the snapshot of VM '${name}' could not be removed`;
  const { code, details, message } = ending?.fault ?? {
    code: 'PLATFORM_TASK_FAILED' as const,
    details: {},
    message: 'the point is available',
  };
  const fault = {
    code,
    message: `${message}; ${left} (${why})`,
    details: { ...details, left: platform.kind },
  };
  const given = { ...platform, inEffect: false };
  return settle({ ...state, platform: given, ending: { phase: 'failed', fault } }, now);
};

/** What could not be prepared: a guest that did not shut down is told by its reason. */
export const notPrepared = (state: ProtectionState, fault: FaultJson, now: Date): ProtectionStep => {
  const didNot = fault.code === 'VM_STATE_REFUSED' || fault.code === 'DEADLINE_EXCEEDED';
  const reasons: ReasonCode[] = state.platform?.kind === 'power-off' && didNot ? ['SHUTDOWN_FAILED'] : [];
  return fail({ ...state, reasons: mergedReasons(state.reasons, reasons) }, fault, now);
};
