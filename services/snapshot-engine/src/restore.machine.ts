import {
  Fault,
  type FaultJson,
  type ItemChanged,
  type Pool,
  type RestoreSpec,
  type TransferChanged,
  type TransferId,
  type VmId,
} from '@casvault/contracts';
import { type Machine, type RuntimeEvent, type Step } from '@casvault/machine';
import { damageReasons } from './damage.rules.js';
import { after, deadlines, earliest, isPast, timedOut } from './deadlines.js';
import { isTerminal, laterThan, type Ending } from './item.js';
import {
  madeBy,
  type Created,
  type CreateRestoreVm,
  type CreateRestoreVolume,
  type RestorablePoint,
  type Restore,
  type RestoreState,
} from './restore.js';
import {
  halfMade,
  keepsRoom,
  planRestoreImage,
  planRestoreVm,
  planRestoreVolume,
  refuseOriginalPath,
  refuseUnrestorable,
} from './restore.rules.js';
import { type TransferEffect } from './transfer-steps.js';
import {
  askedAgain,
  hasEnded,
  heard,
  isSilent,
  isUnheard,
  mergedReasons,
  mustAskAgain,
  nextLook,
  transferFault,
  transferSilent,
  watchTransfer,
} from './transfer-watch.js';

/**
 * The restore of one VM from one point to a new VM, or over its original path (F3): point -> VM with empty volumes -> transfer -> handed over; or
 * failed / stopped, with the half-made VM removed. It is removed only after nothing writes to it and nothing makes it
 * any more, so that no VM comes up behind the removal. A disk that is created from a point (F9) goes the same way, with one
 * volume in the VM's place; an image too, as a VM that becomes one when it is handed over.
 */
export type RestoreEvent =
  | { readonly type: 'restore'; readonly request: Restore; readonly transferId: TransferId }
  | { readonly type: 'stop' }
  | { readonly type: 'pointLoaded'; readonly source: RestorablePoint; readonly pool: Pool }
  | { readonly type: 'vmCreated'; readonly vm: Created }
  | { readonly type: 'transferNews'; readonly change: TransferChanged }
  | { readonly type: 'vmFinished'; readonly vmId: VmId | null; readonly imageId: string | null }
  | { readonly type: 'vmRemoved' }
  | RuntimeEvent<RestoreEffect>;

export type RestoreEffect =
  | { readonly type: 'loadPoint'; readonly request: Restore }
  | { readonly type: 'createVm'; readonly request: CreateRestoreVm }
  | { readonly type: 'createVolume'; readonly request: CreateRestoreVolume }
  | { readonly type: 'finishVm'; readonly request: Restore; readonly powerOn: boolean }
  | { readonly type: 'removeVm'; readonly request: Restore }
  | TransferEffect;

type RestoreStep = Step<RestoreState, RestoreEffect>;
type Event<T extends RestoreEvent['type']> = Extract<RestoreEvent, { type: T }>;

const change = (state: RestoreState): ItemChanged => ({
  itemId: state.request.itemId,
  runId: state.request.runId,
  kind: 'restore',
  phase: state.phase,
  pointId: state.request.pointId,
  restoredVmId: state.restoredVmId,
  imageId: state.imageId ?? null,
  capturedAt: state.source?.point.capturedAt ?? null,
  progress: [...(state.transfer?.progress ?? [])],
  reasons: [...state.reasons],
  fault: state.fault,
  at: state.publishedAt,
});

/** Whether the transfer must be waited for. */
const isWriting = ({ transfer, vm }: RestoreState): boolean =>
  transfer !== null && !hasEnded(transfer) && vm === 'created';

const wakeAt = (state: RestoreState): Date | null => {
  const { phase, transfer, ending, deadlineAt } = state;
  if (isTerminal(phase)) return null;
  if (!transfer || !isWriting(state)) return new Date(deadlineAt);
  return ending ? earliest(transfer.askAgainAt, deadlineAt) : nextLook(transfer);
};

