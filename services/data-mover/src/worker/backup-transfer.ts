import {
  bytesBehind,
  Fault,
  replaceOpening,
  type BackupSpec,
  type DiskExport,
  type DiskProgress,
  type Opening,
  type OpeningId,
  type ReasonCode,
  type TransferResult,
} from '@casvault/contracts';
import {
  backupPoint,
  findManifest,
  openRepository,
  readManifest,
  resultOfManifest,
  warmEngine,
  type BackupDisk,
  type BackupRequest,
  type BackupResult,
  type StoredManifest,
} from '@casvault/data-path';
import { type StoreLocation } from '@casvault/object-store';
import { type HeldOpening, type HeldOpenings } from './held-openings.js';
import { Outage } from './outage.js';
import { parallelismOf, threadsOf } from './parallelism.rules.js';
import { locationOf, prepareRepository, withStore } from './pool-place.js';
import { PoolWriter, type EarlierWriter } from './pool-writer.js';
import { remedyFor, remedyWhileOpen } from './remedy.rules.js';
import { inDiskSpans, inSpan } from './spans.js';
import { judgeTracker, requireTrackers, sampleSeed, type JudgedTracker } from './tracker.rules.js';
import { endpointOf, placesOf, type Work } from './work.js';

type Capture = Parameters<HeldOpenings['open']>[1];

/** R6, R8: disks without a bitmap are named; D3: the guest may be frozen for the instant. */
const captureOf = ({ vm, disks, tracking, quiesceSeconds, snapshot }: BackupSpec): Capture => {
  const { checkpoint, supersedes } = tracking;
  return {
    kind: 'capture',
    vm: { uuid: vm.uuid, name: vm.name },
    disks: disks.map(({ target, path, incrementalFrom, untracked }) => ({
      target,
      path,
      ...(incrementalFrom === undefined ? {} : { incrementalFrom }),
      ...(untracked === undefined ? {} : { untracked }),
    })),
    ...(checkpoint === null ? {} : { checkpoint, supersedes }),
    ...(quiesceSeconds === null ? {} : { quiesceSeconds }),
    ...(snapshot === null ? {} : { snapshot }),
  };
};

