import { realpath } from 'node:fs/promises';
import {
  Fault,
  type CaptureMethod,
  type CaptureRequest,
  type FaultDetails,
  type Logger,
} from '@casvault/contracts';
import type { BlockNode, Domain, Libvirt } from '@casvault/libvirt';
import type { Checkpoints } from '../host/checkpoints.js';
import { imageIdentity, runOf } from '../host/generation.js';
import { readChain, type Image } from '../host/image.js';
import { askQemu, keptBitmaps, liveBitmaps } from '../host/layers.js';
import type { LiveCaptures } from '../host/live-capture.js';
import { judgeBitmap, type BitmapVerdict, type KnownCheckpoint } from './bitmap.plan.js';
import {
  captureMethod,
  frozenLayer,
  internalSnapshot,
  planDisks,
  refuseEncrypted,
  type PlannedDisk,
} from './capture.plan.js';
import type { PlannedOpening } from './planner.js';
import { holderOf, type DiskRecord, type OpeningRecord } from './record.js';

export interface CapturePlannerParts {
  readonly libvirt: Libvirt;
  readonly live: LiveCaptures;
  readonly checkpoints: Checkpoints;
  readonly scratchReserveBytes: number;
  /** False: running VMs are captured by snapshots of the platform only. */
  readonly liveExport: boolean;
  readonly logger: Logger;
}

/** What is found out once for all disks of a capture. */
interface Findings {
  readonly request: CaptureRequest;
  readonly domain: Domain;
  readonly method: CaptureMethod;
  readonly checkpoints: ReadonlyMap<string, KnownCheckpoint>;
  /** QEMU's block nodes; null: the VM does not run, or QEMU could not be asked. */
  readonly nodes: readonly BlockNode[] | null;
  readonly run: string;
}

/** Looks at a VM and its disks and decides how it is captured, or refuses it with the rule that it breaks. Changes nothing. */
export class CapturePlanner {
  readonly #parts: CapturePlannerParts;

  constructor(parts: CapturePlannerParts) {
    this.#parts = parts;
  }

  /** Throws VM_NOT_FOUND, CAPTURE_REFUSED, DISK_SERVICE_REFUSED, CONFLICT (the checkpoint exists). */
  async plan(
    request: CaptureRequest,
    others: readonly OpeningRecord[],
    signal: AbortSignal,
  ): Promise<PlannedOpening> {
    const holder = others.find(
      (other) => other.request.kind === 'capture' && other.request.vm.uuid === request.vm.uuid,
    );
    if (holder) throw heldBy(request, `opening ${holder.openingId}`, holderOf(holder));
    const domain = await this.#domain(request, signal);
    const state = captureMethod(domain);
    const method: CaptureMethod = request.snapshot ? `${request.snapshot.kind}-snapshot` : state;
    const planned = planDisks(request, domain, await sameFiles(request, domain));
    if (method === 'live' && !this.#parts.liveExport) throw noLiveExport(request);
    const reading = readChains(planned, signal);
    // What libvirt refuses is told first.
    reading.catch(() => undefined);
    if (method === 'live') await this.#refuseBusy(request);
    const findings = await this.#find(request, domain, method, signal);
    const chains = await reading;
    const disks: DiskRecord[] = [];
    for (const [index, disk] of planned.entries())
      disks.push(await planRecord(findings, disk, chains[index] ?? []));
    const isTracked = disks.some((disk) => disk.isTracked);
    return { method, checkpoint: isTracked ? (request.checkpoint ?? null) : null, disks };
  }

  async #domain(request: CaptureRequest, signal: AbortSignal): Promise<Domain> {
    try {
      return await this.#parts.libvirt.domain(request.vm.uuid, { signal });
    } catch (error) {
      if (!(Fault.is(error) && error.code === 'VM_NOT_FOUND')) throw error;
      throw new Fault('VM_NOT_FOUND', `VM ${request.vm.name} (${request.vm.uuid}) is not on this host`, {
        details: { vmUuid: request.vm.uuid },
        cause: error,
      });
    }
  }

