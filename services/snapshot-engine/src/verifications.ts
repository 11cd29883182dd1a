import {
  Fault,
  newId,
  type Clock,
  type createVerification,
  type Logger,
  type RunItemId,
  type TransferChanged,
  type TransferId,
  type Verification,
  type VerificationId,
  type verifyPoint,
} from '@casvault/contracts';
import { MachineRuntime, type MachineStore } from '@casvault/machine';
import { type z } from 'zod';
import { performVerification, retryVerification, type VerificationWorld } from './verification.effects.js';
import {
  verificationMachine,
  type VerificationEffect,
  type VerificationEvent,
} from './verification.machine.js';
import { verificationOf, type VerificationState } from './verification.js';

type NewVerification = z.output<typeof createVerification.request>;

export interface VerificationsOptions {
  readonly world: VerificationWorld;
  readonly machines: MachineStore;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Verifications of points, in the background. */
export class Verifications {
  readonly #runtime: MachineRuntime<VerificationState, VerificationEvent, VerificationEffect>;
  readonly #points: VerificationWorld['points'];

  constructor({ world, machines: store, clock, logger }: VerificationsOptions) {
    this.#points = world.points;
    this.#runtime = new MachineRuntime({
      machine: verificationMachine,
      store,
      clock,
      logger,
      perform: performVerification(world),
      retry: retryVerification,
      story: ({ request: { pointId, depth }, phase, fault }) => ({ pointId, depth, phase, fault }),
    });
  }

  start(): void {
    this.#runtime.start();
  }
  async drain(): Promise<void> {
    await this.#runtime.drain();
  }

  /** Faults: NOT_FOUND, CONFLICT when the point is not available. */
  async verify(wanted: NewVerification, requestedBy: string): Promise<Verification> {
    const { verificationId, pointId } = wanted;
    const known = await this.#runtime.read(verificationId);
    if (known) return verificationOf(known);
    const { state } = await this.#points.get(pointId);
    if (state !== 'available')
      throw new Fault('CONFLICT', `point ${pointId} is ${state}, not available`, {
        details: { pointId, state },
      });
    const request = { ...wanted, requestedBy };
    return this.#deliver(verificationId, { type: 'verify', request, transferId: newId<TransferId>() });
  }

  /** As an item of a run: a point that is not there any more fails the item. */
  async verifyItem({ itemId, ...wanted }: z.output<typeof verifyPoint.payload>): Promise<void> {
    const verificationId = itemId as string as VerificationId;
    const request = { ...wanted, verificationId, requestedBy: 'job' };
    await this.#deliver(verificationId, { type: 'verify', request, transferId: newId<TransferId>() });
  }

  /** Whether the item is a verification. */
  async stopItem(itemId: RunItemId): Promise<boolean> {
    if (!(await this.#runtime.read(itemId))) return false;
    await this.#runtime.deliver(itemId, { type: 'stop' });
    return true;
  }

  /** Faults: NOT_FOUND. */
  async stop(verificationId: VerificationId): Promise<Verification> {
    return this.#deliver(verificationId, { type: 'stop' });
  }

  /** Whether the transfer is one of a verification. */
  async transferChanged(change: TransferChanged): Promise<boolean> {
    if (change.kind !== 'verify') return false;
    if (await this.#runtime.read(change.ownerId))
      await this.#runtime.deliver(change.ownerId, { type: 'transferNews', change });
    return true;
  }

  async #deliver(
    id: VerificationId,
    event: Extract<VerificationEvent, { type: 'verify' | 'stop' }>,
  ): Promise<Verification> {
    return verificationOf(await this.#runtime.deliver(id, event));
  }
}
