import {
  Fault,
  trackingSchema,
  type BackupSpec,
  type ChainId,
  type ItemChanged,
  type PointId,
  type pointAvailable,
  type pointCaptured,
  type Pool,
  type removePointData,
  type startTransfer,
  type TransferChanged,
  type TransferId,
  type VmFacts,
} from '@casvault/contracts';
import { type Machine, type RuntimeEvent, type Step } from '@casvault/machine';
import { type z } from 'zod';
import { decideCapture } from './capture.rules.js';
import { after, deadlines, earliest, isPast } from './deadlines.js';
import { isTerminal, laterThan, type Ending } from './item.js';
import { type ProtectionIds, type ProtectionState, type ProtectVm } from './protection.js';
import {
  askedAgain,
  hasEnded,
  heard,
  isSilent,
  mergedReasons,
  mustAskAgain,
  nextLook,
  watchTransfer,
} from './transfer-watch.js';

/** The newest available point of the VM in the pool, on which an incremental point can stand. */
export interface Parent {
  readonly pointId: PointId;
  readonly chainId: ChainId;
}

/**
 * The protection of one VM, once: facts -> capture decision -> chain and pending point -> transfer -> available, or
 * failed / stopped with nothing left in the pool. A point is available only after its transfer succeeded, which a
 * worker reports only after the manifest is durable.
 */
export type ProtectionEvent =
  | { readonly type: 'protect'; readonly request: ProtectVm; readonly ids: ProtectionIds }
  | { readonly type: 'stop' }
  | {
      readonly type: 'factsLoaded';
      readonly facts: VmFacts;
      readonly pool: Pool;
      readonly parent: Parent | null;
    }
  | { readonly type: 'transferNews'; readonly change: TransferChanged }
  | RuntimeEvent<ProtectionEffect>;

export type ProtectionEffect =
  | { readonly type: 'loadFacts'; readonly request: ProtectVm }
  | { readonly type: 'startTransfer'; readonly command: z.infer<typeof startTransfer.payload> }
  | { readonly type: 'stopTransfer'; readonly transferId: TransferId }
  | { readonly type: 'removeData'; readonly command: z.infer<typeof removePointData.payload> }
  | { readonly type: 'itemChanged'; readonly change: ItemChanged }
  | { readonly type: 'pointCaptured'; readonly fact: z.infer<typeof pointCaptured.payload> }
  | { readonly type: 'pointAvailable'; readonly fact: z.infer<typeof pointAvailable.payload> };

type ProtectionStep = Step<ProtectionState, ProtectionEffect>;
type Facts = Extract<ProtectionEvent, { type: 'factsLoaded' }>;

const change = (state: ProtectionState): ItemChanged => ({
  itemId: state.request.itemId,
  runId: state.request.runId,
  kind: 'backup',
  phase: state.phase,
  pointId: state.plan?.spec.pointId ?? null,
  restoredVmId: null,
  capturedAt: state.capturedAt,
  progress: [...(state.transfer?.progress ?? [])],
  reasons: [...state.reasons],
  fault: state.fault,
  at: state.publishedAt,
});

const wakeAt = ({ phase, transfer, deadlineAt, ending }: ProtectionState): Date | null => {
  if (isTerminal(phase)) return null;
  if (!transfer) return new Date(deadlineAt);
  if (!ending) return nextLook(transfer);
  return earliest(transfer.askAgainAt, deadlineAt);
};

const stepOf = (state: ProtectionState, effects: readonly ProtectionEffect[] = []): ProtectionStep => ({
  state,
  effects,
  wakeAt: wakeAt(state),
  done: isTerminal(state.phase),
});

const published = (
  state: ProtectionState,
  now: Date,
  effects: readonly ProtectionEffect[] = [],
): ProtectionStep => {
  const next = { ...state, publishedAt: laterThan(state.publishedAt, now) };
  return stepOf(next, [...effects, { type: 'itemChanged', change: change(next) }]);
};

const begin = (request: ProtectVm, ids: ProtectionIds, now: Date): ProtectionStep =>
  published(
    {
      request,
      ids,
      phase: 'preparing',
      plan: null,
      pointState: null,
      transfer: null,
      createdAt: now.toISOString(),
      capturedAt: null,
      availableAt: null,
      result: null,
      reasons: [],
      fault: null,
      ending: null,
      deadlineAt: after(now, deadlines.factsMs),
      publishedAt: new Date(0).toISOString(),
    },
    now,
    [{ type: 'loadFacts', request }],
  );

const startCommand = (state: ProtectionState, spec: BackupSpec): ProtectionEffect => ({
  type: 'startTransfer',
  command: {
    transferId: state.ids.transferId,
    ownerId: state.request.itemId,
    group: state.request.group,
    spec,
  },
});
const stopCommand = (state: ProtectionState): ProtectionEffect => ({
  type: 'stopTransfer',
  transferId: state.ids.transferId,
});
const removeCommand = ({ request, plan, ids }: ProtectionState): ProtectionEffect => ({
  type: 'removeData',
  command: {
    poolId: request.poolId,
    chainId: plan?.spec.chainId ?? ids.chainId,
    pointId: ids.pointId,
    group: request.group,
  },
});