  /** libvirt would wait half a minute for another job's end, and a full scratch folder would stop the guest. */
  async #refuseBusy(request: CaptureRequest): Promise<void> {
    const { live, scratchReserveBytes } = this.#parts;
    const holder = await live.holder(request.vm.uuid);
    if (holder !== null) {
      throw heldBy(request, holder === 'foreign' ? 'a backup of another program' : `opening ${holder}`);
    }
    const job = await live.otherJob(request.vm.uuid);
    if (job !== null) throw heldBy(request, `the job "${job}"`);
    const freeBytes = await live.scratchFreeBytes();
    if (freeBytes < scratchReserveBytes) {
      throw new Fault(
        'DISK_SERVICE_REFUSED',
        `the scratch folder has ${String(freeBytes)} bytes free, less than the reserve of ` +
          `${String(scratchReserveBytes)}: a capture could stop the VM`,
        { details: { freeBytes, reserveBytes: scratchReserveBytes } },
      );
    }
  }

  async #find(
    request: CaptureRequest,
    domain: Domain,
    method: CaptureMethod,
    signal: AbortSignal,
  ): Promise<Findings> {
    const { libvirt, logger } = this.#parts;
    const run = runOf(request.vm.uuid);
    run.catch(() => undefined);
    const isBySnapshot = request.snapshot !== undefined;
    const wanted = request.disks.flatMap((disk) => disk.incrementalFrom ?? []);
    const names = request.checkpoint === undefined ? wanted : [...wanted, request.checkpoint];
    const isAsked = names.length > 0 && !isBySnapshot;
    const checkpoints = isAsked
      ? await this.#parts.checkpoints.known(request.vm.uuid, names, signal)
      : new Map<string, KnownCheckpoint>();
    if (request.checkpoint !== undefined && checkpoints.has(request.checkpoint)) {
      throw taken(request, request.checkpoint);
    }
    const nodes =
      isAsked && method === 'live' ? await askQemu(libvirt, request.vm.uuid, logger, signal) : null;
    return { request, domain, method, checkpoints, nodes, run: await run };
  }
}

/** Bitmaps of a snapshot's instant are not to be had: QEMU goes on counting in the ones there are. */
const noneOfSnapshots: BitmapVerdict = { isTrusted: false, reason: 'BITMAP_UNAVAILABLE' };

/** The images of each disk, while libvirt and QEMU are asked. */
async function readChains(disks: readonly PlannedDisk[], signal: AbortSignal): Promise<Image[][]> {
  const chains: Image[][] = [];
  for (const { path, format } of disks) chains.push(await readChain(path, format, signal));
  return chains;
}

async function planRecord(
  findings: Findings,
  disk: PlannedDisk,
  chain: readonly Image[],
): Promise<DiskRecord> {
  const { domain, request, method } = findings;
  refuseEncrypted(domain, disk, chain);
  const place = await servedLayer(findings, disk, chain);
  const served = chain[place] as Image;
  const isBySnapshot = method === 'internal-snapshot' || method === 'external-snapshot';
  const verdict = isBySnapshot ? noneOfSnapshots : judge(findings, disk, chain);
  const isWanted = disk.incrementalFrom !== null;
  return {
    target: disk.target,
    path: served.path,
    format: served.format === 'raw' ? 'raw' : 'qcow2',
    sizeBytes: served.sizeBytes,
    port: 0,
    bitmapSince: verdict.isTrusted ? disk.incrementalFrom : null,
    bitmapReason: isWanted && !verdict.isTrusted ? verdict.reason : null,
    bitmapMadeBy: isWanted && verdict.isTrusted ? verdict.madeBy : null,
    isTracked: served.keepsBitmaps && !disk.isUntracked && !isBySnapshot,
    generation: `${await imageIdentity(served.path)}/${findings.run}`,
    snapshotId:
      request.snapshot?.kind === 'internal'
        ? internalSnapshot(domain, disk, chain[0], request.snapshot.name)
        : null,
  };
}

