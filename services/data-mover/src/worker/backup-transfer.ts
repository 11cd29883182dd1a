import {
  Fault,
  nextWriter,
  replaceOpening,
  type BackupSpec,
  type DiskProgress,
  type OpeningId,
  type ReasonCode,
  type TransferResult,
  type WriterId,
} from '@casvault/contracts';
import {
  backupPoint,
  findManifest,
  openRepository,
  type BackupDisk,
  type BackupRequest,
  type BackupResult,
} from '@casvault/data-path';
import { type StoreLocation } from '@casvault/object-store';
import { type HeldOpening } from './held-openings.js';
import { Outage } from './outage.js';
import { parallelismOf } from './parallelism.rules.js';
import { locationOf, prepareRepository, withStore } from './pool-place.js';
import { remedyFor, remedyWhileOpen } from './remedy.rules.js';
import { inDiskSpans, inSpan } from './spans.js';
import { endpointOf, type Work } from './work.js';

const bytesBehind = (progress: readonly DiskProgress[]): number =>
  progress.reduce((sum, disk) => sum + disk.doneBytes + disk.resumedBytes, 0);

/**
 * Makes one point: a capture at the disk service, told to the controller before the first pack, the engine over it, and a
 * commit that the controller allowed. Goes on through broken connections with the packs that it wrote, and begins anew
 * when the capture is lost. Ends when its lease does.
 */
export class BackupTransfer {
  readonly #work: Work<BackupSpec>;
  readonly #outage: Outage;
  readonly #reasons = new Set<ReasonCode>();
  #openingId: OpeningId;
  #capturedAt: string | null;
  #writerId: WriterId;
  /** The writer may have packs: another attempt needs another one. */
  #writerUsed = false;
  /** Of the present capture. */
  #earlierWriters: WriterId[];
  /** Captures of ours that were given up; what still stands of them is in the way of the next. */
  readonly #givenUp: Set<string>;
  #mayBeCommitted: boolean;
  #progress: readonly DiskProgress[] = [];