// ---- the ends

const ended = (state: ProtectionState, ending: Ending, now: Date): ProtectionStep =>
  published(
    { ...state, phase: ending.phase, fault: ending.fault, pointState: state.pointState && 'failed', ending },
    now,
  );

/**
 * Goes towards an end other than success: the transfer is stopped first, then what it wrote is removed. Until the
 * transfer has ended the end is only intended: a transfer that succeeds all the same makes an available point.
 */
const conclude = (state: ProtectionState, ending: Ending, now: Date): ProtectionStep => {
  const { transfer } = state;
  if (!transfer || (hasEnded(transfer) && transfer.epoch === 0)) return ended(state, ending, now);
  if (!hasEnded(transfer)) {
    const stopping = { ...state, ending, deadlineAt: after(now, deadlines.stopMs) };
    return stepOf({ ...stopping, transfer: askedAgain(transfer, now) }, [stopCommand(state)]);
  }
  return clean(state, ending, now);
};

const clean = (state: ProtectionState, ending: Ending, now: Date): ProtectionStep => {
  const cleaning: ProtectionState = {
    ...state,
    phase: 'cleaning',
    pointState: 'failed',
    fault: ending.fault,
    ending,
    transfer: state.transfer && askedAgain(state.transfer, now),
    deadlineAt: after(now, deadlines.cleanMs),
  };
  return published(cleaning, now, [removeCommand(cleaning)]);
};

const fail = (state: ProtectionState, fault: Fault, now: Date): ProtectionStep =>
  conclude(state, { phase: 'failed', fault: fault.toJSON() }, now);

const timedOut = (what: string, ms: number): Fault =>
  new Fault('DEADLINE_EXCEEDED', `${what} within ${ms / 60_000} minutes`, {
    details: { minutes: ms / 60_000 },
  });

