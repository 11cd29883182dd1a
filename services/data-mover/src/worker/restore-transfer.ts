import { allocationContext, isZero, NbdClient, type NbdEndpoint } from '@casvault/block-source';
import {
  Fault,
  type DiskProgress,
  type OpeningId,
  type RestoreSpec,
  type TransferResult,
} from '@casvault/contracts';
import { openRepository, readManifest, restorePoint, type RestoreRequest } from '@casvault/data-path';
import { type StoreLocation } from '@casvault/object-store';
import { v5 as uuidv5 } from 'uuid';
import { Outage } from './outage.js';
import { parallelismOf } from './parallelism.rules.js';
import { locationOf, withStore } from './pool-place.js';
import { remedyFor, remedyWhileOpen } from './remedy.rules.js';
import { inDiskSpans, inSpan } from './spans.js';
import { endpointOf, type Work } from './work.js';

/** Platforms make volumes in whole MiB: the volume of a disk may be larger than the disk by less than this. */
const platformUnitBytes = 1 << 20;

type SpecDisk = RestoreSpec['disks'][number];

/** An attempt after a crash finds the volume's opening by it. */
export const volumeOpeningId = (openingId: OpeningId, target: string): OpeningId =>
  uuidv5(target, openingId) as OpeningId;

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

/**
 * Writes a point's disks into fresh volumes and flushes them. An interrupted attempt is simply repeated: it writes the same.
 */
export class RestoreTransfer {
  readonly #work: Work<RestoreSpec>;
  readonly #outage: Outage;
  #progress: readonly DiskProgress[] = [];

  constructor(work: Work<RestoreSpec>) {
    const { tools, spec } = work;
    this.#work = work;
    this.#outage = new Outage(spec.options.reconnectMinutes, tools.clock, tools.monotonic);
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
    const { spec, tools, lease } = this.#work;
    const location = locationOf(spec.pool, tools.unseal);
    // A successor that is done has closed the volumes and handed the VM over: nobody opens them behind it without a proven lease.
    await lease.prove();
    const sizes = await this.#pointSizes(location);
    const lost: AbortSignal[] = [];
    const disks: RestoreRequest['disks'][number][] = [];
    for (const disk of spec.disks) {
      const pointBytes = sizes.get(disk.target);
      if (pointBytes === undefined) throw new Fault('INPUT_INVALID', `the point has no disk ${disk.target}`);
      const opened = await inSpan('open volume', { 'casvault.disk': disk.target }, () =>
        this.#open(disk, pointBytes),
      );
      lost.push(opened.lost);
      const fresh = await readsAsZeros(opened.destination, lease.signal);
      disks.push({ target: disk.target, destination: opened.destination, fresh });
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

  async #pointSizes(location: StoreLocation): Promise<Map<string, number>> {
    const { spec, lease } = this.#work;
    const { signal } = lease;
    const manifest = await withStore(location, async (store) =>
      readManifest(await openRepository(store, { signal }), spec, signal),
    );
    return new Map(manifest.facts.disks.map(({ target, sizeBytes }) => [target, sizeBytes]));
  }

  async #open(disk: SpecDisk, pointBytes: number) {
    const { claim, openings, lease, tools } = this.#work;
    const { path, format, target } = disk;
    const id = volumeOpeningId(claim.openingId, target);
    const request = { kind: 'volume', path, format, ...openSizeOf(disk, pointBytes) } as const;
    const { opening, lost } = await openings.open(id, request, lease.signal);
    const [volume] = opening.disks;
    if (!volume?.writable) throw new Fault('DISK_SERVICE_REFUSED', `volume ${path} can't be written`);
    return { destination: endpointOf(volume, tools.diskTls), lost };
  }

  async #move(location: StoreLocation, disks: RestoreRequest['disks'], signal: AbortSignal) {
    const { spec } = this.#work;
    const { chainId, pointId, options } = spec;
    const request: RestoreRequest = {
      location,
      key: null,
      chainId,
      pointId,
      disks,
      ...parallelismOf(options, disks.length),
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
      restorePoint(request, { signal, onProgress: (progress) => this.#progressed(progress) }),
    );
  }

  #progressed(progress: DiskProgress[]): void {
    const furthest = (of: readonly DiskProgress[]) => of.reduce((sum, { doneBytes }) => sum + doneBytes, 0);
    if (furthest(progress) > furthest(this.#progress)) this.#outage.over();
    this.#progress = progress;
    this.#work.onProgress(progress);
  }

  /** Returns when another attempt is due, or throws. */
  async #recover(fault: Fault): Promise<void> {
    const { lease, tools, transferId } = this.#work;
    const remedy = remedyFor(fault);
    tools.logger.warn({ err: fault, transferId, remedy }, 'transfer interrupted');
    if (remedy === 'fail') throw fault;
    if (remedy !== 'wait') await lease.prove();
    const lost = await this.#closeLost(remedy === 'recapture' || remedy === 'look');
    if (remedy === 'look' && lost === 0 && remedyWhileOpen(fault) === 'fail') throw fault;
    await this.#outage.wait(fault, lease.signal);
  }

  /** A lost opening keeps its id until it is closed. Returns how many there were. */
  async #closeLost(mayBe: boolean): Promise<number> {
    const { spec, claim, openings, lease } = this.#work;
    let lost = 0;
    for (const { target } of mayBe ? spec.disks : []) {
      const id = volumeOpeningId(claim.openingId, target);
      if (!(await openings.isLost(id, lease.signal))) continue;
      await openings.close(id, lease.signal);
      lost += 1;
    }
    return lost;
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