const exportOf = ({ disks }: Opening, target: string): DiskExport => {
  const found = disks.find((disk) => disk.target === target);
  if (!found) throw new Fault('DISK_SERVICE_REFUSED', `the opening has no disk ${target}`);
  return found;
};

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
  readonly #writer: PoolWriter;
  #mayBeCommitted: boolean;
  #progress: readonly DiskProgress[] = [];

  constructor(work: Work<BackupSpec>) {
    const { claim, spec, tools } = work;
    this.#work = work;
    this.#outage = new Outage(spec.options, tools.clock, tools.monotonic);
    this.#openingId = claim.openingId;
    this.#capturedAt = claim.capturedAt;
    this.#writer = new PoolWriter(work, (earlier) => this.#isOfThisCapture(earlier));
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
    warmEngine(tools.resting, threadsOf(spec.options, spec.disks.length));
    await Promise.all([prepareRepository(spec, location, lease.signal), lease.prove()]);
    const held = await inSpan('open capture', { 'casvault.opening': this.#openingId }, () => this.#capture());
    const trackers = await this.#judgeTrackers(location, held.opening);
    await lease.captured(held.opening);
    this.#capturedAt = held.opening.openedAt;
    this.#writer.use();
    this.#mayBeCommitted = true;
    return this.#resultOf(await this.#move(location, held, trackers));
  }

  /** Before the first byte is read. The parent's manifest is the proof. */
  async #judgeTrackers(
    location: StoreLocation,
    opening: Opening,
  ): Promise<ReadonlyMap<string, JudgedTracker>> {
    const { spec } = this.#work;
    const isAsked = spec.disks.some(({ incrementalFrom }) => incrementalFrom !== undefined);
    const parent = isAsked ? await this.#parentDisks(location) : [];
    const trackers = new Map<string, JudgedTracker>();
    for (const disk of spec.disks) {
      const before = parent.find(({ diskId }) => diskId === disk.diskId) ?? null;
      trackers.set(disk.target, judgeTracker(disk, exportOf(opening, disk.target), opening, before));
    }
    requireTrackers(spec, trackers);
    return trackers;
  }

  async #parentDisks(location: StoreLocation): Promise<StoredManifest['facts']['disks']> {
    const { chainId, parentPointId } = this.#work.spec;
    const { signal } = this.#work.lease;
    if (parentPointId === null) return [];
    const manifest = await withStore(location, async (store) =>
      readManifest(await openRepository(store, { signal }), { chainId, pointId: parentPointId }, signal),
    );
    return manifest.facts.disks;
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
    return this.#resultOf(resultOfManifest(manifest));
  }

  async #capture(): Promise<HeldOpening> {
    const { spec, openings, lease, tools, transferId } = this.#work;
    const request = captureOf(spec);
    const held = await openings.open(this.#openingId, request, lease.signal);
    const { openedAt, reasons, method, disks } = held.opening;
    this.#outage.reached();
    tools.logger.info({ transferId, openedAt, method, disks: placesOf(disks) }, 'capture open');
    for (const reason of reasons) this.#reasons.add(reason);
    if (this.#capturedAt === null || Date.parse(openedAt) === Date.parse(this.#capturedAt)) return held;
    throw new Fault(
      'CAPTURE_LOST',
      `opening ${this.#openingId} is of ${openedAt}, the capture was of ${this.#capturedAt}`,
    );
  }

  async #move(
    location: StoreLocation,
    { opening, lost }: HeldOpening,
    trackers: ReadonlyMap<string, JudgedTracker>,
  ): Promise<BackupResult> {
    const { spec, lease, tools, speed } = this.#work;
    const request = this.#engineRequest(location, opening, trackers);
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
        resting: tools.resting,
        ...(speed && { speed }),
        onProgress: (progress) => this.#progressed(progress),
        beforeCommit: () => committing(() => lease.mayCommit()),
      }),
    );
  }

  #engineRequest(
    location: StoreLocation,
    opening: Opening,
    trackers: ReadonlyMap<string, JudgedTracker>,
  ): BackupRequest {
    const { spec, tools } = this.#work;
    const { chainId, pointId, parentPointId, pointKind, vm, configuration, options } = spec;
    if (opening.method === 'write') throw new Fault('BUG', `opening ${opening.openingId} is no capture`);
    return {
      location,
      key: null,
      chainId,
      pointId,
      kind: pointKind,
      writerId: this.#writer.id,
      earlierWriters: this.#writer.earlier,
      parentPointId,
      createdAt: tools.clock.now().toISOString(),
      facts: {
        capturedAt: opening.openedAt,
        method: opening.method,
        consistency: opening.consistency,
        excludedDisks: spec.excludedDisks,
        vm,
        configuration,
        tools: { casvault: tools.version },
      },
      disks: spec.disks.map((disk) => this.#engineDisk(disk, opening, trackers.get(disk.target))),
      compression: options.compression,
      ...parallelismOf(options, spec.disks.length),
      readBytes: options.transport.bufferKiB * 1024,
      unacknowledgedBytes: options.reconnect.bufferMiB * 1_048_576,
    };
  }

  #engineDisk(
    { target, diskId, role, bus, format }: BackupSpec['disks'][number],
    opening: Opening,
    tracker: JudgedTracker | undefined,
  ): BackupDisk {
    const { tools, transferId, spec } = this.#work;
    const { sampleBlocks, sweepPart } = spec.tracking;
    const { context = null, reasons = [], lineage = null } = tracker ?? {};
    const seed = sampleSeed(transferId, opening.openingId);
    return {
      target,
      diskId,
      role,
      bus,
      format,
      source: endpointOf(exportOf(opening, target), tools.diskTls),
      reasons,
      lineage,
      ...(context === null
        ? {}
        : { dirtyBitmapContext: context, tracking: { sampleBlocks, sweepPart, seed } }),
    };
  }

  #progressed(progress: DiskProgress[]): void {
    if (bytesBehind(progress) > bytesBehind(this.#progress)) this.#outage.over();
    this.#progress = progress;
    this.#work.onProgress(progress);
  }

  /** The point is committed: from now on its capture leaves a checkpoint behind, if it is the capture of the point. */
  #resultOf({ manifest, disks, poolBytes }: BackupResult): TransferResult {
    const { capturedAt, method, consistency } = manifest.facts;
    const isOfThisCapture =
      this.#capturedAt !== null && Date.parse(capturedAt) === Date.parse(this.#capturedAt);
    if (isOfThisCapture) this.#work.openings.keepCheckpoint(this.#openingId);
    const reasons = [...this.#reasons];
    const told = disks.map((disk) => ({ ...disk, reasons: [...disk.reasons] }));
    return { disks: told, poolBytes, capturedAt, method, consistency, reasons };
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
    await this.#writer.handOver();
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
    this.#openingId = next.openingId;
    this.#capturedAt = null;
    this.#writer.beginAnew(next.writerId);
    this.#progress = [];
    await openings.close(lostOpeningId, lease.signal);
  }

  /** A capture that was never told of has no packs. */
  #isOfThisCapture({ openingId }: EarlierWriter): boolean {
    return this.#capturedAt !== null && openingId === this.#openingId;
  }
}
