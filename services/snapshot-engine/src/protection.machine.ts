import {
  checkpointName,
  Fault,
  type BackupSpec,
  type FaultJson,
  type Pool,
  type ReasonCode,
  type Tracking,
  type TransferChanged,
  type VmFacts,
} from '@casvault/contracts';
import { type Machine, type RuntimeEvent } from '@casvault/machine';
import { planCapture, type CapturePlan, type PlannedMethod } from './capture.rules.js';
import { after, deadlines, isPast, timedOut } from './deadlines.js';
import { isTerminal } from './item.js';
import { conclude, fail, leftBehind, notPrepared, settle, succeed } from './protection-ends.js';
import {
  published,
  removeCommand,
  startCommand,
  stepOf,
  stopCommand,
  type ProtectionEffect,
  type ProtectionStep,
  type Snapshot,
} from './protection-step.js';
import {
  heldByDeletion,
  type PlatformUse,
  type ProtectionIds,
  type ProtectionPlan,
  type ProtectionState,
  type ProtectVm,
} from './protection.js';
import { isReserveUnknown, reserveRefusal } from './reserve.rules.js';
import { sweepPartOf, type Parent } from './tracking.rules.js';
import {
  askedAgain,
  heard,
  isSilent,
  mergedReasons,
  mustAskAgain,
  transferFault,
  transferSilent,
  watchTransfer,
} from './transfer-watch.js';

/** What the catalogue knows of the VM, the disks and the pool that a protection is about. */
export interface History {
  /** The point to stand on; null: none, or a full was asked for. */
  readonly parent: Parent | null;
  /** Why a chain is opened though an incremental was asked for, or null. */
  readonly whyFull: ReasonCode | null;
  /** Checkpoints that earlier points may have left and no later point needs. */
  readonly supersedes: Tracking['supersedes'];
}

/**
 * The protection of one VM, once: facts -> capture plan and reserve -> chain and pending point -> VM shut down or snapshot taken where the
 * plan says so -> transfer -> available, or failed / stopped with nothing left in the pool; the VM is running again and its
 * snapshot removed before the end is told, whatever happened. A point is available only after its transfer succeeded, which
 * a worker reports only after the manifest is durable.
 */
export type ProtectionEvent =
  | { readonly type: 'protect'; readonly request: ProtectVm; readonly ids: ProtectionIds }
  | { readonly type: 'stop' }
  | {
      readonly type: 'factsLoaded';
      readonly facts: VmFacts;
      readonly pool: Pool;
      readonly history: History;
    }
  /** `isUndone`: there was nothing to do, so there is nothing to undo. */
  | { readonly type: 'prepared'; readonly snapshot: Snapshot | null; readonly isUndone: boolean }
  | { readonly type: 'undone' }
  | { readonly type: 'transferNews'; readonly change: TransferChanged }
  | RuntimeEvent<ProtectionEffect>;

type Event<T extends ProtectionEvent['type']> = Extract<ProtectionEvent, { type: T }>;
type Facts = Event<'factsLoaded'>;
type Captured = Extract<CapturePlan, { outcome: 'capture' }>;

/** D3: so long the guest's file systems may stand still for the instant. */
const quiesceSeconds = 10;

