import {
  Fault,
  type FaultJson,
  type startTransfer,
  type TransferChanged,
  type RunItemId,
  type TransferId,
  type Verified,
} from '@casvault/contracts';
import { type Machine, type RuntimeEvent, type Step } from '@casvault/machine';
import { type z } from 'zod';
import { after, deadlines, earliest, isPast, timedOut } from './deadlines.js';
import {
  askedAgain,
  hasEnded,
  heard,
  isSilent,
  isUnheard,
  mustAskAgain,
  nextLook,
  transferFault,
  transferSilent,
  watchTransfer,
} from './transfer-watch.js';
import { type VerificationRequest, type VerificationState } from './verification.js';

/**
 * The verification of one point: protected from deletion -> checked by a mover -> sound or damaged; or failed, stopped. The point is
 * protected as long as the machine is not done.
 */
export type VerificationEvent =
  | { readonly type: 'verify'; readonly request: VerificationRequest; readonly transferId: TransferId }
  | { readonly type: 'stop' }
  | { readonly type: 'pointLoaded'; readonly source: NonNullable<VerificationState['source']> }
  | { readonly type: 'transferNews'; readonly change: TransferChanged }
  | RuntimeEvent<VerificationEffect>;

export type VerificationEffect =
  | { readonly type: 'loadPoint'; readonly request: VerificationRequest }
  | { readonly type: 'startTransfer'; readonly command: z.infer<typeof startTransfer.payload> }
  | { readonly type: 'stopTransfer'; readonly transferId: TransferId };

type VerificationStep = Step<VerificationState, VerificationEffect>;

const isOpen = ({ phase }: VerificationState): boolean => phase === 'running';

const wakeAt = (state: VerificationState): Date | null => {
  const { transfer, deadlineAt } = state;
  if (!isOpen(state)) return null;
  return transfer ? earliest(nextLook(transfer).toISOString(), deadlineAt) : new Date(deadlineAt);
};

const stepOf = (state: VerificationState, effects: readonly VerificationEffect[] = []): VerificationStep => ({
  state,
  effects,
  wakeAt: wakeAt(state),
  done: !isOpen(state),
});

const begin = (request: VerificationRequest, transferId: TransferId, now: Date): VerificationStep =>
  stepOf(
    {
      request,
      transferId,
      phase: 'running',
      source: null,
      transfer: null,
      verified: null,
      createdAt: now.toISOString(),
      finishedAt: null,
      deadlineAt: after(now, deadlines.factsMs),
      fault: null,
    },
    [{ type: 'loadPoint', request }],
  );

const startCommand = (state: VerificationState, stopAsked = false): VerificationEffect[] => {
  const { request, source, transferId } = state;
  if (!source) return [];
  const { pointId, depth, group } = request;
  const ownerId = request.verificationId as string as RunItemId;
  const spec = { kind: 'verify' as const, pointId, depth, ...source };
  const command = { transferId, ownerId, group, spec, ...(stopAsked ? { stopAsked } : {}) };
  return [{ type: 'startTransfer', command }];
};

const stopCommands = (state: VerificationState): VerificationEffect[] => {
  const { transfer, transferId } = state;
  if (!transfer || hasEnded(transfer)) return [];
  return isUnheard(transfer) ? startCommand(state, true) : [{ type: 'stopTransfer', transferId }];
};

const ended = (
  state: VerificationState,
  phase: VerificationState['phase'],
  fault: FaultJson | null,
  now: Date,
): VerificationStep => {
  const stops = stopCommands(state);
  return stepOf({ ...state, phase, fault, finishedAt: now.toISOString() }, stops);
};

const onPoint = (
  state: VerificationState,
  source: NonNullable<VerificationState['source']>,
  now: Date,
): VerificationStep => {
  if (!isOpen(state) || state.source) return stepOf(state);
  const transfer = watchTransfer(state.transferId, now);
  const reading = { ...state, source, transfer, deadlineAt: after(now, deadlines.verificationMs) };
  return stepOf(reading, startCommand(reading));
};

const checked = (state: VerificationState, verified: Verified | undefined, now: Date): VerificationStep => {
  if (!verified)
    return ended(state, 'failed', new Fault('BUG', 'the data-mover told no findings').toJSON(), now);
  const isSound =
    verified.objects.length === 0 && verified.disks.every(({ damagedBytes }) => damagedBytes === 0);
  return ended({ ...state, verified }, isSound ? 'sound' : 'damaged', null, now);
};

const onTransfer = (state: VerificationState, news: TransferChanged, now: Date): VerificationStep => {
  const transfer = isOpen(state) && state.transfer ? heard(state.transfer, news, now) : null;
  if (!transfer) return stepOf(state);
  const told = { ...state, transfer };
  switch (news.state) {
    case 'queued':
    case 'running':
      return stepOf(told);
    case 'succeeded':
      return checked(told, news.result?.verified, now);
    case 'failed':
    case 'stopped':
      return ended(told, 'failed', transferFault(news), now);
  }
};

const woken = (state: VerificationState, now: Date): VerificationStep => {
  const { transfer } = state;
  if (!isOpen(state)) return stepOf(state);
  if (isPast(state.deadlineAt, now)) {
    const late = transfer
      ? timedOut('the point was not verified', deadlines.verificationMs)
      : timedOut('the point was not found', deadlines.factsMs);
    return ended(state, 'failed', late, now);
  }
  if (!transfer) return stepOf(state);
  if (isSilent(transfer, now)) return ended(state, 'failed', transferSilent(), now);
  if (!mustAskAgain(transfer, now)) return stepOf(state);
  return stepOf({ ...state, transfer: askedAgain(transfer, now) }, startCommand(state));
};

const step = (state: VerificationState | null, event: VerificationEvent, now: Date): VerificationStep => {
  if (event.type === 'verify') return state ? stepOf(state) : begin(event.request, event.transferId, now);
  if (!state) throw new Fault('NOT_FOUND', 'there is no such verification');
  switch (event.type) {
    case 'stop':
      return isOpen(state) ? ended(state, 'stopped', null, now) : stepOf(state);
    case 'pointLoaded':
      return onPoint(state, event.source, now);
    case 'transferNews':
      return onTransfer(state, event.change, now);
    case 'woken':
      return woken(state, now);
    case 'effectFailed':
      return isOpen(state) && event.effect.type !== 'stopTransfer'
        ? ended(state, 'failed', event.fault, now)
        : stepOf(state);
  }
};

export const verificationMachine: Machine<VerificationState, VerificationEvent, VerificationEffect> = {
  kind: 'verification',
  step,
};
