import {
  Fault,
  type CopySpec,
  type FaultJson,
  type PointId,
  type removePoints,
  type TransferChanged,
} from '@casvault/contracts';
import { type Machine, type RuntimeEvent, type Step } from '@casvault/machine';
import { type z } from 'zod';
import { copyItemOf, removalIdOf, type CopyIds, type CopyRequest, type CopyState } from './copy.js';
import { after, deadlines, earliest, isPast, timedOut } from './deadlines.js';
import { isTerminal, laterThan, type Ending } from './item.js';
import { transferSteps, type TransferEffect } from './transfer-steps.js';
import { askedAgain, hasEnded, mustAskAgain, nextLook, watchTransfer } from './transfer-watch.js';

/**
 * The copy of one point in another pool (E7): given its place in the catalogue -> made by a mover -> available; or, when that fails or is
 * stopped, brought to its end, removed from the pool, failed. What it reads and what it stands on is protected as long as the machine is not
 * done. Until its transfer has ended a stop is only intended: one that succeeds all the same makes an available copy.
 */
export type CopyEvent =
  | { readonly type: 'copy'; readonly request: CopyRequest; readonly ids: CopyIds }
  | { readonly type: 'stop' }
  | { readonly type: 'pointPlaced'; readonly spec: CopySpec }
  /** The pool has it already. */
  | { readonly type: 'pointFound'; readonly pointId: PointId }
  | { readonly type: 'transferNews'; readonly change: TransferChanged }
  | RuntimeEvent<CopyEffect>;

export type CopyEffect =
  | { readonly type: 'placePoint'; readonly request: CopyRequest; readonly ids: CopyIds }
  | { readonly type: 'removeData'; readonly command: z.infer<typeof removePoints.payload> }
  | TransferEffect;

type CopyStep = Step<CopyState, CopyEffect>;

const wakeAt = ({ stage, transfer, deadlineAt }: CopyState): Date | null => {
  if (stage === 'over') return null;
  if (stage === 'moving') return transfer && nextLook(transfer);
  return earliest(deadlineAt, transfer?.askAgainAt ?? deadlineAt);
};

const stepOf = (state: CopyState, effects: readonly CopyEffect[] = []): CopyStep => ({
  state,
  effects,
  wakeAt: wakeAt(state),
  done: isTerminal(state.phase),
});

const published = (state: CopyState, now: Date, effects: readonly CopyEffect[] = []): CopyStep => {
  const next = { ...state, publishedAt: laterThan(state.publishedAt, now) };
  return stepOf(next, [...effects, { type: 'itemChanged', change: copyItemOf(next) }]);
};

const begin = (request: CopyRequest, ids: CopyIds, now: Date): CopyStep =>
  published(
    {
      request,
      ids,
      phase: 'preparing',
      stage: 'facts',
      spec: null,
      foundId: null,
      transfer: null,
      result: null,
      createdAt: now.toISOString(),
      availableAt: null,
      ending: null,
      fault: null,
      deadlineAt: after(now, deadlines.factsMs),
      publishedAt: new Date(0).toISOString(),
    },
    now,
    [{ type: 'placePoint', request, ids }],
  );

const transferring = transferSteps<CopyState, CopyEffect>({
  command: ({ request: { itemId: ownerId, group }, ids: { transferId }, spec }) =>
    spec && { transferId, ownerId, group, spec },
  isAwaited: ({ stage }) => stage === 'moving' || stage === 'stopping',
  stepOf,
  published,
  succeeded: (state, result, now) =>
    over({ ...state, result, availableAt: now.toISOString(), ending: null }, now),
  failed: (state, fault, now) => conclude(state, state.ending ?? { phase: 'failed', fault }, now),
});

const removeCommand = ({ request, ids, spec }: CopyState): CopyEffect[] =>
  spec
    ? [
        {
          type: 'removeData',
          command: {
            transferId: removalIdOf(ids),
            ownerId: request.itemId,
            poolId: request.poolId,
            chainId: spec.chainId,
            pointIds: [ids.copyId],
            dryRun: false,
            group: request.group,
          },
        },
      ]
    : [];

const over = (state: CopyState, now: Date): CopyStep => {
  const { ending } = state;
  const phase = ending?.phase ?? 'succeeded';
  return published({ ...state, stage: 'over', phase, fault: ending?.fault ?? null }, now);
};

