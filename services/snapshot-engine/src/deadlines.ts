import { Fault, type FaultJson } from '@casvault/contracts';

/** Every wait of a protection or restore, in one place. Whatever is waited for, ends in a clear failure at the latest here. */
export const deadlines = {
  /** Nothing heard of a transfer for so long: asked again. Messages may be lost; every request is idempotent. */
  askAgainMs: 15_000,
  /** For the platform to tell the VM's facts, or the catalogue the point's. */
  factsMs: 10 * 60_000,
  /** A data-mover controller that answers nothing for so long is given up. */
  transferSilenceMs: 30 * 60_000,
  /** For a transfer to end after it was told to stop. */
  stopMs: 10 * 60_000,
  /** For a point's data to be removed; the data-mover goes on trying by itself. */
  cleanMs: 10 * 60_000,
  /** For the guest to shut down, or the platform to take a snapshot. */
  prepareMs: 30 * 60_000,
  /** For the VM to be started again, or its snapshot to be removed. */
  undoMs: 60 * 60_000,
  createVmMs: 30 * 60_000,
  finishVmMs: 30 * 60_000,
  removeVmMs: 60 * 60_000,
  /** For a guest to shut down; it has less time, this is for a platform that stays silent. */
  shutDownMs: 30 * 60_000,
  removeCheckpointsMs: 5 * 60_000,
  /** For what a deletion frees to be measured. */
  measureMs: 30 * 60_000,
  /** A deletion that is not confirmed for so long has to be previewed anew. */
  confirmMs: 24 * 3_600_000,
  /** For all attempts at removing confirmed points, also those that wait for a mover. */
  deletionMs: 24 * 3_600_000,
  /** For a point to be verified, with the wait for a mover. */
  verificationMs: 72 * 3_600_000,
} as const;

/**
 * For answers about what a platform does meanwhile. Asked again, inventory goes on from what there is; so an answer that is lost
 * costs this long, and what is left of G2's five minutes is for the rest of the item.
 */
export const platformDeadlines = {
  /** Inventory answers after 40 s, whether the guest is down or not. */
  shutDownMs: 60_000,
  /** A VM's start, a snapshot. */
  taskMs: 120_000,
} as const;

/** Attempts before a passing cause is taken as final: the first within 200 ms, later ones every 15 s. */
export const attemptLimits = {
  /** About 100 s. */
  loadFacts: 12,
  loadPoint: 12,
  /** About 3.5 min: what is left of G2's five is for the rest. */
  prepare: 20,
  /** About 50 min. */
  undo: 200,
  /** About 5 min. */
  createVm: 26,
  createVolume: 26,
  finishVm: 26,
  /** About 50 min. */
  removeVm: 200,
  /** A guest that takes its time is six of them. */
  shutDown: 20,
  /** About 2 min: what is left is found by the reconciler. */
  removeCheckpoints: 12,
  startVm: 26,
} as const;

/** Attempts at removing confirmed points; the last begins about 4 hours after the first, besides the attempts' own time. */
export const deletionAttempts = 12;
/** One minute, doubled with every failure, at most half an hour. */
export const deletionDelayMs = (failures: number): number =>
  Math.min(30 * 60_000, 60_000 * 2 ** Math.min(failures, 10));

export const after = (now: Date, ms: number): string => new Date(now.getTime() + ms).toISOString();
export const isPast = (instant: string, now: Date): boolean => Date.parse(instant) <= now.getTime();
/** What was waited for did not come, in words: `what` with its 'not', and the time it had. */
export const timedOut = (what: string, ms: number): FaultJson => {
  const minutes = ms / 60_000;
  return new Fault('DEADLINE_EXCEEDED', `${what} within ${minutes} minutes`, {
    details: { minutes },
  }).toJSON();
};
/** The earliest of some instants as a time to wake. */
export const earliest = (...instants: readonly string[]): Date =>
  new Date(Math.min(...instants.map((instant) => Date.parse(instant))));
