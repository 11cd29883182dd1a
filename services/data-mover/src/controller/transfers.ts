import {
  hookChanged,
  newId,
  transferChanged,
  type BackupHostId,
  type claimTransfer,
  type Clock,
  type HookChanged,
  type Logger,
  type OpeningId,
  type PointId,
  type RunId,
  type TransferId,
  type WriterId,
} from '@casvault/contracts';
import { MachineRuntime, type MachineStore, type Perform } from '@casvault/machine';
import { type Messenger, type WorkQueue } from '@casvault/messaging';
import { PostgresMachineStore, type ProjectedStep } from '@casvault/persistence';
import { type DataSource } from 'typeorm';
import { type z } from 'zod';
import { type TransferStore } from './transfer-store.js';
import { transferMachine, type TransferEffect, type TransferEvent } from './transfer.machine.js';
import {
  isTerminal,
  transferLimits,
  type TransferNews,
  type TransferRequest,
  type TransferState,
} from './transfer.js';

export interface TransfersOptions {
  readonly client: Pick<Messenger, 'publish'>;
  readonly queue: Pick<WorkQueue, 'publishNudge'>;
  readonly machines: MachineStore;
  readonly store: Pick<TransferStore, 'writingOf'>;
  readonly clock: Clock;
  readonly logger: Logger;
}
type Claimed = z.input<typeof claimTransfer.reply>;
type Delivered = Exclude<TransferEvent, { type: 'woken' | 'effectFailed' }>;

export const leaseSeconds = transferLimits.leaseMs / 1_000;

const hookNews = (change: TransferNews, hook: HookChanged['hook']): HookChanged => {
  const { transferId, ownerId, state, reasons, result, fault, at } = change;
  const runId = ownerId as string as RunId;
  return { transferId, runId, hook, state, reasons, result: result?.hook ?? null, fault, at };
};

const publish = async (
  client: TransfersOptions['client'],
  { change, hook }: Extract<TransferEffect, { type: 'publish' }>,
  messageId: string,
): Promise<void> => {
  const { kind } = change;
  if (kind !== 'hook') await client.publish(transferChanged, { ...change, kind }, { messageId });
  else if (hook) await client.publish(hookChanged, hookNews(change, hook), { messageId });
};

/** A lost nudge is rung again by the machine's own timer, so it is not worth a retry. */
const performTransfer =
  ({ client, queue, logger }: TransfersOptions): Perform<TransferEvent, TransferEffect> =>
  async (effect, { effectId: messageId }) => {
    if (effect.type === 'publish') {
      await publish(client, effect, messageId);
      return null;
    }
    try {
      const lane = effect.isHook ? 'hooks' : 'transfers';
      await queue.publishNudge(effect.group, effect.transferId, messageId, lane);
    } catch (error) {
      logger.warn({ err: error, transferId: effect.transferId }, 'nudge not sent');
    }
    return null;
  };

/** Where they are kept; what queries see of them is written with each step. */
export const transferMachines = (database: DataSource, store: TransferStore): MachineStore =>
  new PostgresMachineStore(database, {
    project: (tx, step) => store.project(tx, step as ProjectedStep<TransferState>),
  });

/** The transfer machines, and what brings them their events. */
export class Transfers {
  readonly #runtime: MachineRuntime<TransferState, TransferEvent, TransferEffect>;

  readonly #store: TransfersOptions['store'];

  constructor(options: TransfersOptions) {
    const { machines, store, clock, logger } = options;
    this.#store = store;
    const perform = performTransfer(options);
    this.#runtime = new MachineRuntime({
      machine: transferMachine,
      store: machines,
      perform,
      clock,
      logger,
      story: ({ request: { ownerId, spec }, state, epoch, claim, reasons, fault }) => ({
        ownerId,
        kind: spec.kind,
        state,
        epoch,
        workerId: claim?.workerId,
        reasons,
        fault,
      }),
    });
  }

  start(): void {
    this.#runtime.start();
  }
  async drain(): Promise<void> {
    await this.#runtime.drain();
  }

  /** With `stopAsked` it is recorded, and stopped. */
  async begin(request: TransferRequest, stopAsked = false): Promise<void> {
    await this.#runtime.deliver(request.transferId, { type: 'start', request, stopAsked });
  }

  /** Throws NOT_FOUND for a transfer that is not there, LEASE_LOST for an outdated epoch. */
  async deliver(transferId: TransferId, event: Delivered): Promise<TransferState> {
    return this.#runtime.deliver(transferId, event);
  }

  /** False for one that is not there. */
  async isOver(transferId: TransferId): Promise<boolean> {
    const state = await this.#runtime.read(transferId);
    return state !== null && isTerminal(state.state);
  }

  /** Every attempt at writing these points, by all their transfers. */
  async writersOf(pointIds: readonly PointId[]): Promise<WriterId[]> {
    const writers: WriterId[] = [];
    for (const id of await this.#store.writingOf(pointIds)) {
      const state = await this.#runtime.read(id);
      writers.push(...(state?.writers ?? []).map(({ writerId }) => writerId));
    }
    return writers;
  }

  async claim(transferId: TransferId, workerId: BackupHostId): Promise<Claimed> {
    const writerId = newId<WriterId>();
    const state = await this.deliver(transferId, {
      type: 'claim',
      workerId,
      writerId,
      openingId: newId<OpeningId>(),
    });
    if (state.claim?.writerId !== writerId || !state.openingId)
      return { outcome: 'declined', state: state.state };
    return {
      outcome: 'claimed',
      ownerId: state.request.ownerId,
      epoch: state.epoch,
      leaseSeconds,
      writerId,
      openingId: state.openingId,
      capturedAt: state.capturedAt,
      earlierWriters: [...state.writers],
      spec: state.request.spec,
    };
  }
}