  constructor(work: Work<BackupSpec>) {
    const { claim, spec, tools } = work;
    this.#work = work;
    this.#outage = new Outage(spec.options.reconnectMinutes, tools.clock, tools.monotonic);
    this.#openingId = claim.openingId;
    this.#capturedAt = claim.capturedAt;
    this.#writerId = claim.writerId;
    this.#earlierWriters = this.#ofThisCapture(claim.earlierWriters);
    const openings = claim.earlierWriters.map(({ openingId }) => openingId);
    this.#givenUp = new Set(openings.filter((id) => id !== claim.openingId));
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
    const { spec, lease, tools } = this.#work;
    const location = locationOf(spec.pool, tools.unseal);
    const committed = this.#mayBeCommitted ? await this.#committed(location) : null;
    if (committed) return committed;
    // A chain that has a parent has its repository: another one in its place must not be taken for it.
    if (spec.parentPointId === null)
      await withStore(location, (store) => prepareRepository(spec.pool, store, lease.signal));
    await lease.prove();
    const held = await inSpan('open capture', { 'casvault.opening': this.#openingId }, () => this.#capture());
    await lease.captured(held.opening);
    this.#capturedAt = held.opening.openedAt;
    this.#writerUsed = true;
    this.#mayBeCommitted = true;
    return this.#resultOf(await this.#move(location, held));
  }

  /** The point, if an attempt committed it whose end was not reported. */
  async #committed(location: StoreLocation): Promise<TransferResult | null> {
    const { spec, lease } = this.#work;
    const manifest = await withStore(location, async (store) => {
      try {
        return await findManifest(await openRepository(store, { signal: lease.signal }), spec, lease.signal);
      } catch (error) {
        if (Fault.from(error).code === 'POOL_OBJECT_MISSING') return null;
        throw error;
      }
    });
    if (manifest === null) return null;
    const disks = manifest.facts.disks.map(({ target, sizeBytes, root, stats }) => {
      const { dataBytes: totalBytes, readBytes: doneBytes, storedBytes, resumedBytes } = stats;
      const progress = { target, totalBytes, doneBytes, storedBytes, resumedBytes };
      return { ...progress, sizeBytes, mapRoot: root, reasons: [], tracked: false };
    });
    const { capturedAt, method } = manifest.facts;
    return { disks, poolBytes: 0, capturedAt, method, consistency: 'crash', reasons: [...this.#reasons] };
  }

  async #capture(): Promise<HeldOpening> {
    const { spec, openings, lease } = this.#work;
    const { uuid, name } = spec.vm;
    const disks = spec.disks.map(({ target, path, incrementalFrom }) => ({
      target,
      path,
      ...(incrementalFrom === undefined ? {} : { incrementalFrom }),
    }));
    const open = () =>
      openings.open(this.#openingId, { kind: 'capture', vm: { uuid, name }, disks }, lease.signal);
    const held = await this.#withOurOwnOutOfTheWay(open);
    const { openedAt } = held.opening;
    if (this.#capturedAt === null || Date.parse(openedAt) === Date.parse(this.#capturedAt)) return held;
    throw new Fault(
      'CAPTURE_LOST',
      `opening ${this.#openingId} is of ${openedAt}, the capture was of ${this.#capturedAt}`,
    );
  }

  /** One capture of a VM at a time: one that we gave up may stand until its lease ends. */
  async #withOurOwnOutOfTheWay(open: () => Promise<HeldOpening>): Promise<HeldOpening> {
    const { openings, lease } = this.#work;
    try {
      return await open();
    } catch (error) {
      const { holder } = Fault.from(error).details;
      if (typeof holder !== 'string' || !this.#givenUp.has(holder)) throw error;
      await openings.close(holder as OpeningId, lease.signal);
      return open();
    }
  }

  async #move(location: StoreLocation, { opening, lost }: HeldOpening): Promise<BackupResult> {
    const { spec, lease } = this.#work;
    const request = this.#engineRequest(location, opening);
    const bytesOf = (target: string) => {
      const disk = this.#progress.find((one) => one.target === target);
      return {
        'casvault.bytes.read': disk?.doneBytes ?? 0,
        'casvault.bytes.stored': disk?.storedBytes ?? 0,
        'casvault.bytes.resumed': disk?.resumedBytes ?? 0,
      };
    };
    const targets = spec.disks.map(({ target }) => target);
    return inDiskSpans(targets, bytesOf, (committing) =>
      backupPoint(request, {
        signal: AbortSignal.any([lease.signal, lost]),
        onProgress: (progress) => this.#progressed(progress),
        onReason: (_target, reason) => void this.#reasons.add(reason),
        beforeCommit: () => committing(() => lease.mayCommit()),
      }),
    );
  }

  #engineRequest(location: StoreLocation, opening: HeldOpening['opening']): BackupRequest {
    const { spec, tools } = this.#work;
    const { chainId, pointId, parentPointId, pointKind, vm, configuration, options } = spec;
    if (opening.method === 'write') throw new Fault('BUG', `opening ${opening.openingId} is no capture`);
    return {
      location,
      key: null,
      chainId,
      pointId,
      kind: pointKind,
      writerId: this.#writerId,
      earlierWriters: this.#earlierWriters,
      parentPointId,
      createdAt: tools.clock.now().toISOString(),
      facts: {
        capturedAt: opening.openedAt,
        method: opening.method,
        vm,
        configuration,
        tools: { casvault: tools.version },
      },
      disks: spec.disks.map((disk) => this.#engineDisk(disk, opening)),
      compression: options.compression,
      ...parallelismOf(options, spec.disks.length),
      readBytes: options.bufferKiB * 1024,
    };
  }

  #engineDisk(disk: BackupSpec['disks'][number], opening: HeldOpening['opening']): BackupDisk {
    const { target, diskId, role, bus, format, incrementalFrom } = disk;
    const found = opening.disks.find((one) => one.target === target);
    if (!found) throw new Fault('DISK_SERVICE_REFUSED', `the opening has no disk ${target}`);
    if (incrementalFrom !== undefined && found.bitmapContext === null)
      this.#reasons.add('BITMAP_UNAVAILABLE');
    return {
      target,
      diskId,
      role,
      bus,
      format,
      source: endpointOf(found, this.#work.tools.diskTls),
      ...(found.bitmapContext === null ? {} : { dirtyBitmapContext: found.bitmapContext }),
    };
  }

  #progressed(progress: DiskProgress[]): void {
    if (bytesBehind(progress) > bytesBehind(this.#progress)) this.#outage.over();
    this.#progress = progress;
    this.#work.onProgress(progress);
  }

  #resultOf({ manifest, disks }: BackupResult): TransferResult {
    const { capturedAt, method } = manifest.facts;
    return {
      disks: disks.map((disk) => ({ ...disk, reasons: [], tracked: false })),
      poolBytes: 0,
      capturedAt,
      method,
      consistency: 'crash',
      reasons: [...this.#reasons],
    };
  }

  /** Returns when another attempt is due, or throws. */
  async #recover(fault: Fault): Promise<void> {
    const { lease, openings, tools, transferId } = this.#work;
    const remedy = remedyFor(fault);
    tools.logger.warn({ err: fault, transferId, remedy }, 'transfer interrupted');
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
    const { lease, tools, transferId } = this.#work;
    const { epoch } = lease;
    const next = await lease.ask((options) =>
      tools.client.request(nextWriter, { transferId, epoch }, options),
    );
    this.#writerId = next.writerId;
    this.#writerUsed = false;
    this.#earlierWriters = this.#ofThisCapture(next.earlierWriters);
  }

  /** A new capture: nothing of the old one counts. The controller bounds how often. */
  async #recapture(): Promise<void> {
    const { lease, openings, tools, transferId } = this.#work;
    const lostOpeningId = this.#openingId;
    const { epoch } = lease;
    const next = await lease.ask((options) =>
      tools.client.request(replaceOpening, { transferId, epoch, lostOpeningId }, options),
    );
    tools.logger.warn(
      { transferId, lostOpeningId, openingId: next.openingId },
      'capture lost, captured anew',
    );
    lease.captureLost();
    this.#reasons.add('CAPTURE_LOST_RESTARTED');
    this.#givenUp.add(lostOpeningId);
    this.#openingId = next.openingId;
    this.#capturedAt = null;
    this.#writerId = next.writerId;
    this.#writerUsed = false;
    this.#earlierWriters = [];
    this.#progress = [];
    await openings.close(lostOpeningId, lease.signal);
  }

  /** A capture that was never told of has no packs. */
  #ofThisCapture(writers: readonly { writerId: WriterId; openingId: OpeningId }[]): WriterId[] {
    if (this.#capturedAt === null) return [];
    return writers.filter(({ openingId }) => openingId === this.#openingId).map(({ writerId }) => writerId);
  }
}
