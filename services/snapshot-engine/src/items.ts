import {
  newId,
  type ChainId,
  type Clock,
  type Logger,
  type PointId,
  type RunItemId,
  type TransferChanged,
  type TransferId,
} from '@casvault/contracts';
import { MachineRuntime, type MachineStore } from '@casvault/machine';
import { PostgresMachineStore, type ProjectedStep } from '@casvault/persistence';
import { type DataSource } from 'typeorm';
import { type CopyStore } from './copy-store.js';
import { copyMachine } from './copy.machine.js';
import { type CopyState } from './copy.js';
import { type DeletionStore } from './deletion-store.js';
import { deletionMachine } from './deletion.machine.js';
import { type DeletionState } from './deletion.js';
import { type PointStore } from './point-store.js';
import { performProtection, retryProtection, type ItemWorld } from './protection.effects.js';
import { type ProtectionEffect } from './protection-step.js';
import { protectionMachine, type ProtectionEvent } from './protection.machine.js';
import { type ProtectionState, type ProtectVm } from './protection.js';
import { performRestore, retryRestore } from './restore.effects.js';
import { restoreMachine, type RestoreEffect, type RestoreEvent } from './restore.machine.js';
import { type Restore, type RestoreState } from './restore.js';
import { performRollback, retryRollback } from './rollback.effects.js';
import { rollbackMachine, type RollbackEffect, type RollbackEvent } from './rollback.machine.js';
import { type RollbackState, type RollbackVm } from './rollback.js';
import { type VerificationStore } from './verification-store.js';
import { verificationMachine } from './verification.machine.js';
import { type VerificationState } from './verification.js';
import { type VmMarkStore } from './vm-mark-store.js';

export interface ItemsOptions {
  readonly world: ItemWorld;
  readonly machines: MachineStore;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Where they are kept; what queries see of them is written with each step. */
export const itemMachines = (
  database: DataSource,
  {
    points,
    marks,
    deletions,
    verifications,
    copies,
  }: {
    readonly points: PointStore;
    readonly marks: VmMarkStore;
    readonly deletions: DeletionStore;
    readonly verifications: VerificationStore;
    readonly copies: CopyStore;
  },
): MachineStore =>
  new PostgresMachineStore(database, {
    project: async (tx, step) => {
      if (step.kind === protectionMachine.kind)
        await points.project(tx, step as ProjectedStep<ProtectionState>);
      if (step.kind === rollbackMachine.kind) await marks.project(tx, step as ProjectedStep<RollbackState>);
      if (step.kind === restoreMachine.kind)
        await marks.projectRestore(tx, step as ProjectedStep<RestoreState>);
      if (step.kind === deletionMachine.kind)
        await deletions.project(tx, step as ProjectedStep<DeletionState>);
      if (step.kind === verificationMachine.kind)
        await verifications.project(tx, step as ProjectedStep<VerificationState>);
      if (step.kind === copyMachine.kind) await copies.project(tx, step as ProjectedStep<CopyState>);
    },
  });

/** Protections, restores and roll-backs, each under the id of its run item. */
export class Items {
  readonly #protections: MachineRuntime<ProtectionState, ProtectionEvent, ProtectionEffect>;
  readonly #restores: MachineRuntime<RestoreState, RestoreEvent, RestoreEffect>;
  readonly #rollbacks: MachineRuntime<RollbackState, RollbackEvent, RollbackEffect>;

  constructor({ world, machines: store, clock, logger }: ItemsOptions) {
    const common = { store, clock, logger };
    this.#protections = new MachineRuntime({
      ...common,
      machine: protectionMachine,
      perform: performProtection(world),
      retry: retryProtection,
      story: ({ request: { runId, vmId }, ids: { pointId }, phase, pointState, reasons, fault }) => ({
        runId,
        vmId,
        pointId,
        phase,
        pointState,
        reasons,
        fault,
      }),
    });
    this.#restores = new MachineRuntime({
      ...common,
      machine: restoreMachine,
      perform: performRestore(world),
      retry: retryRestore,
      story: ({ request: { runId, pointId }, phase, restoredVmId, reasons, fault }) => ({
        runId,
        pointId,
        phase,
        restoredVmId,
        reasons,
        fault,
      }),
    });
    this.#rollbacks = new MachineRuntime({
      ...common,
      machine: rollbackMachine,
      perform: performRollback(world),
      retry: retryRollback,
      story: ({ request: { runId, pointId }, phase, vmId, power, reasons, fault }) => ({
        runId,
        pointId,
        phase,
        vmId,
        power,
        reasons,
        fault,
      }),
    });
  }

  start(): void {
    this.#protections.start();
    this.#restores.start();
    this.#rollbacks.start();
  }
  async drain(): Promise<void> {
    await Promise.all([this.#protections.drain(), this.#restores.drain(), this.#rollbacks.drain()]);
  }

  async protect(request: ProtectVm): Promise<void> {
    const ids = {
      pointId: newId<PointId>(),
      chainId: newId<ChainId>(),
      transferId: newId<TransferId>(),
    };
    await this.#protections.deliver(request.itemId, { type: 'protect', request, ids });
  }

  /** Also what is created from a point (F9). */
  async restore(request: Restore): Promise<void> {
    const transferId = newId<TransferId>();
    await this.#restores.deliver(request.itemId, { type: 'restore', request, transferId });
  }

  async rollBack(request: RollbackVm): Promise<void> {
    const transferId = newId<TransferId>();
    await this.#rollbacks.deliver(request.itemId, { type: 'rollback', request, transferId });
  }

  /** An item that has not come yet is not stopped: whoever wants it stopped says so again. */
  async stop(itemId: RunItemId): Promise<void> {
    if (await this.#protections.read(itemId)) await this.#protections.deliver(itemId, { type: 'stop' });
    else if (await this.#restores.read(itemId)) await this.#restores.deliver(itemId, { type: 'stop' });
    else if (await this.#rollbacks.read(itemId)) await this.#rollbacks.deliver(itemId, { type: 'stop' });
  }

  async transferChanged(change: TransferChanged): Promise<void> {
    const event = { type: 'transferNews', change } as const;
    if (change.kind === 'restore') {
      if (await this.#restores.read(change.ownerId)) await this.#restores.deliver(change.ownerId, event);
      return;
    }
    if (change.kind === 'rollback') {
      if (await this.#rollbacks.read(change.ownerId)) await this.#rollbacks.deliver(change.ownerId, event);
      return;
    }
    if (await this.#protections.read(change.ownerId)) await this.#protections.deliver(change.ownerId, event);
  }
}
