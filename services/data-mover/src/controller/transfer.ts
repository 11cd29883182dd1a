import {
  type BackupHostId,
  type DiskProgress,
  type FaultJson,
  type OpeningId,
  type ReasonCode,
  type TransferChanged,
  type TransferId,
  type TransferResult,
  type WorkSpec,
  type WriterId,
} from '@casvault/contracts';

/** Every time and bound of a transfer, in one place. */
export const transferLimits = {
  /** A worker that has not renewed for so long has lost its claim. Workers renew each quarter of it. */
  leaseMs: 15_000,
  /** A queued transfer's doorbell is rung again after so long: a nudge may have been lost. */
  nudgeEveryMs: 10_000,
  /** Progress is published at most so often. */
  progressEveryMs: 1_000,
  /** Queued for so long without one claim: failed. */
  queueMs: 12 * 3_600_000,
  /** Claimed and renewed, yet no byte further for so long: ended as failed. Longer than any `reconnect.minutes`. */
  stallMs: 90 * 60_000,
  /** Claims lost in a row, none of which got further than the ones before: failed. */
  fruitlessClaims: 5,
  /** New captures for lost ones: failed when the last is lost too. */
  recaptures: 3,
  /** Attempts that are remembered: their packs may be taken over, and are removed with a failed point. */
  keptWriters: 256,
  /** A script whose worker has not renewed is lost only when the worker has surely ended it: longer than it goes on without an answer. */
  scriptPatienceMs: 120_000,
} as const;

export type TransferStateName = TransferChanged['state'];
export type TransferKind = WorkSpec['kind'];
export type CaptureMethod = TransferResult['method'];

export interface TransferWriter {
  readonly writerId: WriterId;
  readonly openingId: OpeningId;
}

export interface TransferClaim {
  readonly workerId: BackupHostId;
  readonly writerId: WriterId;
  readonly leaseUntil: string;
}

/** What was asked. For removals `transferId` and `ownerId` are the point's id; the owner of a hook is its run. */
export interface TransferRequest {
  readonly transferId: TransferId;
  readonly ownerId: string;
  readonly group: string;
  readonly spec: WorkSpec;
}

export interface TransferState {
  readonly request: TransferRequest;
  readonly state: TransferStateName;
  /** Rises by one with every claim: what an older epoch reports is refused. */
  readonly epoch: number;
  /** While queued: the claim whose lease ran out; it may still be renewed until another worker claims. */
  readonly claim: TransferClaim | null;
  /** Names the capture; null until the first claim. */
  readonly openingId: OpeningId | null;
  /** Of earlier attempts, oldest first; of all attempts once it has ended. */
  readonly writers: readonly TransferWriter[];
  readonly stopAsked: boolean;
  /** Set when the controller itself ends the transfer: it ends as failed with this. */
  readonly stopFault: FaultJson | null;
  readonly capturedAt: string | null;
  readonly method: CaptureMethod | null;
  readonly progress: readonly DiskProgress[];
  readonly reasons: readonly ReasonCode[];
  readonly result: TransferResult | null;
  readonly fault: FaultJson | null;
  /** The furthest that any attempt with the present capture came. */
  readonly furthestBytes: number;
  /** When the present attempt last reported other figures than before. */
  readonly movedAt: string;
  readonly fruitless: number;
  readonly recaptures: number;
  /** Since when nobody has it, while queued. */
  readonly queuedAt: string;
  readonly nudgeAt: string;
  readonly publishedAt: string;
}

/** A transfer as it is told: the news of a hook have a form of their own. */
export type TransferNews = Omit<TransferChanged, 'kind'> & { readonly kind: TransferKind };

/** A script is begun once at most: when nobody knows how far it came, it has failed. To ask a precondition again does no harm. */
export const isRepeatable = (spec: WorkSpec): boolean => spec.kind !== 'hook' || spec.hook === 'precondition';

/** So long it may wait for a worker. */
export const queueMsOf = (spec: WorkSpec): number =>
  spec.kind === 'hook' ? spec.waitMinutes * 60_000 : transferLimits.queueMs;

export const isTerminal = (state: TransferStateName): boolean =>
  state === 'succeeded' || state === 'failed' || state === 'stopped';

export const storedBytes = (progress: readonly DiskProgress[]): number =>
  progress.reduce((sum, disk) => sum + disk.storedBytes, 0);
