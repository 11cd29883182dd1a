import {
  Fault,
  type FaultJson,
  type ItemChanged,
  type TransferChanged,
  type TransferId,
  type VmFacts,
  type VmId,
} from '@casvault/contracts';
import { type Machine, type RuntimeEvent, type Step } from '@casvault/machine';
import { damageReasons } from './damage.rules.js';
import { after, deadlines, earliest, isPast, timedOut } from './deadlines.js';
import { isTerminal, laterThan, type Ending } from './item.js';
import { type RollbackFacts, type RollbackState, type RollbackVm } from './rollback.js';
import { interruptedFault, planRollback } from './rollback.rules.js';
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
 * The roll-back of a VM in place (F8): facts -> shut down if it runs -> facts again -> transfer -> checkpoints gone -> started again.
 * Until a disk may have been written, every other end leaves the VM as it was; after that the VM stays off, because what its disks hold
 * belongs together no more, and the fault says what that is.
 */
export type RollbackEvent =
  | { readonly type: 'rollback'; readonly request: RollbackVm; readonly transferId: TransferId }
  | { readonly type: 'stop' }
  | { readonly type: 'factsLoaded'; readonly facts: RollbackFacts }
  | { readonly type: 'vmOff'; readonly wasRunning: boolean; readonly vm: VmFacts }
  | { readonly type: 'transferNews'; readonly change: TransferChanged }
  | { readonly type: 'checkpointsRemoved' }
  | { readonly type: 'vmStarted' }
  | RuntimeEvent<RollbackEffect>;

export type RollbackEffect =
  | { readonly type: 'loadFacts'; readonly request: RollbackVm }
  /** Shuts the VM down, if it runs, and reads its facts again. */
  | { readonly type: 'shutDown'; readonly request: RollbackVm; readonly vmId: VmId }
  | { readonly type: 'removeCheckpoints'; readonly vmId: VmId }
  /** Gives the VM back: started if it was shut down for this item, with `wasOffToo` also if it was off before. */
  | {
      readonly type: 'startVm';
      readonly request: RollbackVm;
      readonly vmId: VmId;
      readonly wasOffToo: boolean;
    }
  /** Nobody starts it again for this item. */
  | { readonly type: 'leaveOff'; readonly request: RollbackVm; readonly vmId: VmId }
  | TransferEffect;

type RollbackStep = Step<RollbackState, RollbackEffect>;
type Event<T extends RollbackEvent['type']> = Extract<RollbackEvent, { type: T }>;

const change = (state: RollbackState): ItemChanged => ({
  itemId: state.request.itemId,
  runId: state.request.runId,
  kind: 'rollback',
  phase: state.phase,
  pointId: state.request.pointId,
  restoredVmId: state.phase === 'succeeded' ? state.vmId : null,
  imageId: null,
  capturedAt: state.facts?.point.capturedAt ?? null,
  progress: [...(state.transfer?.progress ?? [])],
  reasons: [...state.reasons],
  fault: state.fault,
  at: state.publishedAt,
});

const isWriting = ({ transfer }: RollbackState): boolean => transfer !== null && !hasEnded(transfer);

const wakeAt = (state: RollbackState): Date | null => {
  const { phase, transfer, ending, deadlineAt } = state;
  if (isTerminal(phase)) return null;
  if (!transfer || !isWriting(state)) return new Date(deadlineAt);
  return ending ? earliest(transfer.askAgainAt, deadlineAt) : nextLook(transfer);
};

const stepOf = (state: RollbackState, effects: readonly RollbackEffect[] = []): RollbackStep => ({
  state,
  effects,
  wakeAt: wakeAt(state),
  done: isTerminal(state.phase),
});

const published = (
  state: RollbackState,
  now: Date,
  effects: readonly RollbackEffect[] = [],
): RollbackStep => {
  const next = { ...state, publishedAt: laterThan(state.publishedAt, now) };
  return stepOf(next, [...effects, { type: 'itemChanged', change: change(next) }]);
};

const begin = (request: RollbackVm, transferId: TransferId, now: Date): RollbackStep =>
  published(
    {
      request,
      transferId,
      phase: 'preparing',
      vmId: null,
      facts: null,
      spec: null,
      power: 'as it was',
      wasRunning: false,
      transfer: null,
      writtenSince: null,
      reasons: [],
      fault: null,
      ending: null,
      deadlineAt: after(now, deadlines.factsMs),
      publishedAt: new Date(0).toISOString(),
    },
    now,
    [{ type: 'loadFacts', request }],
  );

