import {
  Fault,
  type FaultJson,
  type TransferChanged,
  type RunItemId,
  type TransferId,
  type Verified,
} from '@casvault/contracts';
import { type Machine, type RuntimeEvent, type Step } from '@casvault/machine';
import { after, deadlines, earliest, isPast, timedOut } from './deadlines.js';
import { laterThan } from './item.js';
import { transferSteps, type TransferEffect } from './transfer-steps.js';
import { nextLook, watchTransfer } from './transfer-watch.js';
import { itemOf, type VerificationRequest, type VerificationState } from './verification.js';

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
  { readonly type: 'loadPoint'; readonly request: VerificationRequest } | TransferEffect;

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

/** A step that the run is told of, where it is an item of one. */
const published = (
  state: VerificationState,
  now: Date,
  effects: readonly VerificationEffect[] = [],
): VerificationStep => {
  const { runId } = state.request;
  if (runId === undefined) return stepOf(state, effects);
  const publishedAt = laterThan(state.publishedAt ?? state.createdAt, now);
  const next = { ...state, publishedAt };
  return stepOf(next, [...effects, { type: 'itemChanged', change: itemOf(next, runId, publishedAt) }]);
};

const begin = (request: VerificationRequest, transferId: TransferId, now: Date): VerificationStep =>
  published(
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
    now,
    [{ type: 'loadPoint', request }],
  );

const transferring = transferSteps<VerificationState, VerificationEffect>({
  command: ({ request: { verificationId, pointId, depth, group }, transferId, source }) =>
    source && {
      transferId,
      ownerId: verificationId as string as RunItemId,
      group,
      spec: { kind: 'verify', pointId, depth, ...source },
    },
  isAwaited: isOpen,
  stepOf,
  published,
  succeeded: (state, result, now) => checked(state, result?.verified, now),
  failed: (state, fault, now) => ended(state, 'failed', fault, now),
});

const ended = (
  state: VerificationState,
  phase: VerificationState['phase'],
  fault: FaultJson | null,
  now: Date,
): VerificationStep => {
  const stops = transferring.stopping(state);
  return published({ ...state, phase, fault, finishedAt: now.toISOString() }, now, stops);
};

const onPoint = (
  state: VerificationState,
  source: NonNullable<VerificationState['source']>,
  now: Date,
): VerificationStep => {
  if (!isOpen(state) || state.source) return stepOf(state);
  const transfer = watchTransfer(state.transferId, now);
  const reading = { ...state, source, transfer, deadlineAt: after(now, deadlines.verificationMs) };
  return published(reading, now, transferring.starting(reading));
};

const checked = (state: VerificationState, verified: Verified | undefined, now: Date): VerificationStep => {
  if (!verified)
    return ended(state, 'failed', new Fault('BUG', 'the data-mover told no findings').toJSON(), now);
  const isSound =
    verified.objects.length === 0 && verified.disks.every(({ damagedBytes }) => damagedBytes === 0);
  return ended({ ...state, verified }, isSound ? 'sound' : 'damaged', null, now);
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
  return transferring.woken(state, now);
};

/** Without which there is no verification. */
const makesIt = ({ type }: VerificationEffect): boolean => type === 'loadPoint' || type === 'startTransfer';

const step = (state: VerificationState | null, event: VerificationEvent, now: Date): VerificationStep => {
  if (event.type === 'verify')
    return state ? published(state, now) : begin(event.request, event.transferId, now);
  if (!state) throw new Fault('NOT_FOUND', 'there is no such verification');
  switch (event.type) {
    case 'stop':
      return isOpen(state) ? ended(state, 'stopped', null, now) : published(state, now);
    case 'pointLoaded':
      return onPoint(state, event.source, now);
    case 'transferNews':
      return transferring.news(state, event.change, now);
    case 'woken':
      return woken(state, now);
    case 'effectFailed':
      return isOpen(state) && makesIt(event.effect)
        ? ended(state, 'failed', event.fault, now)
        : stepOf(state);
  }
};

export const verificationMachine: Machine<VerificationState, VerificationEvent, VerificationEffect> = {
  kind: 'verification',
  step,
};
