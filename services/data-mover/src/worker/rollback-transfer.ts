import { Fault, type DiskProgress, type RollbackSpec, type TransferResult } from '@casvault/contracts';
import { restorePoint } from '@casvault/data-path';
import { type StoreLocation } from '@casvault/object-store';
import { parallelismOf } from './parallelism.rules.js';
import { locationOf } from './pool-place.js';
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
    for (const { disk, opened } of open) results.push(await this.#write(location, disk, opened));
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

  async #write(location: StoreLocation, { target }: SpecDisk, opened: OpenVolume): Promise<ResultDisk> {
    const { spec, lease } = this.#work;
    const { chainId, pointId, options } = spec;
    this.#tell({ target, ...untold });
    await lease.prove();
    const signal = AbortSignal.any([lease.signal, opened.lost]);
    const request = {
      location,
      key: null,
      chainId,
      pointId,
      disks: [{ target, destination: opened.endpoint, fresh: false }],
      ...parallelismOf(options, 1),
    };
    const { disks } = await inDiskSpans(
      [target],
      () => this.#bytesOf(target),
      () => restorePoint(request, { signal, onProgress: ([disk]) => disk && this.#tell(disk) }),
    );
    const [disk] = disks;
    const done = { ...disk!, durable: true };
    this.#tell(done);
    return { ...done, reasons: [], tracked: false };
  }

  #bytesOf(target: string) {
    const disk = this.#progress.get(target);
    return {
      'casvault.bytes.written': disk?.doneBytes ?? 0,
      'casvault.bytes.fetched': disk?.storedBytes ?? 0,
    };
  }

  #tell(disk: DiskProgress): void {
    const { target, totalBytes, doneBytes, storedBytes, resumedBytes, durable } = disk;
    if (doneBytes > (this.#progress.get(target)?.doneBytes ?? 0)) this.#volumes.moved();
    const told = { target, totalBytes, doneBytes, storedBytes, resumedBytes };
    this.#progress.set(target, durable === undefined ? told : { ...told, durable });
    this.#work.onProgress([...this.#progress.values()]);
  }
}
