import {
  type BackupSpec,
  type createVmSnapshot,
  type ItemChanged,
  type pointAvailable,
  type pointCaptured,
  type removePoints,
  type TransferId,
} from '@casvault/contracts';
import { type Step } from '@casvault/machine';
import { type z } from 'zod';
import { earliest } from './deadlines.js';
import { isTerminal, laterThan } from './item.js';
import { type PlatformUse, type ProtectionState, type ProtectVm } from './protection.js';
import { type TransferEffect } from './transfer-steps.js';
import { isUnheard, nextLook } from './transfer-watch.js';

export type Snapshot = z.infer<typeof createVmSnapshot.reply>;

export type ProtectionEffect =
  | { readonly type: 'loadFacts'; readonly request: ProtectVm }
  /** One after the other, in their order: what undoes comes only when what makes has succeeded or was given up. */
  | {
      readonly type: 'platform';
      readonly action: 'prepare' | 'undo';
      readonly use: PlatformUse['kind'];
      readonly request: ProtectVm;
    }
  | { readonly type: 'removeData'; readonly command: z.infer<typeof removePoints.payload> }
  | { readonly type: 'pointCaptured'; readonly fact: z.infer<typeof pointCaptured.payload> }
  | { readonly type: 'pointAvailable'; readonly fact: z.infer<typeof pointAvailable.payload> }
  | TransferEffect;

export type ProtectionStep = Step<ProtectionState, ProtectionEffect>;

const change = (state: ProtectionState): ItemChanged => ({
  itemId: state.request.itemId,
  runId: state.request.runId,
  kind: 'backup',
  phase: state.phase,
  pointId: state.plan?.spec.pointId ?? null,
  restoredVmId: null,
  imageId: null,
  capturedAt: state.capturedAt,
  progress: [...(state.transfer?.progress ?? [])],
  reasons: [...state.reasons],
  fault: state.fault,
  at: state.publishedAt,
});

const wakeAt = ({ stage, transfer, deadlineAt }: ProtectionState): Date | null => {
  switch (stage) {
    case 'over':
      return null;
    case 'moving':
      return transfer && nextLook(transfer);
    case 'stopping':
    case 'removing':
      return earliest(deadlineAt, transfer?.askAgainAt ?? deadlineAt);
    default:
      return new Date(deadlineAt);
  }
};

export const stepOf = (
  state: ProtectionState,
  effects: readonly ProtectionEffect[] = [],
): ProtectionStep => ({ state, effects, wakeAt: wakeAt(state), done: isTerminal(state.phase) });

/** A step that is told to the run. */
export const published = (
  state: ProtectionState,
  now: Date,
  effects: readonly ProtectionEffect[] = [],
): ProtectionStep => {
  const next = { ...state, publishedAt: laterThan(state.publishedAt, now) };
  return stepOf(next, [...effects, { type: 'itemChanged', change: change(next) }]);
};

const startOrStop = (state: ProtectionState, spec: BackupSpec, stopAsked?: true): ProtectionEffect => ({
  type: 'startTransfer',
  command: {
    transferId: state.ids.transferId,
    ownerId: state.request.itemId,
    group: state.request.group,
    spec,
    ...(stopAsked ? { stopAsked } : {}),
  },
});
export const startCommand = (state: ProtectionState, spec: BackupSpec): ProtectionEffect =>
  startOrStop(state, spec);
/** What was never heard of may never have come: it is named in full, so that it is recorded as stopped. */
export const stopCommand = (state: ProtectionState): ProtectionEffect => {
  const { transfer, plan, ids } = state;
  return plan && transfer && isUnheard(transfer)
    ? startOrStop(state, plan.spec, true)
    : { type: 'stopTransfer', transferId: ids.transferId };
};
/** The removal of what a point may have in the pool is a transfer with the point's own id: however often it is asked for, it is one. */
export const removeCommand = ({ request, plan, ids }: ProtectionState): ProtectionEffect => ({
  type: 'removeData',
  command: {
    transferId: ids.pointId as string as TransferId,
    ownerId: request.itemId,
    poolId: request.poolId,
    chainId: plan?.spec.chainId ?? ids.chainId,
    pointIds: [ids.pointId],
    dryRun: false,
    group: request.group,
  },
});
