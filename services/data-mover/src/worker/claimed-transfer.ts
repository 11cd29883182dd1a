import { DiskServiceClient } from '@casvault/block-source';
import {
  Fault,
  isTransferOver,
  type DiskProgress,
  type TransferId,
  type TransferResult,
  type WorkSpec,
} from '@casvault/contracts';
import { type SpeedCells } from '@casvault/data-path';
import { BackupTransfer } from './backup-transfer.js';
import { CopyTransfer } from './copy-transfer.js';
import { HeldOpenings } from './held-openings.js';
import { carryOutHook } from './hook-transfer.js';
import { removeFromPool } from './removal-transfer.js';
import { RestoreTransfer } from './restore-transfer.js';
import { RollbackTransfer } from './rollback-transfer.js';
import { inSpan } from './spans.js';
import { type Claim, type Outcome, type TransferLease } from './transfer-lease.js';
import { verifyInPool } from './verify-transfer.js';
import { type Work, type WorkTools } from './work.js';
import { type WorkerMetrics } from './worker-metrics.js';

/**
 * How long the report of the end waits for openings to close: volumes that were written, and the disks of a VM that was shut down for
 * its backup, must be free before it is started; the next backup wants the checkpoint of this one. A failed backup's VM
 * should be free for the next try.
 */
const closeFirstMs = (kind: WorkSpec['kind'], state: Outcome['state']): number => {
  if (kind === 'restore' || kind === 'rollback') return 60_000;
  if (kind !== 'backup') return 0;
  return state === 'succeeded' ? 30_000 : 5_000;
};

/** One claim, from its grant to its reported end. */
export class ClaimedTransfer {
  readonly #transferId: TransferId;
  readonly #claim: Claim;
  readonly #lease: TransferLease;
  readonly #tools: WorkTools;
  readonly #metrics: WorkerMetrics;
  readonly #openings: HeldOpenings;

  constructor(
    transferId: TransferId,
    claim: Claim,
    lease: TransferLease,
    parts: { readonly tools: WorkTools; readonly metrics: WorkerMetrics },
  ) {
    this.#transferId = transferId;
    this.#claim = claim;
    this.#lease = lease;
    this.#tools = parts.tools;
    this.#metrics = parts.metrics;
    this.#openings = this.#makeOpenings();
  }

  /** Returns when nothing of it is left to do here. `abandon` cuts its reports and closings short. Never throws. */
  async run(abandon: AbortSignal): Promise<void> {
    const { monotonic } = this.#tools;
    const { kind } = this.#claim.spec;
    const began = monotonic();
    this.#metrics.started();
    const kept = this.#lease.keep();
    const outcome = await this.#outcome();
    const told = outcome ?? { state: 'lost' as const };
    const { transferId, epoch } = this.#named();
    const fault = told.state === 'failed' ? told.fault : undefined;
    this.#tools.logger.info({ transferId, epoch, outcome: told.state, fault }, 'transfer ended here');
    this.#metrics.ended(kind, told.state, (monotonic() - began) / 1_000);
    await this.#settle(outcome, abandon);
    this.#lease.letGo();
    await kept;
  }

  #named() {
    return { transferId: this.#transferId, epoch: this.#claim.epoch };
  }

  /** Null: the claim is not ours any more, or can't be held to be. */
  async #outcome(): Promise<Outcome | null> {
    const { transferId, epoch } = this.#named();
    const { kind } = this.#claim.spec;
    const attributes = { 'casvault.transfer': transferId, 'casvault.epoch': epoch };
    let outcome: Outcome;
    try {
      const result = await inSpan(`transfer ${kind}`, attributes, () => this.#atPace());
      outcome = { state: 'succeeded', result };
    } catch (error) {
      if (this.#lease.ending === 'stop') return { state: 'stopped' };
      if (this.#lease.ending === 'release') return { state: 'released' };
      const fault = Fault.from(error);
      if (fault.kind === 'bug') this.#tools.logger.error({ err: error, transferId }, 'transfer failed');
      outcome = { state: 'failed', fault: fault.toJSON() };
    }
    return (await this.#isStillOurs()) ? outcome : null;
  }

  #atPace(): Promise<TransferResult> {
    const { spec } = this.#claim;
    if (!('options' in spec)) return this.#carryOut(undefined);
    const { runId = this.#transferId, options } = spec;
    return this.#tools.paces.keep(runId, options.speedLimit, (speed) => this.#carryOut(speed));
  }

  #carryOut(speed: SpeedCells | undefined): Promise<TransferResult> {
    const { spec } = this.#claim;
    switch (spec.kind) {
      case 'backup':
        return new BackupTransfer(this.#work(spec, speed)).run();
      case 'restore':
        return new RestoreTransfer(this.#work(spec, speed)).run();
      case 'rollback':
        return new RollbackTransfer(this.#work(spec, speed)).run();
      case 'removal':
        return removeFromPool(this.#work(spec, speed));
      case 'verify':
        return verifyInPool(this.#work(spec, speed));
      case 'copy':
        return new CopyTransfer(this.#work(spec, speed)).run();
      case 'hook':
        return carryOutHook(this.#work(spec, speed));
    }
  }

  #work<S extends WorkSpec>(spec: S, speed: SpeedCells | undefined): Work<S> {
    let before: readonly DiskProgress[] = [];
    return {
      transferId: this.#transferId,
      claim: this.#claim,
      spec,
      lease: this.#lease,
      openings: this.#openings,
      tools: this.#tools,
      speed,
      onProgress: (progress) => {
        this.#metrics.moved(spec.kind, before, progress);
        before = progress;
        this.#lease.report(progress);
      },
    };
  }

  #makeOpenings(): HeldOpenings {
    const { spec } = this.#claim;
    const { client: broker, unseal, diskTls: tls, clock, logger } = this.#tools;
    const client = () => {
      if (!('diskService' in spec)) throw new Fault('BUG', `a transfer of kind ${spec.kind} opens no disk`);
      const { url, token } = spec.diskService;
      return new DiskServiceClient({ url, token: unseal(token), tls });
    };
    return new HeldOpenings({
      client,
      transferId: this.#transferId,
      isOurs: () => this.#lease.isProven,
      isOver: async (transferId, signal) =>
        (await broker.request(isTransferOver, { transferId }, { signal })).isOver,
      clock,
      logger,
    });
  }

  /** Asked before anything is closed: a successor may be at work with the same openings. */
  async #isStillOurs(): Promise<boolean> {
    try {
      await this.#lease.prove();
      return true;
    } catch {
      return this.#lease.ending !== 'lost';
    }
  }

  async #settle(outcome: Outcome | null, abandon: AbortSignal): Promise<void> {
    if (outcome === null || outcome.state === 'released') {
      await this.#openings.letGoAll();
      if (outcome) await this.#lease.finish(outcome, abandon);
      return;
    }
    const { kind } = this.#claim.spec;
    const closing = this.#openings.closeAll(abandon);
    const enough = new AbortController();
    await Promise.race([closing, this.#tools.clock.sleep(closeFirstMs(kind, outcome.state), enough.signal)]);
    enough.abort();
    await this.#lease.finish(outcome, abandon);
    await closing;
  }
}