const succeed = (state: ProtectionState, news: TransferChanged, now: Date): ProtectionStep => {
  const { plan, request, ids } = state;
  const at = now.toISOString();
  const done: ProtectionState = {
    ...state,
    phase: 'succeeded',
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
  return published(done, now, [{ type: 'pointAvailable', fact }]);
};

// ---- the way there

/** A full opens a new chain. An incremental stands on the newest available point; without one it is a full. */
const specOf = (
  state: ProtectionState,
  { facts, pool, parent }: Facts,
  disks: BackupSpec['disks'],
): BackupSpec => {
  const { vm, platformName, platformVersion, diskService, configuration } = facts;
  const base = state.request.pointKind === 'incremental' ? parent : null;
  return {
    kind: 'backup',
    pointId: state.ids.pointId,
    chainId: base?.chainId ?? state.ids.chainId,
    pointKind: base ? 'incremental' : 'full',
    parentPointId: base?.pointId ?? null,
    pool,
    vm: { vmId: vm.id, uuid: vm.uuid, name: vm.name, platformName, platformVersion },
    configuration,
    diskService,
    disks,
    excludedDisks: [],
    tracking: trackingSchema.parse({}),
    quiesceSeconds: null,
    snapshot: null,
    options: state.request.options,
  };
};

const plan = (state: ProtectionState, event: Facts, now: Date): ProtectionStep => {
  if (state.phase !== 'preparing') return stepOf(state);
  const { vm } = event.facts;
  const decision = decideCapture(event.facts);
  if (decision.outcome === 'refused')
    return fail({ ...state, reasons: mergedReasons(decision.reasons) }, decision.fault, now);
  const spec = specOf(state, event, decision.disks);
  const hardware = { cpuCount: vm.cpuCount, memoryMiB: vm.memoryMiB, nics: vm.nics };
  const planned: ProtectionState = {
    ...state,
    phase: 'capturing',
    pointState: 'pending',
    plan: { platformId: vm.platformId, method: decision.method, hardware, spec },
    reasons: mergedReasons(decision.reasons, spec.parentPointId ? [] : ['FULL_FIRST_POINT']),
    transfer: watchTransfer(state.ids.transferId, now),
  };
  return published(planned, now, [startCommand(planned, spec)]);
};

const order = ['pending', 'capturing', 'captured', 'transferring'] as const;
type Going = (typeof order)[number];
const phaseAt = {
  pending: 'capturing',
  capturing: 'capturing',
  captured: 'captured',
  transferring: 'transferring',
} as const;

/** D5: forwards only; news that lag behind, or a capture made anew, don't take a state back. */
const goingState = (
  state: ProtectionState,
  { state: transfer, capturedAt, progress }: TransferChanged,
): Going => {
  const hasBytes = progress.some(({ doneBytes, resumedBytes }) => doneBytes + resumedBytes > 0);
  const captured = capturedAt === null ? 'capturing' : hasBytes ? 'transferring' : 'captured';
  const told: Going = transfer === 'queued' && capturedAt === null ? 'pending' : captured;
  const present = order.findIndex((name) => name === state.pointState);
  return order[Math.max(present, order.indexOf(told))] ?? told;
};

const progress = (state: ProtectionState, news: TransferChanged, now: Date): ProtectionStep => {
  const pointState = goingState(state, news);
  const next: ProtectionState = {
    ...state,
    pointState,
    phase: phaseAt[pointState],
    capturedAt: news.capturedAt ?? state.capturedAt,
  };
  return published(next, now, capturedFact(state, next));
};

/** Once a point: a capture made anew is no news to the application. */
const capturedFact = (
  before: ProtectionState,
  { request, ids, capturedAt }: ProtectionState,
): ProtectionEffect[] =>
  before.capturedAt !== null || capturedAt === null
    ? []
    : [
        {
          type: 'pointCaptured',
          fact: { pointId: ids.pointId, vmId: request.vmId, runId: request.runId, capturedAt },
        },
      ];

const onTransfer = (state: ProtectionState, news: TransferChanged, now: Date): ProtectionStep => {
  const transfer = state.transfer && heard(state.transfer, news, now);
  if (!transfer || state.phase === 'cleaning') return stepOf(state);
  const told = { ...state, transfer, reasons: mergedReasons(state.reasons, news.reasons) };
  switch (news.state) {
    case 'queued':
    case 'running':
      return progress(told, news, now);
    case 'succeeded': {
      const captured = { ...told, capturedAt: news.capturedAt ?? told.capturedAt };
      const step = succeed(captured, news, now);
      return { ...step, effects: [...capturedFact(told, captured), ...step.effects] };
    }
    case 'failed':
      return conclude(told, state.ending ?? { phase: 'failed', fault: news.fault }, now);
    case 'stopped': {
      const unasked = new Fault('STOPPED', 'the transfer was stopped at the data-mover').toJSON();
      return conclude(told, state.ending ?? { phase: 'failed', fault: unasked }, now);
    }
  }
};

/** The point's data are gone, or the data-mover has given up: either way this is the end. */
const onRemoval = (state: ProtectionState, news: TransferChanged, now: Date): ProtectionStep => {
  const isOver = news.state !== 'queued' && news.state !== 'running';
  return state.phase === 'cleaning' && state.ending && isOver
    ? ended(state, state.ending, now)
    : stepOf(state);
};

const stop = (state: ProtectionState, now: Date): ProtectionStep => {
  if (isTerminal(state.phase)) return published(state, now);
  if (state.ending) return stepOf(state);
  const fault = new Fault('STOPPED', 'stopped before the point was available').toJSON();
  return conclude(state, { phase: 'stopped', fault }, now);
};

const wokenToStop = (state: ProtectionState, ending: Ending, now: Date): ProtectionStep => {
  const { transfer, phase } = state;
  if (isPast(state.deadlineAt, now))
    return phase === 'cleaning' ? ended(state, ending, now) : clean(state, ending, now);
  if (!transfer || !mustAskAgain(transfer, now)) return stepOf(state);
  const command = phase === 'cleaning' ? removeCommand(state) : stopCommand(state);
  return stepOf({ ...state, transfer: askedAgain(transfer, now) }, [command]);
};

const woken = (state: ProtectionState, now: Date): ProtectionStep => {
  const { transfer, ending, plan: planned } = state;
  if (isTerminal(state.phase)) return stepOf(state);
  if (ending) return wokenToStop(state, ending, now);
  if (!transfer || !planned)
    return isPast(state.deadlineAt, now)
      ? fail(state, timedOut("the platform did not tell the VM's facts", deadlines.factsMs), now)
      : stepOf(state);
  if (isSilent(transfer, now))
    return fail(state, timedOut('the data-mover did not answer', deadlines.transferSilenceMs), now);
  if (!mustAskAgain(transfer, now)) return stepOf(state);
  return stepOf({ ...state, transfer: askedAgain(transfer, now) }, [startCommand(state, planned.spec)]);
};

const effectFailed = (
  state: ProtectionState,
  { effect, fault }: Extract<ProtectionEvent, { type: 'effectFailed' }>,
  now: Date,
): ProtectionStep => {
  const isAwaited =
    (effect.type === 'loadFacts' && state.phase === 'preparing') || effect.type === 'startTransfer';
  if (!isAwaited || isTerminal(state.phase) || state.ending) return stepOf(state);
  return conclude(state, { phase: 'failed', fault }, now);
};

const step = (state: ProtectionState | null, event: ProtectionEvent, now: Date): ProtectionStep => {
  if (event.type === 'protect') return state ? published(state, now) : begin(event.request, event.ids, now);
  if (!state) throw new Fault('NOT_FOUND', 'there is no such protection');
  switch (event.type) {
    case 'stop':
      return stop(state, now);
    case 'factsLoaded':
      return plan(state, event, now);
    case 'transferNews':
      if (isTerminal(state.phase)) return stepOf(state);
      return event.change.kind === 'removal'
        ? onRemoval(state, event.change, now)
        : onTransfer(state, event.change, now);
    case 'woken':
      return woken(state, now);
    case 'effectFailed':
      return effectFailed(state, event, now);
  }
};

export const protectionMachine: Machine<ProtectionState, ProtectionEvent, ProtectionEffect> = {
  kind: 'protection',
  step,
};