// ---- the ends

const ended = (state: RollbackState, { phase, fault }: Ending, now: Date): RollbackStep =>
  published({ ...state, phase, fault }, now);

/** The disks are not what they were: the VM stays off. */
const interrupted = (state: RollbackState, ending: Ending, now: Date): RollbackStep => {
  const { spec, transfer } = state;
  const plain = ending.fault ?? new Fault('STOPPED', 'stopped').toJSON();
  const fault = spec ? interruptedFault(plain, spec, transfer?.progress ?? []) : plain;
  const { request, vmId } = state;
  const effects: RollbackEffect[] = vmId ? [{ type: 'leaveOff', request, vmId }] : [];
  return published({ ...state, phase: ending.phase, fault }, now, effects);
};

/** Goes on towards an end other than success as far as it can now. */
const conclude = (state: RollbackState, ending: Ending, now: Date): RollbackStep => {
  const going: RollbackState = { ...state, ending };
  if (isWriting(state)) {
    const transfer = state.transfer && askedAgain(state.transfer, now);
    const deadlineAt = after(now, deadlines.stopMs);
    return published({ ...going, phase: 'cleaning', transfer, deadlineAt }, now, stopCommands(state));
  }
  if (state.writtenSince !== null) return interrupted(going, ending, now);
  // It comes to an end of its own: the guest shuts down, or does not.
  if (state.power === 'stopping') return published({ ...going, phase: 'cleaning' }, now);
  return state.power === 'off'
    ? giveBack({ ...going, phase: 'cleaning' }, false, now)
    : ended(going, ending, now);
};

const fail = (state: RollbackState, fault: FaultJson, now: Date): RollbackStep =>
  conclude(state, { phase: 'failed', fault }, now);

const stopCommands = (state: RollbackState): RollbackEffect[] => {
  const { transfer, transferId } = state;
  return transfer && isUnheard(transfer) ? startCommand(state, true) : [{ type: 'stopTransfer', transferId }];
};

/** The end when a VM that was shut down for nothing could not be started: the operator is told. */
const leftOff = (state: RollbackState, why: string, now: Date): RollbackStep => {
  const { code, message, details } = state.ending?.fault ?? new Fault('STOPPED', 'stopped').toJSON();
  const told = `${message}; its disks are as they were, but the VM could not be started again (${why})`;
  return ended(
    state,
    { phase: 'failed', fault: { code, message: told, details: { ...details, leftOff: true } } },
    now,
  );
};

// ---- the way there

const shutDown = (state: RollbackState, vmId: VmId, now: Date): RollbackStep => {
  const { request } = state;
  const deadlineAt = after(now, deadlines.shutDownMs);
  return published({ ...state, power: 'stopping', deadlineAt }, now, [{ type: 'shutDown', request, vmId }]);
};

const onFacts = (state: RollbackState, { facts }: Event<'factsLoaded'>, now: Date): RollbackStep => {
  if (state.phase !== 'preparing' || state.facts) return stepOf(state);
  const { point, configuration, pool, vm } = facts;
  try {
    const spec = planRollback(state.request, facts);
    const { id: vmId, powerState } = vm.vm;
    const known = { vmId, facts: { point, configuration, pool }, spec, wasRunning: powerState === 'running' };
    const reasons = mergedReasons(state.reasons, damageReasons(point), vm.reasons);
    return shutDown({ ...state, ...known, reasons }, vmId, now);
  } catch (error) {
    return fail(state, Fault.from(error).toJSON(), now);
  }
};

const startCommand = (state: RollbackState, stopAsked = false): RollbackEffect[] => {
  const { spec, request, transferId } = state;
  if (!spec) return [];
  const { itemId: ownerId, group } = request;
  const command = { transferId, ownerId, group, spec, ...(stopAsked ? { stopAsked } : {}) };
  return [{ type: 'startTransfer', command }];
};

