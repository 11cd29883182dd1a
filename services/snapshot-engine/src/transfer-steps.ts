import {
  type FaultJson,
  type ItemChanged,
  type startTransfer,
  type TransferChanged,
  type TransferId,
  type TransferResult,
} from '@casvault/contracts';
import { type Step } from '@casvault/machine';
import { type z } from 'zod';
import {
  askedAgain,
  hasEnded,
  heard,
  isSilent,
  isUnheard,
  mustAskAgain,
  transferFault,
  transferSilent,
  type TransferWatch,
} from './transfer-watch.js';

type StartTransfer = z.infer<typeof startTransfer.payload>;

/** What every machine with a transfer asks of the world. */
export type TransferEffect =
  | { readonly type: 'startTransfer'; readonly command: StartTransfer }
  | { readonly type: 'stopTransfer'; readonly transferId: TransferId }
  | { readonly type: 'itemChanged'; readonly change: ItemChanged };

/** In what machines that wait for one transfer differ. */
interface TransferTable<S, F> {
  /** The transfer in full; null: not known yet. */
  readonly command: (state: S) => StartTransfer | null;
  /** Whether news of it still count. */
  readonly isAwaited: (state: S) => boolean;
  readonly stepOf: (state: S, effects?: readonly (F | TransferEffect)[]) => Step<S, F>;
  /** A step that the run is told of. */
  readonly published: (state: S, now: Date, effects?: readonly (F | TransferEffect)[]) => Step<S, F>;
  readonly succeeded: (state: S, result: TransferResult | null, now: Date) => Step<S, F>;
  /** It ended without success, or nothing is heard of it. */
  readonly failed: (state: S, fault: FaultJson, now: Date) => Step<S, F>;
}

/** What they have in common. */
interface TransferSteps<S, F> {
  /** Asks for it; the same again changes nothing. */
  readonly starting: (state: S) => TransferEffect[];
  /** Nothing, if it was not asked for or has ended. */
  readonly stopping: (state: S) => TransferEffect[];
  readonly news: (state: S, change: TransferChanged, now: Date) => Step<S, F>;
  /** While it is to go on: given up when it is silent for too long, asked for again when it is for a while. */
  readonly woken: (state: S, now: Date) => Step<S, F>;
}

/** The steps of one transfer, as its machine's table says. */
export const transferSteps = <S extends { readonly transfer: TransferWatch | null }, F>(
  table: TransferTable<S, F>,
): TransferSteps<S, F> => {
  const { isAwaited, stepOf, published, succeeded, failed } = table;
  const starting = (state: S, stopAsked?: true): TransferEffect[] => {
    const command = table.command(state);
    return command
      ? [{ type: 'startTransfer', command: { ...command, ...(stopAsked && { stopAsked }) } }]
      : [];
  };
  return {
    starting: (state) => starting(state),
    stopping(state) {
      const { transfer } = state;
      if (!transfer || hasEnded(transfer)) return [];
      // What was never heard of may never have come: it is named in full, so that it is recorded as stopped.
      return isUnheard(transfer)
        ? starting(state, true)
        : [{ type: 'stopTransfer', transferId: transfer.transferId }];
    },
    news(state, change, now) {
      const transfer = isAwaited(state) && state.transfer ? heard(state.transfer, change, now) : null;
      if (!transfer) return stepOf(state);
      const told = { ...state, transfer };
      switch (change.state) {
        case 'queued':
        case 'running':
          return published(told, now);
        case 'succeeded':
          return succeeded(told, change.result, now);
        case 'failed':
        case 'stopped':
          return failed(told, transferFault(change), now);
      }
    },
    woken(state, now) {
      const { transfer } = state;
      if (!transfer) return stepOf(state);
      if (isSilent(transfer, now)) return failed(state, transferSilent(), now);
      if (!mustAskAgain(transfer, now)) return stepOf(state);
      return stepOf({ ...state, transfer: askedAgain(transfer, now) }, starting(state));
    },
  };
};
