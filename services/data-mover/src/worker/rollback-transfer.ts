import { Fault, type DiskProgress, type RollbackSpec, type TransferResult } from '@casvault/contracts';
import { openRepository, readManifest, rollbackPoint } from '@casvault/data-path';
import { type StoreLocation } from '@casvault/object-store';
import { wayOf } from './parallelism.rules.js';
import { locationOf, withStore } from './pool-place.js';
import { judgeSince, type SinceDisk } from './rollback.rules.js';
import { inDiskSpans } from './spans.js';
import { TargetVolumes, type OpenVolume } from './target-volumes.js';
import { type Work } from './work.js';

type SpecDisk = RollbackSpec['disks'][number];
type ResultDisk = TransferResult['disks'][number];

const untold = { totalBytes: null, doneBytes: 0, storedBytes: 0, resumedBytes: 0 } as const;

/**
 * Writes into the disks of a stopped VM what differs from a point, and flushes it (F8). All volumes are open before any is written, the
 * controller knows of the first write before it happens, and of each disk before its own. Done again it writes what still differs.
 */
export class RollbackTransfer {
  readonly #work: Work<RollbackSpec>;
  readonly #volumes: TargetVolumes;
  /** Of the disks that may have been written, in this attempt or an earlier one. */
  readonly #progress = new Map<string, DiskProgress>();

  constructor(work: Work<RollbackSpec>) {
    this.#work = work;
    this.#volumes = new TargetVolumes(work);
    // Another worker began: which disks, it does not say.
    for (const { target } of work.claim.capturedAt === null ? [] : work.spec.disks)
      this.#progress.set(target, { target, ...untold });
  }

  run(): Promise<TransferResult> {
    return this.#volumes.repeat(() => this.#attempt());
  }

  async #attempt(): Promise<TransferResult> {
    const { spec, tools, lease } = this.#work;
    const location = locationOf(spec.pool, tools.unseal);
    // A successor that is done has closed the volumes and started the VM: nobody opens them behind it without a proven lease.
    await lease.prove();
    const sizeOf = await this.#volumes.pointSizes(location);
    const open: { readonly disk: SpecDisk; readonly opened: OpenVolume }[] = [];
    for (const disk of spec.disks) open.push({ disk, opened: await this.#open(disk, sizeOf(disk.target)) });
    if (open[0]) await lease.captured(open[0].opened.opening);
    const results: ResultDisk[] = [];
    const since = await this.#sinceDisks(location);
    for (const { disk, opened } of open)
      results.push(await this.#write(location, disk, opened, since.get(disk.target) ?? null));
    return {
      disks: results,
      poolBytes: 0,
      capturedAt: null,
      method: 'write',
      consistency: 'crash',
      reasons: [],
    };
  }

  async #open(disk: SpecDisk, sizeBytes: number): Promise<OpenVolume> {
    const { since } = this.#work.spec;
    const terms = since ? { sizeBytes, incrementalFrom: since.checkpoint } : { sizeBytes };
    const opened = await this.#volumes.open(disk, terms);
    const { target } = disk;
    const isBytes = opened.volume.sizeBytes;
    if (isBytes === sizeBytes) return opened;
    throw new Fault('CONFLICT', `disk ${target} has ${isBytes} bytes now, ${sizeBytes} at the point`, {
      details: { target, sizeBytes: isBytes, pointBytes: sizeBytes },
    });
  }

  /** The disks of the point since which bitmaps may count; none when it is gone. */
  async #sinceDisks(location: StoreLocation): Promise<ReadonlyMap<string, SinceDisk>> {
    const { spec, lease } = this.#work;
    const { signal } = lease;
    const { since } = spec;
    if (!since) return new Map();
    try {
      const manifest = await withStore(location, async (store) =>
        readManifest(await openRepository(store, { signal }), since, signal),
      );
      return new Map(manifest.facts.disks.map((disk) => [disk.target, disk]));
    } catch (error) {
      if (Fault.from(error).code === 'POOL_OBJECT_MISSING') return new Map();
      throw error;
    }
  }

  async #write(
    location: StoreLocation,
    { target }: SpecDisk,
    { endpoint: destination, volume, lost }: OpenVolume,
    sinceDisk: SinceDisk | null,
  ): Promise<ResultDisk> {
    const { spec, lease, tools, speed } = this.#work;
    const { chainId, pointId, options } = spec;
    const { since, reasons } = judgeSince(spec.since, volume, sinceDisk);
    this.#tell({ target, ...untold });
    await lease.prove();
    const signal = AbortSignal.any([lease.signal, lost]);
    const run = { signal, resting: tools.resting, ...(speed && { speed }) };
    const disks = [{ target, destination, since }];
    const request = { location, key: null, chainId, pointId, disks, ...wayOf(options, 1) };
    const result = await inDiskSpans(
      [target],
      () => this.#bytesOf(target),
      () => rollbackPoint(request, { ...run, onProgress: ([disk]) => disk && this.#tell(disk) }),
    );
    const [disk] = result.disks;
    if (!disk) throw new Fault('BUG', `the engine told nothing of disk ${target}`);
    const { totalBytes, doneBytes, storedBytes, resumedBytes, sizeBytes, mapRoot, writtenBytes } = disk;
    const done = { target, totalBytes, doneBytes, storedBytes, resumedBytes, durable: true, writtenBytes };
    this.#tell(done);
    const found = [...reasons, ...disk.reasons];
    return { ...done, sizeBytes, mapRoot, reasons: found, tracked: disk.reasons.length === 0 };
  }

  #bytesOf(target: string) {
    const disk = this.#progress.get(target);
    return {
      'casvault.bytes.written': disk?.doneBytes ?? 0,
      'casvault.bytes.fetched': disk?.storedBytes ?? 0,
    };
  }

  #tell(disk: DiskProgress): void {
    const { target, doneBytes } = disk;
    if (doneBytes > (this.#progress.get(target)?.doneBytes ?? 0)) this.#volumes.moved();
    this.#progress.set(target, disk);
    this.#work.onProgress([...this.#progress.values()]);
  }
}