/** Place in the chain of what is read: the active layer, or the one that an external snapshot froze. */
async function servedLayer(
  { domain, request }: Findings,
  disk: PlannedDisk,
  chain: readonly Image[],
): Promise<number> {
  if (request.snapshot?.kind !== 'external') return 0;
  const asked = await realOr(request.disks.find(({ target }) => target === disk.target)?.path ?? '');
  const real = new Map<string, string>();
  for (const { path } of chain) real.set(path, await realOr(path));
  return frozenLayer(domain, disk, chain, (path) => real.get(path) === asked);
}

/** Throws CONFLICT for a bitmap that has the new checkpoint's name already. */
function judge(findings: Findings, disk: PlannedDisk, chain: readonly Image[]): BitmapVerdict {
  const { request, method, nodes, checkpoints } = findings;
  const [image] = chain as [Image, ...Image[]];
  const { bitmaps, isActiveKnown } = method === 'live' ? liveBitmaps(chain, nodes) : keptBitmaps(chain);
  if (bitmaps.some(({ name }) => name === request.checkpoint)) throw taken(request, request.checkpoint ?? '');
  const wanted = disk.incrementalFrom ?? '';
  return judgeBitmap({
    wanted,
    target: disk.target,
    keepsBitmaps: image.keepsBitmaps,
    sizeBytes: image.sizeBytes,
    checkpoint: checkpoints.get(wanted) ?? null,
    bitmaps,
    isActiveKnown,
  });
}

const taken = (request: CaptureRequest, checkpoint: string): Fault =>
  new Fault('CONFLICT', `VM ${request.vm.name} has a checkpoint ${checkpoint} already`, {
    details: { vmUuid: request.vm.uuid, checkpoint },
  });

const noLiveExport = ({ vm }: CaptureRequest): Fault =>
  new Fault('CAPTURE_REFUSED', `VM ${vm.name} is running, and this host offers no live export`, {
    details: { vmUuid: vm.uuid },
  });

const heldBy = (request: CaptureRequest, holder: string, details: FaultDetails = {}): Fault =>
  new Fault('DISK_SERVICE_REFUSED', `VM ${request.vm.name} is held by ${holder}: one backup at a time`, {
    details: { vmUuid: request.vm.uuid, ...details },
  });

const realOr = async (path: string): Promise<string> => await realpath(path).catch(() => path);

/** Whether two paths name one file; of an external snapshot, which layer is asked for is looked at later. */
async function sameFiles(
  request: CaptureRequest,
  domain: Domain,
): Promise<(requested: string, attached: string) => boolean> {
  if (request.snapshot?.kind === 'external') return () => true;
  const real = new Map<string, string>();
  for (const { path } of [...request.disks, ...domain.disks]) {
    if (path !== null) real.set(path, await realOr(path));
  }
  return (requested, attached) => real.get(requested) === real.get(attached);
}

/** What a snapshot capture reads, looked at again. */
export interface SnapshotSource {
  readonly target: string;
  readonly path: string;
  readonly snapshotId: string | null;
}

/**
 * Says whether what a snapshot capture reads is still frozen: the internal snapshot is there under its id, or the layer lies below
 * the one that the guest writes. A snapshot that was removed lets its data be overwritten.
 */
export async function isStillFrozen(
  domain: Domain,
  source: SnapshotSource,
  snapshotName: string,
  signal: AbortSignal,
): Promise<boolean> {
  const disk = domain.disks.find(({ target }) => target === source.target);
  if (disk?.path == null) return false;
  const chain = await readChain(disk.path, disk.format, signal);
  if (source.snapshotId === null) return chain.slice(1).some(({ path }) => path === source.path);
  return (
    chain[0]?.snapshots.some(({ id, name }) => id === source.snapshotId && name === snapshotName) === true
  );
}
