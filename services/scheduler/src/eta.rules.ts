import { type DiskProgress, type RunItem } from '@casvault/contracts';

/** How far a disk was when it was last measured, in what this attempt moved itself, and how fast it went: null before it was measured twice. */
export interface Pace {
  readonly at: number;
  readonly movedBytes: number;
  readonly bytesPerSecond: number | null;
}
/** By the disk's target. */
export type Paces = Readonly<Record<string, Pace>>;

/** What is older than this counts for about a third. */
const smoothingMs = 30_000;
/** Measurements that lie closer together say little. */
const leastMs = 500;
/** G15: before this part is done nothing is told. */
const leastPart = 0.1;

const paceOf = (before: Pace | undefined, movedBytes: number, at: number): Pace => {
  // The first that is heard, or it begins anew: with a new capture.
  if (before === undefined || movedBytes < before.movedBytes) return { at, movedBytes, bytesPerSecond: null };
  const passedMs = at - before.at;
  if (passedMs < leastMs) return before;
  const now = ((movedBytes - before.movedBytes) * 1_000) / passedMs;
  const weight = 1 - Math.exp(-passedMs / smoothingMs);
  const bytesPerSecond =
    before.bytesPerSecond === null ? now : before.bytesPerSecond + weight * (now - before.bytesPerSecond);
  return { at, movedBytes, bytesPerSecond };
};

/** What was measured of each disk by `at`, in milliseconds of whoever tells of the progress. */
export const pacesOf = (before: Paces, progress: readonly DiskProgress[], at: number): Paces =>
  Object.fromEntries(
    progress.map(({ target, doneBytes, resumedBytes }) => [
      target,
      paceOf(before[target], Math.max(0, doneBytes - resumedBytes), at),
    ]),
  );

/** Whole seconds until a disk is done at its pace. Null before a tenth of it is done, while it stands still, and where nobody knows. */
const etaOf = ({ totalBytes, doneBytes }: DiskProgress, bytesPerSecond: number | null): number | null => {
  if (totalBytes === null || doneBytes < totalBytes * leastPart) return null;
  const left = Math.max(0, totalBytes - doneBytes);
  if (left === 0) return 0;
  const seconds = Math.ceil(left / (bytesPerSecond ?? 0));
  return Number.isSafeInteger(seconds) ? seconds : null;
};

type Timed = Pick<RunItem, 'progress' | 'etaSeconds'>;

/** The last of them is what is waited for; null as soon as one is not known. */
const slowest = (etas: readonly (number | null)[]): number | null =>
  etas.reduce<number | null>((most, eta) => (most === null || eta === null ? null : Math.max(most, eta)), 0);

/** G15: the disks of one VM with speed and time left; null once it does not run. */
export const timedItem = (
  state: RunItem['state'],
  progress: readonly DiskProgress[],
  paces: Paces,
): Timed => {
  const isRunning = state === 'running';
  const disks = progress.map((disk) => {
    const bytesPerSecond = (isRunning ? paces[disk.target]?.bytesPerSecond : null) ?? null;
    return { ...disk, bytesPerSecond, etaSeconds: isRunning ? etaOf(disk, bytesPerSecond) : null };
  });
  const isKnown = isRunning && disks.length > 0;
  return { progress: disks, etaSeconds: isKnown ? slowest(disks.map(({ etaSeconds }) => etaSeconds)) : null };
};

/** G15: until the run is over; `waiting`: items that are not shown, or not begun. */
export const etaOfRun = (
  items: readonly Pick<RunItem, 'state' | 'etaSeconds'>[],
  itemCount: number,
): number | null => {
  const running = items.filter(({ state }) => state === 'running');
  const isWhole = items.length === itemCount && items.every(({ state }) => state !== 'queued');
  return isWhole && running.length > 0 ? slowest(running.map(({ etaSeconds }) => etaSeconds)) : null;
};
