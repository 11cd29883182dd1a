import {
  Fault,
  newId,
  type Clock,
  type createDeletion,
  type Deletion,
  type DeletionId,
  type Logger,
  type TransferChanged,
  type TransferId,
} from '@casvault/contracts';
import { MachineRuntime, type MachineStore } from '@casvault/machine';
import { type z } from 'zod';
import { deletionAttempts } from './deadlines.js';
import { deletionOf, removedIds, type DeletionRequest, type DeletionState } from './deletion.js';
import { performDeletion, retryDeletion, type DeletionWorld } from './deletion.effects.js';
import { deletionMachine, type DeletionEffect, type DeletionEvent } from './deletion.machine.js';
import { listDeletion, refuseDeletion } from './deletion.rules.js';

type NewDeletion = z.output<typeof createDeletion.request>;
type Delivered = Exclude<DeletionEvent, { type: 'woken' | 'effectFailed' }>;

/** A removal names its points in one message. */
const mostPoints = 2_048;

export interface DeletionsOptions {
  readonly world: DeletionWorld;
  readonly machines: MachineStore;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** G1-G3: deletions of points, previewed and confirmed. */
export class Deletions {
  readonly #runtime: MachineRuntime<DeletionState, DeletionEvent, DeletionEffect>;
  readonly #world: DeletionWorld;

  constructor({ world, machines: store, clock, logger }: DeletionsOptions) {
    this.#world = world;
    this.#runtime = new MachineRuntime({
      machine: deletionMachine,
      store,
      clock,
      logger,
      perform: performDeletion(world),
      retry: retryDeletion,
      story: ({
        request: { chainId, mode, list },
        phase,
        freedBytes,
        failures,
        confirmedBy,
        reasons,
        fault,
      }) => ({
        chainId,
        mode,
        points: list.points.length,
        phase,
        freedBytes,
        failures,
        confirmedBy,
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

  /** Faults: NOT_FOUND, INPUT_INVALID, POINT_IN_USE, POINT_HELD, CONFLICT when there is nothing to delete. */
  async preview(wanted: NewDeletion, by: string): Promise<Deletion> {
    const known = await this.#runtime.read(wanted.deletionId);
    if (known) return deletionOf(known);
    const request = await this.#request(wanted, by);
    return this.#deliver(wanted.deletionId, { type: 'preview', request, measureId: newId<TransferId>() });
  }

  /** Faults: NOT_FOUND, CONFLICT, POINT_IN_USE, POINT_HELD. One that is outdated is refused for good. */
  async confirm(deletionId: DeletionId, by: string): Promise<Deletion> {
    const attemptIds = Array.from({ length: deletionAttempts }, () => newId<TransferId>());
    const before = await this.#runtime.read(deletionId);
    try {
      return await this.#deliver(deletionId, { type: 'confirm', by, attemptIds });
    } catch (error) {
      const fault = Fault.from(error);
      if ((fault.code === 'CONFLICT' || fault.code === 'NOT_FOUND') && before?.phase === 'ready')
        await this.#deliver(deletionId, { type: 'outdated', fault: fault.toJSON() });
      throw error;
    }
  }

  /** Faults: NOT_FOUND, CONFLICT once it was confirmed. */
  async cancel(deletionId: DeletionId): Promise<Deletion> {
    return this.#deliver(deletionId, { type: 'cancel' });
  }

  /** Whether the transfer is one of a deletion. */
  async transferChanged(change: TransferChanged): Promise<boolean> {
    if (change.kind !== 'removal' || !(await this.#runtime.read(change.ownerId))) return false;
    await this.#runtime.deliver(change.ownerId, { type: 'transferNews', change });
    return true;
  }

  async #deliver(deletionId: DeletionId, event: Delivered): Promise<Deletion> {
    return deletionOf(await this.#runtime.deliver(deletionId, event));
  }

  async #request({ deletionId, pointIds, chainId: wholeChain, mode }: NewDeletion, by: string) {
    const { deletions } = this.#world;
    const asked = pointIds && [...new Set(pointIds)];
    const facts = await deletions.facts(wholeChain ?? (await deletions.chainOf(asked ?? [])));
    const list = listDeletion(facts, asked ?? null, mode);
    const refusal = refuseSize(deletionId, list) ?? refuseDeletion(facts, list, deletionId);
    if (refusal) throw refusal;
    const { chainId, vmId, vmName, poolId, group } = facts;
    return { deletionId, mode, chainId, vmId, vmName, poolId, group, requestedBy: by, list };
  }
}

const refuseSize = (deletionId: DeletionId, list: DeletionRequest['list']): Fault | null => {
  const count = removedIds(list).length;
  if (count === 0) return new Fault('CONFLICT', 'the chain has no points that could be deleted');
  if (count <= mostPoints) return null;
  return new Fault('CONFLICT', `${count} points at once, at most ${mostPoints}: begin with newer ones`, {
    details: { deletionId, points: count },
  });
};