/** Its facts are judged again: much may happen in the minutes that a guest takes to shut down. */
const onOff = (state: RollbackState, { wasRunning, vm }: Event<'vmOff'>, now: Date): RollbackStep => {
  if (state.power !== 'stopping' || !state.facts || isTerminal(state.phase)) return stepOf(state);
  const off: RollbackState = { ...state, power: 'off', wasRunning: wasRunning || state.wasRunning };
  if (state.ending) return conclude(off, state.ending, now);
  try {
    const since = state.spec?.since ?? null;
    const spec = planRollback(state.request, { ...state.facts, vm, since });
    if (vm.vm.powerState !== 'stopped')
      throw new Fault('VM_STATE_REFUSED', `VM '${vm.vm.name}' was started by somebody else meanwhile`);
    const transfer = watchTransfer(state.transferId, now);
    const writing: RollbackState = { ...off, spec, phase: 'transferring', transfer };
    return published(writing, now, startCommand(writing));
  } catch (error) {
    return fail(off, Fault.from(error).toJSON(), now);
  }
};

const finish = (state: RollbackState, now: Date): RollbackStep => {
  const { vmId } = state;
  const deadlineAt = after(now, deadlines.removeCheckpointsMs);
  const effects: RollbackEffect[] = vmId ? [{ type: 'removeCheckpoints', vmId }] : [];
  return published({ ...state, phase: 'finishing', deadlineAt }, now, effects);
};

/** Also of a VM that was off and stays so: until it is given back, whoever else shuts it down leaves the start to this item (F8). */
const giveBack = (state: RollbackState, wasOffToo: boolean, now: Date): RollbackStep => {
  const { request, vmId } = state;
  const deadlineAt = after(now, deadlines.finishVmMs);
  const effects: RollbackEffect[] = vmId ? [{ type: 'startVm', request, vmId, wasOffToo }] : [];
  return published({ ...state, power: 'starting', deadlineAt }, now, effects);
};

const succeeded = (state: RollbackState, now: Date): RollbackStep =>
  published({ ...state, phase: 'succeeded', fault: null }, now);

/** The checkpoints are gone, or left to the reconciler: nothing trusts them after a roll-back (R14). */
const onCheckpoints = (state: RollbackState, now: Date): RollbackStep => {
  if (state.phase !== 'finishing' || state.power !== 'off') return stepOf(state);
  return giveBack(state, state.request.target.startAfter, now);
};

const onTransfer = (
  state: RollbackState,
  { change: news }: Event<'transferNews'>,
  now: Date,
): RollbackStep => {
  const transfer = isWriting(state) && state.transfer ? heard(state.transfer, news, now) : null;
  if (!transfer || isTerminal(state.phase)) return stepOf(state);
  const told: RollbackState = {
    ...state,
    transfer,
    writtenSince: state.writtenSince ?? news.capturedAt,
    reasons: mergedReasons(state.reasons, news.reasons, reasonsOf(news)),
  };
  switch (news.state) {
    case 'queued':
    case 'running':
      return published(told, now);
    // Whatever was wanted: every disk has the point's content.
    case 'succeeded':
      return finish({ ...told, ending: null }, now);
    case 'failed':
    case 'stopped':
      return conclude(
        asLeft(told, news),
        state.ending ?? { phase: 'failed', fault: transferFault(news) },
        now,
      );
  }
};

/** Its host remembers that this item gave the VM back: the databases are older, and what they say of half-written disks is over. */
const asLeft = (state: RollbackState, { fault }: TransferChanged): RollbackState =>
  fault?.code === 'ITEM_ENDED' ? { ...state, writtenSince: null } : state;

const reasonsOf = ({ result }: TransferChanged) =>
  result ? [...result.reasons, ...result.disks.flatMap(({ reasons }) => reasons)] : [];

const onStarted = (state: RollbackState, now: Date): RollbackStep => {
  if (state.power !== 'starting' || isTerminal(state.phase)) return stepOf(state);
  return state.ending ? ended(state, state.ending, now) : succeeded(state, now);
};

/** Once the disks are written it can't be stopped any more. */
const stop = (state: RollbackState, now: Date): RollbackStep => {
  if (isTerminal(state.phase)) return published(state, now);
  if (state.ending || state.phase === 'finishing') return stepOf(state);
  const fault = new Fault('STOPPED', 'stopped before all disks were rolled back').toJSON();
  return conclude(state, { phase: 'stopped', fault }, now);
};

/** Nobody knows what became of the transfer: it is taken as having written, and may still do so. */
const giveUp = (state: RollbackState, now: Date): RollbackStep => {
  const unheard = timedOut('the data-mover did not tell how the transfer ended', deadlines.stopMs);
  const message = `${unheard.message}; what it told last`;
  const fault = { ...unheard, message };
  const writtenSince = state.writtenSince ?? now.toISOString();
  return interrupted({ ...state, writtenSince }, { phase: 'failed', fault }, now);
};

