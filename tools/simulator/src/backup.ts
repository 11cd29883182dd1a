import {
  bytesBehind,
  Fault,
  nextWriter,
  replaceOpening,
  type BackupSpec,
  type DiskProgress,
  type OpeningId,
  type ReasonCode,
  type TransferResult,
} from '@casvault/contracts';
import { Outage, remedyFor, remedyWhileOpen, type HeldOpening } from '@casvault/data-mover/machine';
import { backUp, type EngineResult } from './engine.js';
import { type Work } from './worker.js';

/** Makes one point, as backup-transfer.ts does. */
export class ModelBackup {
  readonly #work: Work<BackupSpec>;
  readonly #outage: Outage;
  readonly #reasons = new Set<ReasonCode>();
  #openingId: OpeningId;
  #capturedAt: string | null;
  #writerId: string;
  #writerUsed = false;
  #earlierWriters: string[];
  #mayBeCommitted: boolean;
  #progress: readonly DiskProgress[] = [];

  constructor(work: Work<BackupSpec>) {
    const { claim, spec, engine } = work;
    this.#work = work;
    this.#outage = new Outage(spec.options, engine.process.clock, engine.process.monotonic);
    this.#openingId = claim.openingId;
    this.#capturedAt = claim.capturedAt;
    this.#writerId = claim.writerId;
    this.#earlierWriters = this.#ofThisCapture(claim.earlierWriters);
    this.#mayBeCommitted = claim.epoch > 1;
  }

  async run(): Promise<TransferResult> {
    const { lease } = this.#work;
    for (;;) {
      lease.throwIfEnded();
      try {
        return await this.#attempt();
      } catch (error) {
        lease.throwIfEnded();
        await this.#recover(Fault.from(error));
      }
    }
  }

  async #attempt(): Promise<TransferResult> {
    const { spec, lease, engine } = this.#work;
    const found = this.#mayBeCommitted ? await engine.pool.find(engine.process, spec.pointId) : null;
    if (found) return this.#resultOf({ manifest: found, progress: [], reasons: new Map() });
    await lease.prove();
    const held = await this.#capture();
    await lease.captured(held.opening);
    this.#capturedAt = held.opening.openedAt;
    this.#writerUsed = true;
    this.#mayBeCommitted = true;
    return this.#resultOf(await this.#move(held));
  }

  async #capture(): Promise<HeldOpening> {
    const { spec, openings, lease } = this.#work;
    const { uuid, name } = spec.vm;
    const disks = spec.disks.map(({ target, path, incrementalFrom }) => ({
      target,
      path,
      ...(incrementalFrom === undefined ? {} : { incrementalFrom }),
    }));
    const { checkpoint, supersedes } = spec.tracking;
    const request = {
      kind: 'capture' as const,
      vm: { uuid, name },
      disks,
      ...(checkpoint === null ? {} : { checkpoint, supersedes }),
      ...(spec.snapshot === null ? {} : { snapshot: spec.snapshot }),
    };
    const held = await openings.open(this.#openingId, request, lease.signal);
    this.#outage.reached();
    const { openedAt } = held.opening;
    if (this.#capturedAt === null || Date.parse(openedAt) === Date.parse(this.#capturedAt)) return held;
    throw new Fault(
      'CAPTURE_LOST',
      `opening ${this.#openingId} is of ${openedAt}, not of ${this.#capturedAt}`,
    );
  }

  #move({ opening, lost }: HeldOpening): Promise<EngineResult> {
    const { spec, lease, engine } = this.#work;
    const request = { spec, opening, writerId: this.#writerId, earlierWriters: this.#earlierWriters };
    return backUp(engine, request, {
      signal: AbortSignal.any([lease.signal, lost]),
      onProgress: (progress) => this.#progressed(progress),
      beforeCommit: () => lease.mayCommit(),
    });
  }

  #progressed(progress: DiskProgress[]): void {
    if (bytesBehind(progress) > bytesBehind(this.#progress)) this.#outage.over();
    this.#progress = progress;
    this.#work.onProgress(progress);
  }

  #resultOf({ manifest, progress, reasons }: EngineResult): TransferResult {
    const { capturedAt, method, consistency } = manifest;
    const { openings } = this.#work;
    for (const { lineage } of manifest.disks)
      if (lineage) openings.keepCheckpoint(lineage.openingId as OpeningId);
    const disks = manifest.disks.map(({ target, sizeBytes, readBytes, tracked }) => {
      const moved = progress.find((one) => one.target === target);
      const done = { target, totalBytes: readBytes, doneBytes: readBytes, storedBytes: 0, resumedBytes: 0 };
      return {
        ...(moved ?? done),
        sizeBytes,
        mapRoot: 'ab',
        reasons: [...(reasons.get(target) ?? [])],
        tracked,
      };
    });
    return { disks, poolBytes: 0, capturedAt, method, consistency, reasons: [...this.#reasons] };
  }

  async #recover(fault: Fault): Promise<void> {
    const { lease, openings, engine, transferId } = this.#work;
    const remedy = remedyFor(fault);
    const { world, name } = engine.process;
    world.trace(name, `${transferId} meets ${fault.code}: ${remedy}`);
    if (remedy === 'fail') throw fault;
    if (remedy === 'recapture') return this.#recapture();
    if (remedy === 'look') {
      if (await openings.isLost(this.#openingId, lease.signal)) return this.#recapture();
      if (remedyWhileOpen(fault) === 'fail') throw fault;
    }
    await this.#outage.wait(fault, lease.signal);
    await this.#takeNextWriter();
  }

  async #takeNextWriter(): Promise<void> {
    if (!this.#writerUsed) return;
    const { lease, client, transferId } = this.#work;
    const { epoch } = lease;
    const next = await lease.ask((options) => client.request(nextWriter, { transferId, epoch }, options));
    this.#writerId = next.writerId;
    this.#writerUsed = false;
    this.#earlierWriters = this.#ofThisCapture(next.earlierWriters);
  }

  async #recapture(): Promise<void> {
    const { lease, openings, client, transferId } = this.#work;
    const lostOpeningId = this.#openingId;
    const { epoch } = lease;
    const next = await lease.ask((options) =>
      client.request(replaceOpening, { transferId, epoch, lostOpeningId }, options),
    );
    lease.captureLost();
    this.#reasons.add('CAPTURE_LOST_RESTARTED');
    this.#openingId = next.openingId;
    this.#capturedAt = null;
    this.#writerId = next.writerId;
    this.#writerUsed = false;
    this.#earlierWriters = [];
    this.#progress = [];
    await openings.close(lostOpeningId, lease.signal);
  }

  #ofThisCapture(writers: readonly { writerId: string; openingId: OpeningId }[]): string[] {
    if (this.#capturedAt === null) return [];
    return writers.filter(({ openingId }) => openingId === this.#openingId).map(({ writerId }) => writerId);
  }
}
