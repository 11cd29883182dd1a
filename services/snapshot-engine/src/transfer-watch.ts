import {
  Fault,
  type DiskProgress,
  type FaultJson,
  type ReasonCode,
  type TransferChanged,
  type TransferId,
} from '@casvault/contracts';
import { after, deadlines, earliest, isPast, timedOut } from './deadlines.js';

/** What a protection or restore knows of its transfer. News may come doubled, late and in any order: only newer ones count. */
export interface TransferWatch {
  readonly transferId: TransferId;
  /** Null: asked for, nothing heard yet. */
  readonly state: TransferChanged['state'] | null;
  /** 0: no worker ever had it, so nothing was written. */
  readonly epoch: number;
  readonly progress: readonly DiskProgress[];
  readonly reasons: readonly ReasonCode[];
  /** The `at` of the newest news. */
  readonly newsAt: string;
  /** By our clock. */
  readonly heardAt: string;
  readonly askAgainAt: string;
}

export const watchTransfer = (transferId: TransferId, now: Date): TransferWatch => ({
  transferId,
  state: null,
  epoch: 0,
  progress: [],
  reasons: [],
  newsAt: new Date(0).toISOString(),
  heardAt: now.toISOString(),
  askAgainAt: after(now, deadlines.askAgainMs),
});

/** The watch after the news, or null when they are of another transfer, doubled or overtaken. */
export const heard = (watch: TransferWatch, change: TransferChanged, now: Date): TransferWatch | null => {
  if (change.transferId !== watch.transferId || Date.parse(change.at) <= Date.parse(watch.newsAt))
    return null;
  return {
    ...watch,
    state: change.state,
    epoch: change.epoch,
    progress: change.progress.length > 0 ? change.progress : watch.progress,
    reasons: change.reasons,
    newsAt: change.at,
    heardAt: now.toISOString(),
    askAgainAt: after(now, deadlines.askAgainMs),
  };
};

/** Whether it ever came to the data-mover is not known: one that is to be stopped has to be named in full. */
export const isUnheard = ({ state }: TransferWatch): boolean => state === null;

export const hasEnded = ({ state }: TransferWatch): boolean =>
  state === 'succeeded' || state === 'failed' || state === 'stopped';

export const mustAskAgain = (watch: TransferWatch, now: Date): boolean => isPast(watch.askAgainAt, now);

export const askedAgain = (watch: TransferWatch, now: Date): TransferWatch => ({
  ...watch,
  askAgainAt: after(now, deadlines.askAgainMs),
});

export const isSilent = (watch: TransferWatch, now: Date): boolean =>
  isPast(after(new Date(watch.heardAt), deadlines.transferSilenceMs), now);

/** The fault of one that is silent. */
export const transferSilent = (): FaultJson =>
  timedOut('the data-mover did not answer', deadlines.transferSilenceMs);

/** The fault of one that ended without success, also where somebody stopped it who was not asked to. */
export const transferFault = ({ fault }: Pick<TransferChanged, 'fault'>): FaultJson =>
  fault ?? new Fault('STOPPED', 'the transfer was stopped at the data-mover').toJSON();

/** When to look again: to ask again, or because the silence is too long. */
export const nextLook = (watch: TransferWatch): Date =>
  earliest(watch.askAgainAt, after(new Date(watch.heardAt), deadlines.transferSilenceMs));

export const mergedReasons = (...lists: readonly (readonly ReasonCode[])[]): ReasonCode[] => [
  ...new Set(lists.flat()),
];
