import {
  claimTransfer,
  isTransferOver,
  Fault,
  newId,
  type BackupHostId,
  type DiskProgress,
  type TransferId,
  type TransferResult,
  type TransferSpec,
  type WorkSpec,
} from '@casvault/contracts';
import { HeldOpenings, TransferLease, type Claim, type Outcome } from '@casvault/data-mover/machine';
import { type Messenger } from '@casvault/messaging';
import { ModelBackup } from './backup.js';
import { type EngineParts } from './engine.js';
import { ModelRestore } from './restore.js';
import { ModelRollback } from './rollback.js';
import { blockBytes } from './platform.js';
import { type SimProcess } from './process.js';
import { loggerOf } from './logger.js';

/** One claimed transfer of a model worker. */
export interface Work<S> {
  readonly transferId: TransferId;
  readonly claim: Claim;
  readonly spec: S;
  readonly lease: TransferLease;
  readonly openings: HeldOpenings;
  readonly client: Messenger;
  readonly engine: EngineParts;
  readonly onProgress: (progress: DiskProgress[]) => void;
}

const nothingMoved: TransferResult = {
  disks: [],
  poolBytes: 0,
  capturedAt: null,
  method: 'write',
  consistency: 'crash',
  reasons: [],
};
const closeFirstMs = (kind: WorkSpec['kind'], state: Outcome['state']): number => {
  if (kind === 'restore' || kind === 'rollback') return 60_000;
  return kind === 'backup' && state !== 'succeeded' ? 5_000 : 0;
};

/**
 * A worker as services/data-mover/src/worker is one: the lease, the openings, the outage and the remedies are its own
 * classes; bytes and sockets are modelled.
 */
export class ModelWorker {
  readonly #carried = new Set<TransferId>();

  constructor(
    private readonly process: SimProcess,
    private readonly workerId: BackupHostId,
    private readonly client: Messenger,
    private readonly engine: EngineParts,
  ) {}

  readonly hasRoom = (): boolean => this.#carried.size < 2;

  readonly take = async (transferId: TransferId): Promise<void> => {
    if (this.#carried.has(transferId)) return;
    this.#carried.add(transferId);
    try {
      await this.#claim(transferId);
    } finally {
      this.#carried.delete(transferId);
    }
  };

  async #claim(transferId: TransferId): Promise<void> {
    const { process, client, workerId } = this;
    const claimedAt = process.monotonic();
    const claim = await client.request(claimTransfer, { transferId, workerId });
    if (claim.outcome === 'declined') return;
    process.world.trace(process.name, `claims ${claim.spec.kind} ${transferId} under epoch ${claim.epoch}`);
    const { clock, monotonic } = process;
    const lease = new TransferLease(claim, {
      transferId,
      claimedAt,
      client,
      clock,
      monotonic,
      logger: loggerOf(process),
    });
    await new CarriedTransfer(process, transferId, claim, lease, client, this.engine).run();
  }
}

/** One claim, from its grant to its reported end (claimed-transfer.ts). */
class CarriedTransfer {
  readonly #openings: HeldOpenings;