/** Nothing is moved any more: what may be in the pool goes, then it is over. */
const settle = (state: CopyState, now: Date): CopyStep => {
  const { transfer, stage } = state;
  const mayHaveWritten = transfer !== null && (!hasEnded(transfer) || transfer.epoch > 0);
  if (!mayHaveWritten || stage === 'removing') return over(state, now);
  const removing: CopyState = {
    ...state,
    stage: 'removing',
    phase: 'cleaning',
    transfer: askedAgain(transfer, now),
    deadlineAt: after(now, deadlines.cleanMs),
  };
  return published(removing, now, removeCommand(removing));
};

const conclude = (state: CopyState, ending: Ending, now: Date): CopyStep => {
  const ends = { ...state, ending };
  const { transfer } = state;
  if (!transfer || hasEnded(transfer)) return settle(ends, now);
  const stopping: CopyState = {
    ...ends,
    stage: 'stopping',
    transfer: askedAgain(transfer, now),
    deadlineAt: after(now, deadlines.stopMs),
  };
  return stepOf(stopping, transferring.stopping(state));
};

const fail = (state: CopyState, fault: FaultJson, now: Date): CopyStep =>
  conclude(state, { phase: 'failed', fault }, now);

const onPlaced = (state: CopyState, spec: CopySpec, now: Date): CopyStep => {
  if (state.stage !== 'facts') return stepOf(state);
  const transfer = watchTransfer(state.ids.transferId, now);
  const moving: CopyState = { ...state, spec, transfer, stage: 'moving', phase: 'transferring' };
  return published(moving, now, transferring.starting(moving));
};

const onFound = (state: CopyState, foundId: PointId, now: Date): CopyStep =>
  state.stage === 'facts' ? over({ ...state, foundId }, now) : stepOf(state);

/** What was written is gone, or the data-mover has given up: either way this is the end. */
const onRemoval = (state: CopyState, news: TransferChanged, now: Date): CopyStep => {
  const isOver = news.state !== 'queued' && news.state !== 'running';
  return state.stage === 'removing' && isOver ? over(state, now) : stepOf(state);
};

const stop = (state: CopyState, now: Date): CopyStep => {
  if (isTerminal(state.phase)) return published(state, now);
  if (state.ending) return stepOf(state);
  const fault = new Fault('STOPPED', 'stopped before the copy was available').toJSON();
  return conclude(state, { phase: 'stopped', fault }, now);
};

const wokenEnding = (state: CopyState, now: Date): CopyStep => {
  const { transfer, stage } = state;
  if (isPast(state.deadlineAt, now)) return settle(state, now);
  if (!transfer || !mustAskAgain(transfer, now)) return stepOf(state);
  const commands = stage === 'removing' ? removeCommand(state) : transferring.stopping(state);
  return stepOf({ ...state, transfer: askedAgain(transfer, now) }, commands);
};

const woken = (state: CopyState, now: Date): CopyStep => {
  switch (state.stage) {
    case 'over':
      return stepOf(state);
    case 'moving':
      return transferring.woken(state, now);
    case 'stopping':
    case 'removing':
      return wokenEnding(state, now);
    case 'facts':
      return isPast(state.deadlineAt, now)
        ? fail(state, timedOut('the copy got no place in the catalogue', deadlines.factsMs), now)
        : stepOf(state);
  }
};

const effectFailed = (state: CopyState, { type }: CopyEffect, fault: FaultJson, now: Date): CopyStep => {
  const isVital =
    (type === 'placePoint' && state.stage === 'facts') ||
    (type === 'startTransfer' && state.stage === 'moving');
  return isVital ? fail(state, fault, now) : stepOf(state);
};

const step = (state: CopyState | null, event: CopyEvent, now: Date): CopyStep => {
  if (event.type === 'copy') return state ? published(state, now) : begin(event.request, event.ids, now);
  if (!state) throw new Fault('NOT_FOUND', 'there is no such copy');
  switch (event.type) {
    case 'stop':
      return stop(state, now);
    case 'pointPlaced':
      return onPlaced(state, event.spec, now);
    case 'pointFound':
      return onFound(state, event.pointId, now);
    case 'transferNews':
      return event.change.kind === 'removal'
        ? onRemoval(state, event.change, now)
        : transferring.news(state, event.change, now);
    case 'woken':
      return woken(state, now);
    case 'effectFailed':
      return effectFailed(state, event.effect, event.fault, now);
  }
};

export const copyMachine: Machine<CopyState, CopyEvent, CopyEffect> = { kind: 'copy', step };