const stepOf = (state: RestoreState, effects: readonly RestoreEffect[] = []): RestoreStep => ({
  state,
  effects,
  wakeAt: wakeAt(state),
  done: isTerminal(state.phase),
});

const published = (state: RestoreState, now: Date, effects: readonly RestoreEffect[] = []): RestoreStep => {
  const next = { ...state, publishedAt: laterThan(state.publishedAt, now) };
  return stepOf(next, [...effects, { type: 'itemChanged', change: change(next) }]);
};

const begin = (request: Restore, transferId: TransferId, now: Date): RestoreStep =>
  published(
    {
      request,
      transferId,
      phase: 'preparing',
      source: null,
      vm: 'none',
      created: null,
      transfer: null,
      powerOn: 'powerOn' in request.target && request.target.powerOn,
      restoredVmId: null,
      imageId: null,
      reasons: [],
      fault: null,
      ending: null,
      deadlineAt: after(now, deadlines.factsMs),
      publishedAt: new Date(0).toISOString(),
    },
    now,
    [{ type: 'loadPoint', request }],
  );

// ---- the ends

const ended = (state: RestoreState, { phase, fault }: Ending, now: Date): RestoreStep =>
  published({ ...state, phase, fault }, now);

/** Goes on towards an end other than success as far as it can now: first nothing writes, then nothing makes the VM, then it is removed. */
const conclude = (state: RestoreState, ending: Ending, now: Date): RestoreStep => {
  const going = { ...state, ending };
  if (isWriting(state)) {
    const transfer = state.transfer && askedAgain(state.transfer, now);
    const deadlineAt = after(now, deadlines.stopMs);
    return published({ ...going, phase: 'cleaning', transfer, deadlineAt }, now, stopCommands(state));
  }
  if (state.vm === 'none' || state.vm === 'gone') return ended(going, ending, now);
  if (state.vm === 'creating') return published({ ...going, phase: 'cleaning' }, now);
  return removeVm(going, now);
};

const removeVm = (state: RestoreState, now: Date): RestoreStep => {
  const deadlineAt = after(now, deadlines.removeVmMs);
  return published({ ...state, phase: 'cleaning', vm: 'removing', deadlineAt }, now, [
    { type: 'removeVm', request: state.request },
  ]);
};

const fail = (state: RestoreState, fault: FaultJson, now: Date): RestoreStep =>
  conclude(state, { phase: 'failed', fault }, now);

/** The end when the VM could not be removed: the operator is told what is left. */
const leftBehind = (state: RestoreState, why: string, now: Date): RestoreStep => {
  const { what, name, field } = halfMade(state.request);
  const { code, message, details } = state.ending?.fault ?? new Fault('STOPPED', 'stopped').toJSON();
  const told = `${message}; the ${what} '${name}' could not be removed from the platform (${why})`;
  const fault = { code, message: told, details: { ...details, [field]: name } };
  return ended(state, { phase: 'failed', fault }, now);
};

const stopCommands = (state: RestoreState): RestoreEffect[] => {
  const { transfer, transferId } = state;
  return transfer && isUnheard(transfer) ? startCommand(state, true) : [{ type: 'stopTransfer', transferId }];
};

// ---- the way there

const onPoint = (state: RestoreState, { source, pool }: Event<'pointLoaded'>, now: Date): RestoreStep => {
  if (state.phase !== 'preparing' || state.source) return stepOf(state);
  const refusal = refuseUnrestorable(source.point) ?? refuseOriginalPath(state.request, source);
  if (refusal) return fail(state, refusal.toJSON(), now);
  const making = makingOf(state.request, source);
  if (making instanceof Fault) return fail(state, making.toJSON(), now);
  const next: RestoreState = {
    ...state,
    source: { point: source.point, pool },
    reasons: mergedReasons(state.reasons, damageReasons(source.point)),
    vm: 'creating',
    deadlineAt: after(now, deadlines.createVmMs),
  };
  return stepOf(next, [making]);
};

