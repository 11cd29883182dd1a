import { allocationContext, isZero, NbdClient, type NbdEndpoint } from '@casvault/block-source';
import { Fault, type DiskProgress, type RestoreSpec, type TransferResult } from '@casvault/contracts';
import { BlockSet, restorePoint, warmEngine, type RestoreRequest } from '@casvault/data-path';
import { type StoreLocation } from '@casvault/object-store';
import { threadsOf, wayOf } from './parallelism.rules.js';
import { locationOf } from './pool-place.js';
import { inDiskSpans } from './spans.js';
import { TargetVolumes, type OpenVolume } from './target-volumes.js';
import { type Work } from './work.js';

/** Platforms make volumes in whole MiB: the volume of a disk may be larger than the disk by less than this. */
const platformUnitBytes = 1 << 20;

type SpecDisk = RestoreSpec['disks'][number];

/** The size to open a volume with: the point's, if the platform's rounding is all that lies between. */
export const openSizeOf = (disk: SpecDisk, pointBytes: number): { sizeBytes: number; resize?: true } => {
  if (Math.abs(disk.sizeBytes - pointBytes) < platformUnitBytes)
    return { sizeBytes: pointBytes, resize: true };
  if (disk.sizeBytes > pointBytes) return { sizeBytes: disk.sizeBytes };
  throw new Fault(
    'INPUT_INVALID',
    `the volume for ${disk.target} has ${disk.sizeBytes} bytes, the disk ${pointBytes}`,
    { details: { target: disk.target, volumeBytes: disk.sizeBytes, diskBytes: pointBytes } },
  );
};

/** A volume that this transfer has begun to write. */
interface BegunVolume {
  readonly openedAt: string;
  readonly fresh: boolean;
  readonly written: BlockSet;
}

/**
 * Writes a point's disks into fresh volumes and flushes them. An interrupted attempt is repeated without what is written already, through an
 * opening that still stands; through another, or by another worker, from the beginning: it writes the same. Memory: a `BlockSet` for each disk.
 */
export class RestoreTransfer {
  readonly #work: Work<RestoreSpec>;
  readonly #volumes: TargetVolumes;
  readonly #begunVolumes = new Map<string, BegunVolume>();
  #progress: readonly DiskProgress[] = [];

  constructor(work: Work<RestoreSpec>) {
    this.#work = work;
    this.#volumes = new TargetVolumes(work);
  }

  run(): Promise<TransferResult> {
    return this.#volumes.repeat(() => this.#attempt());
  }

  async #attempt(): Promise<TransferResult> {
    const { spec, tools, lease } = this.#work;
    const location = locationOf(spec.pool, tools.unseal);
    warmEngine(tools.resting, threadsOf(spec.options, spec.disks.length));
    // A successor that is done has closed the volumes and handed the VM over: nobody opens them behind it without a proven lease.
    const [sizeOf] = await Promise.all([this.#volumes.pointSizes(location), lease.prove()]);
    const lost: AbortSignal[] = [];
    const disks: RestoreRequest['disks'][number][] = [];
    for (const disk of spec.disks) {
      const opened = await this.#volumes.open(disk, openSizeOf(disk, sizeOf(disk.target)));
      lost.push(opened.lost);
      const { fresh, written } = await this.#begun(disk.target, opened);
      const { keepsRoom = false } = spec;
      disks.push({ target: disk.target, destination: opened.endpoint, fresh, keepsRoom, written });
    }
    const result = await this.#move(location, disks, AbortSignal.any([lease.signal, ...lost]));
    return {
      disks: result.disks.map((disk) => ({ ...disk, reasons: [], tracked: false })),
      poolBytes: 0,
      capturedAt: null,
      method: 'write',
      consistency: 'crash',
      reasons: [],
    };
  }

  /** What is behind the opening. As long as it stands, what was acknowledged through it is there; of another nothing counts. */
  async #begun(target: string, { opening, endpoint }: OpenVolume): Promise<BegunVolume> {
    const known = this.#begunVolumes.get(target);
    if (known?.openedAt === opening.openedAt) return known;
    const fresh = await readsAsZeros(endpoint, this.#work.lease.signal);
    const begun = { openedAt: opening.openedAt, fresh, written: new BlockSet() };
    this.#begunVolumes.set(target, begun);
    return begun;
  }

  async #move(location: StoreLocation, disks: RestoreRequest['disks'], signal: AbortSignal) {
    const { spec, tools, speed } = this.#work;
    const { chainId, pointId, options } = spec;
    const { resting } = tools;
    const request: RestoreRequest = {
      location,
      key: null,
      chainId,
      pointId,
      disks,
      ...wayOf(options, disks.length),
    };
    const bytesOf = (target: string) => {
      const disk = this.#progress.find((one) => one.target === target);
      return {
        'casvault.bytes.written': disk?.doneBytes ?? 0,
        'casvault.bytes.fetched': disk?.storedBytes ?? 0,
      };
    };
    const targets = disks.map(({ target }) => target);
    return inDiskSpans(targets, bytesOf, () =>
      restorePoint(request, {
        signal,
        resting,
        ...(speed && { speed }),
        onProgress: (progress) => this.#progressed(progress),
      }),
    );
  }

  #progressed(progress: DiskProgress[]): void {
    const furthest = (of: readonly DiskProgress[]) =>
      of.reduce((sum, { doneBytes, resumedBytes }) => sum + doneBytes + resumedBytes, 0);
    if (furthest(progress) > furthest(this.#progress)) this.#volumes.moved();
    this.#progress = progress;
    this.#work.onProgress(progress);
  }
}

/** Whether nothing but zeros is there, by the server's word; one that can't tell counts as written. */
const readsAsZeros = async (endpoint: NbdEndpoint, signal: AbortSignal): Promise<boolean> => {
  const target = await NbdClient.connect(endpoint, { contexts: [allocationContext], signal });
  try {
    if (!target.contexts.has(allocationContext)) return false;
    for await (const { flags } of target.extents(allocationContext, { signal }))
      if (!isZero(flags)) return false;
    return true;
  } finally {
    await target.close();
  }
};