const begin = (request: ProtectVm, ids: ProtectionIds, now: Date): ProtectionStep =>
  published(
    {
      request,
      ids,
      phase: 'preparing',
      stage: 'facts',
      plan: null,
      platform: null,
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

// ---- the way there

const trackingSpec = (
  { request, ids }: ProtectionState,
  { parent, supersedes }: History,
  { tracking }: Captured,
): Tracking => {
  const isBegun = Object.values(tracking).some((disk) => disk.isBegun);
  return {
    checkpoint: isBegun ? checkpointName(ids.pointId) : null,
    supersedes: [...supersedes],
    withoutBitmap: parent && request.cbt.fallback !== 'full' ? 'skip' : 'compare',
    sampleBlocks: 66,
    sweepPart: sweepPartOf(parent),
  };
};

const specOf = (state: ProtectionState, { facts, pool, history }: Facts, captured: Captured): BackupSpec => {
  const { vm, platformName, platformVersion, diskService, configuration } = facts;
  const { parent } = history;
  const disks = captured.disks.map((disk) =>
    parent && captured.tracking[disk.target]?.isIncremental
      ? { ...disk, incrementalFrom: checkpointName(parent.pointId) }
      : disk,
  );
  return {
    kind: 'backup',
    pointId: state.ids.pointId,
    chainId: parent?.chainId ?? state.ids.chainId,
    pointKind: parent ? 'incremental' : 'full',
    parentPointId: parent?.pointId ?? null,
    pool,
    vm: { vmId: vm.id, uuid: vm.uuid, name: vm.name, platformName, platformVersion },
    configuration,
    diskService,
    disks,
    excludedDisks: captured.excludedDisks,
    tracking: trackingSpec(state, history, captured),
    quiesceSeconds: captured.method === 'live' ? quiesceSeconds : null,
    snapshot: null,
    runId: state.request.runId,
    options: state.request.options,
  };
};

const platformUses: Record<PlannedMethod, PlatformUse['kind'] | null> = {
  live: null,
  offline: null,
  'power-off': 'power-off',
  'internal-snapshot': 'internal',
  'external-snapshot': 'external',
};

const plan = (state: ProtectionState, event: Facts, now: Date): ProtectionStep => {
  if (state.stage !== 'facts') return stepOf(state);
  const { facts, history } = event;
  const { vm } = facts;
  const captured = planCapture(facts, state.request, history.parent);
  const told = { ...state, reasons: mergedReasons(captured.reasons) };
  if (captured.outcome === 'refused') return fail(told, captured.fault.toJSON(), now);
  if (captured.outcome === 'skipped') return skip(told, captured.fault.toJSON(), now);
  const short = reserveRefusal(facts, state.request.reserve);
  if (short) return fail({ ...state, reasons: ['RESERVE_TOO_SMALL'] }, short.toJSON(), now);
  const { method, tracking } = captured;
  const spec = specOf(state, event, captured);
  const diskReasons = Object.fromEntries(
    Object.entries(tracking).map(([target, { reasons }]) => [target, reasons] as const),
  );
  const hardware = { cpuCount: vm.cpuCount, memoryMiB: vm.memoryMiB, nics: vm.nics };
  const planned: ProtectionPlan = { platformId: vm.platformId, method, diskReasons, hardware, spec };
  const full: ReasonCode[] = history.parent ? [] : ['FULL_FIRST_POINT'];
  const unsure: ReasonCode[] = isReserveUnknown(facts, state.request.reserve) ? ['RESERVE_UNKNOWN'] : [];
  const use = platformUses[method];
  const next: ProtectionState = {
    ...state,
    phase: 'capturing',
    pointState: 'pending',
    plan: planned,
    platform: use && { kind: use, inEffect: true },
    reasons: mergedReasons(
      captured.reasons,
      unsure,
      state.reasons,
      history.whyFull ? [history.whyFull] : full,
      facts.reasons,
    ),
  };
  return use ? prepare(next, use, now) : move(next, planned, now);
};

/** `cbt.fallback`: with an alert it is a failure, else no error at all. */
const skip = (state: ProtectionState, fault: NonNullable<ProtectionState['fault']>, now: Date) => {
  const told = { ...state, reasons: mergedReasons(state.reasons, ['SKIPPED_WITHOUT_CBT']) };
  return state.request.cbt.fallback === 'skip-silent'
    ? conclude(told, { phase: 'skipped', fault: null }, now)
    : fail(told, fault, now);
};

const prepare = (state: ProtectionState, use: PlatformUse['kind'], now: Date): ProtectionStep => {
  const preparing: ProtectionState = {
    ...state,
    stage: 'preparing',
    deadlineAt: after(now, deadlines.prepareMs),
  };
  const { request } = state;
  return published(preparing, now, [{ type: 'platform', action: 'prepare', use, request }]);
};

const move = (state: ProtectionState, planned: ProtectionPlan, now: Date): ProtectionStep => {
  const transfer = watchTransfer(state.ids.transferId, now);
  const moving: ProtectionState = { ...state, stage: 'moving', plan: planned, transfer };
  return published(moving, now, [startCommand(moving, planned.spec)]);
};

/** What the disk service reads is the snapshot from now on: the frozen layer, or the image with the snapshot inside. */
const readingSnapshot = (
  planned: ProtectionPlan,
  { name, disks: frozen }: Snapshot,
  kind: 'internal' | 'external',
): ProtectionPlan => {
  const { spec } = planned;
  const disks = spec.disks.map((disk) => {
    const path = frozen.find(({ target }) => target === disk.target)?.path;
    if (path === undefined)
      throw new Fault('PLATFORM_PROTOCOL', `the snapshot of VM '${spec.vm.name}' has no disk ${disk.target}`);
    return { ...disk, path };
  });
  return { ...planned, spec: { ...spec, disks, snapshot: { kind, name } } };
};

const onPrepared = (
  state: ProtectionState,
  { snapshot, isUndone }: Event<'prepared'>,
  now: Date,
): ProtectionStep => {
  const { plan: planned, platform } = state;
  if (state.stage !== 'preparing' || !planned || !platform) return stepOf(state);
  const { kind } = platform;
  const next = { ...state, platform: { kind, inEffect: !isUndone } };
  if (kind === 'power-off' || !snapshot) return move(next, planned, now);
  try {
    return move(next, readingSnapshot(planned, snapshot, kind), now);
  } catch (error) {
    return fail(next, Fault.from(error).toJSON(), now);
  }
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
  if (!transfer || (state.stage !== 'moving' && state.stage !== 'stopping')) return stepOf(state);
  const told = { ...state, transfer, reasons: mergedReasons(state.reasons, news.reasons) };
  switch (news.state) {
    case 'queued':
    case 'running':
      return progress(told, news, now);
    case 'succeeded': {
      const captured = { ...told, capturedAt: news.capturedAt ?? told.capturedAt };
      return succeed(captured, news, now, capturedFact(told, captured));
    }
    case 'failed':
      if (state.ending) return settle(told, now);
      return news.fault?.code === 'CBT_INVALID'
        ? skip(told, news.fault, now)
        : fail(told, transferFault(news), now);
    case 'stopped':
      return conclude(told, state.ending ?? { phase: 'failed', fault: transferFault(news) }, now);
  }
};

/** The point's data are gone, or the data-mover has given up: either way this is the end. */
const onRemoval = (state: ProtectionState, news: TransferChanged, now: Date): ProtectionStep => {
  const isOver = news.state !== 'queued' && news.state !== 'running';
  return state.stage === 'removing' && isOver ? settle(state, now) : stepOf(state);
};

const onUndone = (state: ProtectionState, now: Date): ProtectionStep =>
  state.stage === 'undoing' && state.platform
    ? settle({ ...state, platform: { ...state.platform, inEffect: false } }, now)
    : stepOf(state);

/** Once the point is available nothing is left to stop. */
const stop = (state: ProtectionState, now: Date): ProtectionStep => {
  if (isTerminal(state.phase)) return published(state, now);
  if (state.ending || state.pointState === 'available') return stepOf(state);
  const fault = new Fault('STOPPED', 'stopped before the point was available').toJSON();
  return conclude(state, { phase: 'stopped', fault }, now);
};

const wokenMoving = (state: ProtectionState, now: Date): ProtectionStep => {
  const { transfer, plan: planned } = state;
  if (!transfer || !planned) return stepOf(state);
  if (isSilent(transfer, now)) return fail(state, transferSilent(), now);
  if (!mustAskAgain(transfer, now)) return stepOf(state);
  return stepOf({ ...state, transfer: askedAgain(transfer, now) }, [startCommand(state, planned.spec)]);
};

const wokenEnding = (state: ProtectionState, now: Date): ProtectionStep => {
  const { transfer, stage } = state;
  if (isPast(state.deadlineAt, now)) return settle(state, now);
  if (!transfer || !mustAskAgain(transfer, now)) return stepOf(state);
  const command = stage === 'removing' ? removeCommand(state) : stopCommand(state);
  return stepOf({ ...state, transfer: askedAgain(transfer, now) }, [command]);
};

const woken = (state: ProtectionState, now: Date): ProtectionStep => {
  const isLate = isPast(state.deadlineAt, now);
  switch (state.stage) {
    case 'over':
      return stepOf(state);
    case 'moving':
      return wokenMoving(state, now);
    case 'stopping':
    case 'removing':
      return wokenEnding(state, now);
    case 'facts':
      return isLate
        ? fail(state, timedOut("the platform did not tell the VM's facts", deadlines.factsMs), now)
        : stepOf(state);
    case 'preparing':
      return isLate
        ? notPrepared(state, timedOut('the platform did not prepare the VM', deadlines.prepareMs), now)
        : stepOf(state);
    case 'undoing':
      return isLate ? leftBehind(state, 'no answer in time', now) : stepOf(state);
  }
};

/** A deletion that holds the newest chain for too long does not fail a backup that names no chain: it opens another. */
const factsFailed = (
  state: ProtectionState,
  { pointKind, chainId }: ProtectVm,
  fault: FaultJson,
  now: Date,
): ProtectionStep => {
  if (state.stage !== 'facts' || state.request.pointKind !== pointKind) return stepOf(state);
  const isFreeToOpen = pointKind === 'incremental' && chainId === undefined;
  if (fault.details[heldByDeletion] === undefined || !isFreeToOpen) return fail(state, fault, now);
  const request: ProtectVm = { ...state.request, pointKind: 'full' };
  const reasons = mergedReasons(state.reasons, ['CHAIN_IN_DELETION']);
  return stepOf({ ...state, request, reasons, deadlineAt: after(now, deadlines.factsMs) }, [
    { type: 'loadFacts', request },
  ]);
};

const effectFailed = (
  state: ProtectionState,
  { effect, fault }: Event<'effectFailed'>,
  now: Date,
): ProtectionStep => {
  switch (effect.type) {
    case 'loadFacts':
      return factsFailed(state, effect.request, fault, now);
    case 'startTransfer':
      return state.stage === 'moving' ? fail(state, fault, now) : stepOf(state);
    case 'platform':
      if (effect.action === 'prepare')
        return state.stage === 'preparing' ? notPrepared(state, fault, now) : stepOf(state);
      return state.stage === 'undoing' ? leftBehind(state, fault.message, now) : stepOf(state);
    default:
      return stepOf(state);
  }
};

const step = (state: ProtectionState | null, event: ProtectionEvent, now: Date): ProtectionStep => {
  if (event.type === 'protect') return state ? published(state, now) : begin(event.request, event.ids, now);
  if (!state) throw new Fault('NOT_FOUND', 'there is no such protection');
  switch (event.type) {
    case 'stop':
      return stop(state, now);
    case 'factsLoaded':
      return plan(state, event, now);
    case 'prepared':
      return onPrepared(state, event, now);
    case 'undone':
      return onUndone(state, now);
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