const makingOf = (
  { itemId, target, network: { preferred: network } }: Restore,
  source: RestorablePoint,
): RestoreEffect | Fault => {
  if (!('kind' in target))
    return { type: 'createVm', request: { ...planRestoreVm({ itemId, target }, source), network } };
  if (target.kind === 'image') {
    const request = planRestoreImage({ itemId, target }, source);
    return request instanceof Fault ? request : { type: 'createVm', request: { ...request, network } };
  }
  const request = planRestoreVolume({ itemId, target }, source);
  return request instanceof Fault ? request : { type: 'createVolume', request: { ...request, network } };
};

const specOf = (
  { request }: RestoreState,
  { point, pool }: NonNullable<RestoreState['source']>,
  created: Created,
): RestoreSpec => ({
  kind: 'restore',
  pointId: point.id,
  chainId: point.chainId,
  pool,
  diskService: created.diskService,
  disks: created.disks,
  ...(keepsRoom(request) ? { keepsRoom: true } : {}),
  runId: request.runId,
  options: request.options,
});

const startCommand = (state: RestoreState, stopAsked = false): RestoreEffect[] => {
  const { source, created, request, transferId } = state;
  if (!source || !created) return [];
  const { itemId: ownerId, group } = request;
  return [
    {
      type: 'startTransfer',
      command: {
        transferId,
        ownerId,
        group,
        spec: specOf(state, source, created),
        ...(stopAsked ? { stopAsked } : {}),
      },
    },
  ];
};

const onCreated = (state: RestoreState, { vm }: Event<'vmCreated'>, now: Date): RestoreStep => {
  if (state.vm !== 'creating') return stepOf(state);
  const created: RestoreState = {
    ...state,
    vm: 'created',
    created: vm,
    reasons: mergedReasons(state.reasons, vm.reasons),
  };
  if (state.ending) return conclude(created, state.ending, now);
  const writing: RestoreState = {
    ...created,
    phase: 'transferring',
    transfer: watchTransfer(state.transferId, now),
  };
  return published(writing, now, startCommand(writing));
};

const finish = (state: RestoreState, now: Date): RestoreStep => {
  const { request, powerOn } = state;
  const deadlineAt = after(now, deadlines.finishVmMs);
  return published({ ...state, phase: 'finishing', deadlineAt }, now, [
    { type: 'finishVm', request, powerOn },
  ]);
};

const onTransfer = (state: RestoreState, { change: news }: Event<'transferNews'>, now: Date): RestoreStep => {
  const transfer = isWriting(state) && state.transfer ? heard(state.transfer, news, now) : null;
  if (!transfer) return stepOf(state);
  const told = {
    ...state,
    transfer,
    reasons: mergedReasons(state.reasons, news.reasons, news.result?.reasons ?? []),
  };
  switch (news.state) {
    case 'queued':
    case 'running':
      return published(told, now);
    case 'succeeded':
      return state.ending ? conclude(told, state.ending, now) : finish(told, now);
    case 'failed':
    case 'stopped':
      return conclude(told, state.ending ?? { phase: 'failed', fault: transferFault(news) }, now);
  }
};

const onFinished = (state: RestoreState, { vmId, imageId }: Event<'vmFinished'>, now: Date): RestoreStep =>
  state.phase === 'finishing'
    ? published({ ...state, phase: 'succeeded', restoredVmId: vmId, imageId }, now)
    : stepOf(state);

const onRemoved = (state: RestoreState, now: Date): RestoreStep => {
  if (state.vm !== 'removing' || !state.ending || isTerminal(state.phase)) return stepOf(state);
  return ended({ ...state, vm: 'gone' }, state.ending, now);
};

/** Once the disks are written, it is being handed over and can't be stopped any more. */
const stop = (state: RestoreState, now: Date): RestoreStep => {
  if (isTerminal(state.phase)) return published(state, now);
  if (state.ending || state.phase === 'finishing') return stepOf(state);
  const fault = new Fault('STOPPED', 'stopped before all disks were restored').toJSON();
  return conclude(state, { phase: 'stopped', fault }, now);
};