  constructor(
    private readonly process: SimProcess,
    private readonly transferId: TransferId,
    private readonly claim: Claim,
    private readonly lease: TransferLease,
    private readonly client: Messenger,
    private readonly engine: EngineParts,
  ) {
    const { spec } = claim;
    const url = 'diskService' in spec ? spec.diskService.url : '';
    this.#openings = new HeldOpenings({
      client: () => engine.disks.clientFor(process, url),
      transferId,
      isOver: async (other) => (await client.request(isTransferOver, { transferId: other })).isOver,
      isOurs: () => lease.isProven,
      clock: process.clock,
      logger: loggerOf(process),
    });
  }

  async run(): Promise<void> {
    const kept = this.lease.keep();
    const outcome = await this.#outcome();
    const { world, name } = this.process;
    world.trace(name, `ends ${this.transferId} as ${outcome?.state ?? 'lost'}`);
    await this.#settle(outcome);
    this.lease.letGo();
    await kept;
  }

  async #outcome(): Promise<Outcome | null> {
    const { lease, process } = this;
    let outcome: Outcome;
    try {
      outcome = { state: 'succeeded', result: await this.#carryOut() };
    } catch (error) {
      if (lease.ending === 'stop') return { state: 'stopped' };
      if (lease.ending === 'release') return { state: 'released' };
      const fault = Fault.from(error);
      process.world.require(
        fault.kind !== 'bug',
        () => `${process.name}: ${fault.message} ${String(fault.cause)}`,
      );
      outcome = { state: 'failed', fault: fault.toJSON() };
    }
    return (await this.#isStillOurs()) ? outcome : null;
  }

  #carryOut(): Promise<TransferResult> {
    const { spec } = this.claim;
    switch (spec.kind) {
      case 'backup':
        return new ModelBackup(this.#work(spec)).run();
      case 'restore':
        return new ModelRestore(this.#work(spec)).run();
      case 'rollback':
        return new ModelRollback(this.#work(spec)).run();
      case 'verify':
        return this.#throughOutages(() => this.#verify(spec));
      case 'removal':
        return this.#throughOutages(() => this.#remove(spec));
      case 'copy':
        throw new TypeError('the simulated jobs copy nothing');
      case 'hook':
        throw new TypeError('the simulated jobs have no scripts');
    }
  }

  async #remove({ pointIds, chainId, dryRun, writers = [] }: Extract<TransferSpec, { kind: 'removal' }>) {
    const { process, engine } = this;
    for (const pointId of dryRun ? [] : pointIds)
      await engine.pool.removePoint(process, { pointId, chainId, writers });
    return nothingMoved;
  }

  /** Every pack that the point needs is there. */
  async #verify({ pointId }: Extract<TransferSpec, { kind: 'verify' }>): Promise<TransferResult> {
    const { process, lease } = this;
    const { pool } = this.engine;
    const manifest = await pool.find(process, pointId);
    const missing = new Set(manifest ? [] : [`manifest of ${pointId}`]);
    let checkedBytes = 0;
    for (const { map } of manifest?.disks ?? []) {
      await process.clock.sleep(process.world.random.whole(100, 2_000), lease.signal);
      await pool.reach(process);
      lease.throwIfEnded();
      checkedBytes += map.length * blockBytes;
      for (const place of map) if (place && !pool.packs.has(place.pack)) missing.add(place.pack);
    }
    const fault = new Fault('POOL_OBJECT_MISSING', 'it is gone').toJSON();
    const objects = [...missing].map((key) => ({ key, fault }));
    return { ...nothingMoved, verified: { checkedBytes, disks: [], objects } };
  }

  async #throughOutages<T>(attempt: () => Promise<T>): Promise<T> {
    const { lease, process } = this;
    for (;;) {
      lease.throwIfEnded();
      try {
        return await attempt();
      } catch (error) {
        lease.throwIfEnded();
        if (Fault.from(error).kind !== 'unavailable') throw error;
        await process.clock.sleep(1_000, lease.signal);
      }
    }
  }

  #work<S>(spec: S): Work<S> {
    const { transferId, claim, lease, client, engine } = this;
    const onProgress = (progress: DiskProgress[]) => lease.report(progress);
    return { transferId, claim, spec, lease, openings: this.#openings, client, engine, onProgress };
  }

  async #isStillOurs(): Promise<boolean> {
    try {
      await this.lease.prove();
      return true;
    } catch {
      return this.lease.ending !== 'lost';
    }
  }

  async #settle(outcome: Outcome | null): Promise<void> {
    const abandon = new AbortController().signal;
    if (outcome === null || outcome.state === 'released') {
      await this.#openings.letGoAll();
      if (outcome) await this.lease.finish(outcome, abandon);
      return;
    }
    const closing = this.#openings.closeAll(abandon);
    const enough = new AbortController();
    const wait = closeFirstMs(this.claim.spec.kind, outcome.state);
    await Promise.race([closing, this.process.clock.sleep(wait, enough.signal)]);
    enough.abort();
    await this.lease.finish(outcome, abandon);
    await closing;
  }
}

/** Every worker keeps its id through its restarts. */
export const newWorkerId = (): BackupHostId => newId<BackupHostId>();