const wokenWriting = (state: RollbackState, now: Date): RollbackStep => {
  const { transfer, ending } = state;
  if (!transfer) return stepOf(state);
  const again = { ...state, transfer: askedAgain(transfer, now) };
  if (ending) return isPast(state.deadlineAt, now) ? giveUp(state, now) : stepOf(again, stopCommands(state));
  if (isSilent(transfer, now)) return fail(state, transferSilent(), now);
  return mustAskAgain(transfer, now) ? stepOf(again, startCommand(state)) : stepOf(state);
};

/** What was off before is as it was; the reconciler gives it back later. */
const unstarted = (state: RollbackState, why: string, now: Date): RollbackStep => {
  const { ending, wasRunning, request, reasons } = state;
  if (ending) return wasRunning ? leftOff(state, why, now) : ended(state, ending, now);
  const isMissed = wasRunning || request.target.startAfter;
  return succeeded(
    isMissed ? { ...state, reasons: mergedReasons(reasons, ['POWER_ON_FAILED']) } : state,
    now,
  );
};

const woken = (state: RollbackState, now: Date): RollbackStep => {
  if (isTerminal(state.phase)) return stepOf(state);
  if (isWriting(state)) return wokenWriting(state, now);
  if (!isPast(state.deadlineAt, now)) return stepOf(state);
  switch (state.power) {
    case 'as it was':
      return fail(state, timedOut('the point and its VM were not found', deadlines.factsMs), now);
    case 'stopping': {
      // It may be off by now, and starting one that runs does nothing.
      const fault = timedOut('the VM was not shut down', deadlines.shutDownMs);
      const ending = state.ending ?? { phase: 'failed' as const, fault };
      return conclude({ ...state, power: 'off' }, ending, now);
    }
    case 'off':
      return onCheckpoints(state, now);
    case 'starting':
      return unstarted(state, 'no answer in time', now);
  }
};

const effectFailed = (
  state: RollbackState,
  { effect, fault }: Event<'effectFailed'>,
  now: Date,
): RollbackStep => {
  if (isTerminal(state.phase)) return stepOf(state);
  const ending: Ending = state.ending ?? { phase: 'failed', fault };
  switch (effect.type) {
    case 'loadFacts':
      return state.facts ? stepOf(state) : conclude(state, ending, now);
    case 'shutDown':
      return state.power === 'stopping' ? notShutDown(state, ending, fault.code, now) : stepOf(state);
    case 'startTransfer':
      return state.ending ? stepOf(state) : conclude(state, ending, now);
    case 'removeCheckpoints':
      return onCheckpoints(state, now);
    case 'startVm':
      return state.power === 'starting' ? unstarted(state, fault.message, now) : stepOf(state);
    case 'stopTransfer':
    case 'leaveOff':
    case 'itemChanged':
      return stepOf(state);
  }
};

/** A guest that refuses is left running; after any other failure it may be off all the same. */
const notShutDown = (state: RollbackState, ending: Ending, code: Fault['code'], now: Date): RollbackStep =>
  code === 'VM_STATE_REFUSED'
    ? conclude({ ...state, power: 'as it was' }, ending, now)
    : conclude({ ...state, power: 'off' }, ending, now);

const step = (state: RollbackState | null, event: RollbackEvent, now: Date): RollbackStep => {
  if (event.type === 'rollback')
    return state ? published(state, now) : begin(event.request, event.transferId, now);
  if (!state) throw new Fault('NOT_FOUND', 'there is no such roll-back');
  switch (event.type) {
    case 'stop':
      return stop(state, now);
    case 'factsLoaded':
      return onFacts(state, event, now);
    case 'vmOff':
      return onOff(state, event, now);
    case 'transferNews':
      return onTransfer(state, event, now);
    case 'checkpointsRemoved':
      return onCheckpoints(state, now);
    case 'vmStarted':
      return onStarted(state, now);
    case 'woken':
      return woken(state, now);
    case 'effectFailed':
      return effectFailed(state, event, now);
  }
};

export const rollbackMachine: Machine<RollbackState, RollbackEvent, RollbackEffect> = {
  kind: 'rollback',
  step,
};