const wokenWriting = (state: RestoreState, now: Date): RestoreStep => {
  const { transfer, ending } = state;
  if (!transfer) return stepOf(state);
  const again = { ...state, transfer: askedAgain(transfer, now) };
  if (ending) {
    if (!isPast(state.deadlineAt, now)) return stepOf(again, stopCommands(state));
    // Given up: the volumes are removed under whatever may still write to them.
    return removeVm(state, now);
  }
  if (isSilent(transfer, now)) return fail(state, transferSilent(), now);
  return mustAskAgain(transfer, now) ? stepOf(again, startCommand(state)) : stepOf(state);
};

const woken = (state: RestoreState, now: Date): RestoreStep => {
  const { request } = state;
  if (isTerminal(state.phase)) return stepOf(state);
  if (state.vm === 'removing')
    return isPast(state.deadlineAt, now) ? leftBehind(state, 'no answer in time', now) : stepOf(state);
  if (isWriting(state)) return wokenWriting(state, now);
  if (!isPast(state.deadlineAt, now)) return stepOf(state);
  if (state.ending) return removeVm(state, now);
  if (state.phase === 'finishing')
    return fail(
      state,
      timedOut(`the platform did not take the ${madeBy(request)} over`, deadlines.finishVmMs),
      now,
    );
  return state.vm === 'none'
    ? fail(state, timedOut('the point was not found', deadlines.factsMs), now)
    : fail(
        { ...state, vm: 'created' },
        timedOut(`the platform did not make the ${madeBy(request)}`, deadlines.createVmMs),
        now,
      );
};

const effectFailed = (
  state: RestoreState,
  { effect, fault }: Event<'effectFailed'>,
  now: Date,
): RestoreStep => {
  if (isTerminal(state.phase)) return stepOf(state);
  const ending: Ending = state.ending ?? { phase: 'failed', fault };
  switch (effect.type) {
    case 'loadPoint':
      return state.vm === 'none' ? conclude(state, ending, now) : stepOf(state);
    case 'createVm':
    case 'createVolume':
      // An attempt may have made it, or half of it.
      return state.vm === 'creating' ? conclude({ ...state, vm: 'created' }, ending, now) : stepOf(state);
    case 'startTransfer':
      return state.ending ? stepOf(state) : conclude(state, ending, now);
    case 'finishVm':
      return onFinishFailed(state, ending, effect.powerOn, now);
    case 'removeVm':
      return state.vm === 'removing' ? leftBehind(state, fault.message, now) : stepOf(state);
    case 'stopTransfer':
    case 'itemChanged':
      return stepOf(state);
  }
};

/** Every byte is restored: a VM that only does not start is handed over powered off, and the run says so. */
const onFinishFailed = (state: RestoreState, ending: Ending, powerOn: boolean, now: Date): RestoreStep => {
  if (state.phase !== 'finishing' || powerOn !== state.powerOn) return stepOf(state);
  if (!powerOn) return conclude(state, ending, now);
  return finish(
    { ...state, powerOn: false, reasons: mergedReasons(state.reasons, ['POWER_ON_FAILED']) },
    now,
  );
};

const step = (state: RestoreState | null, event: RestoreEvent, now: Date): RestoreStep => {
  if (event.type === 'restore')
    return state ? published(state, now) : begin(event.request, event.transferId, now);
  if (!state) throw new Fault('NOT_FOUND', 'there is no such restore');
  switch (event.type) {
    case 'stop':
      return stop(state, now);
    case 'pointLoaded':
      return onPoint(state, event, now);
    case 'vmCreated':
      return onCreated(state, event, now);
    case 'transferNews':
      return onTransfer(state, event, now);
    case 'vmFinished':
      return onFinished(state, event, now);
    case 'vmRemoved':
      return onRemoved(state, now);
    case 'woken':
      return woken(state, now);
    case 'effectFailed':
      return effectFailed(state, event, now);
  }
};

export const restoreMachine: Machine<RestoreState, RestoreEvent, RestoreEffect> = { kind: 'restore', step };
