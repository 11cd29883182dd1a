import {
  newId,
  type Clock,
  type Logger,
  type PointId,
  type RunItemId,
  type TransferChanged,
  type TransferId,
} from '@casvault/contracts';
import { MachineRuntime, type MachineStore } from '@casvault/machine';
import { performCopy, retryCopy, type CopyWorld } from './copy.effects.js';
import { copyMachine, type CopyEffect, type CopyEvent } from './copy.machine.js';
import { type CopyRequest, type CopyState } from './copy.js';

export interface CopiesOptions {
  readonly world: CopyWorld;
  readonly machines: MachineStore;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Copies of points, each under the id of its run item. */
export class Copies {
  readonly #runtime: MachineRuntime<CopyState, CopyEvent, CopyEffect>;

  constructor({ world, machines: store, clock, logger }: CopiesOptions) {
    this.#runtime = new MachineRuntime({
      machine: copyMachine,
      store,
      clock,
      logger,
      perform: performCopy(world),
      retry: retryCopy,
      story: ({ request: { runId, pointId, poolId }, ids: { copyId }, phase, fault }) => ({
        runId,
        pointId,
        poolId,
        copyId,
        phase,
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

  async copy(request: CopyRequest): Promise<void> {
    const ids = { copyId: newId<PointId>(), transferId: newId<TransferId>() };
    await this.#runtime.deliver(request.itemId, { type: 'copy', request, ids });
  }

  /** Whether the item is a copy. */
  async stopItem(itemId: RunItemId): Promise<boolean> {
    if (!(await this.#runtime.read(itemId))) return false;
    await this.#runtime.deliver(itemId, { type: 'stop' });
    return true;
  }

  /** Whether the transfer is one of a copy. */
  async transferChanged(change: TransferChanged): Promise<boolean> {
    if (change.kind !== 'copy' && change.kind !== 'removal') return false;
    if (!(await this.#runtime.read(change.ownerId))) return change.kind === 'copy';
    await this.#runtime.deliver(change.ownerId, { type: 'transferNews', change });
    return true;
  }
}
