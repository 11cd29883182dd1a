import {
  type BackupSpec,
  type ChainId,
  type FaultJson,
  type Point,
  type PointId,
  type protectVm,
  type ReasonCode,
  type TransferId,
  type TransferResult,
  type Vm,
} from '@casvault/contracts';
import { type z } from 'zod';
import { type PlannedMethod } from './capture.rules.js';
import { type Ending, type ItemPhase } from './item.js';
import { type TransferWatch } from './transfer-watch.js';

export type ProtectVm = z.infer<typeof protectVm.payload>;

/** In the details of a fault: the chain that a deletion holds. */
export const heldByDeletion = 'chainInDeletion';

/** Minted with the request; a chain id that an incremental point does not need stays unused. */
export interface ProtectionIds {
  readonly pointId: PointId;
  readonly chainId: ChainId;
  readonly transferId: TransferId;
}

/** What a restore needs of the VM besides its disks. */
export interface Hardware {
  readonly cpuCount: number;
  readonly memoryMiB: number;
  readonly nics: Vm['nics'];
}

/** What was decided from the platform's facts. */
export interface ProtectionPlan {
  readonly platformId: Point['platformId'];
  readonly method: PlannedMethod;
  /** Why disks are read in full before their host is asked, by target. */
  readonly diskReasons: Readonly<Record<string, readonly ReasonCode[]>>;
  readonly hardware: Hardware;
  readonly spec: BackupSpec;
}

/** What is waited for. `undoing`: the VM is started again or its snapshot removed. `removing`: the point's data. */
export type Stage = 'facts' | 'preparing' | 'moving' | 'stopping' | 'undoing' | 'removing' | 'over';

/** What the capture needs of the platform, and whether it may be in effect there. */
export interface PlatformUse {
  readonly kind: 'power-off' | 'internal' | 'external';
  readonly inEffect: boolean;
}

export interface ProtectionState {
  readonly request: ProtectVm;
  readonly ids: ProtectionIds;
  readonly phase: ItemPhase;
  readonly stage: Stage;
  /** Null before the facts are known: a refused VM gets no point. */
  readonly plan: ProtectionPlan | null;
  /** Null: the capture needs nothing. */
  readonly platform: PlatformUse | null;
  readonly pointState: Point['state'] | null;
  readonly transfer: TransferWatch | null;
  readonly createdAt: string;
  readonly capturedAt: string | null;
  readonly availableAt: string | null;
  readonly result: TransferResult | null;
  readonly reasons: readonly ReasonCode[];
  readonly fault: FaultJson | null;
  /** Decided, while the transfer is brought to its end and its data are removed. */
  readonly ending: Ending | null;
  /** Of the present wait. */
  readonly deadlineAt: string;
  readonly publishedAt: string;
}

const diskOf = (disk: BackupSpec['disks'][number], state: ProtectionState): Point['disks'][number] => {
  const done = state.result?.disks.find(({ target }) => target === disk.target);
  const { diskId, target, role, bus, format, sizeBytes } = disk;
  return {
    diskId,
    target,
    role,
    bus,
    format,
    sizeBytes: done?.sizeBytes ?? sizeBytes,
    readBytes: done ? done.doneBytes + done.resumedBytes : 0,
    storedBytes: done?.storedBytes ?? 0,
    mapRoot: done?.mapRoot ?? null,
    reasons: [...new Set([...(state.plan?.diskReasons[target] ?? []), ...(done?.reasons ?? [])])],
    tracked: done?.tracked ?? false,
    suspect: false,
  };
};

/** The point as the catalogue shows it, or null while there is none. */
export const pointOf = (state: ProtectionState): Point | null => {
  const { plan, pointState, request } = state;
  if (!plan || !pointState) return null;
  const { spec } = plan;
  return {
    id: spec.pointId,
    chainId: spec.chainId,
    parentPointId: spec.parentPointId,
    kind: spec.pointKind,
    state: pointState,
    platformId: plan.platformId,
    vmId: request.vmId,
    vmName: spec.vm.name,
    poolId: request.poolId,
    runId: request.runId,
    createdAt: state.createdAt,
    capturedAt: state.capturedAt,
    availableAt: state.availableAt,
    method: plan.method === 'power-off' ? 'offline' : plan.method,
    consistency: state.result?.consistency ?? 'crash',
    excludedDisks: spec.excludedDisks,
    poolBytes: state.result?.poolBytes ?? 0,
    disks: spec.disks.map((disk) => diskOf(disk, state)),
    reasons: [...state.reasons],
    fault: state.fault,
    hold: null,
    verification: null,
    copyOf: null,
  };
};
