import { realpath } from 'node:fs/promises';
import {
  Fault,
  type CaptureRequest,
  type Logger,
  type OpeningId,
  type OpenRequest,
  type VolumeRequest,
} from '@casvault/contracts';
import type { Domain, Libvirt } from '@casvault/libvirt';
import { readImage } from '../host/image.js';
import type { LiveCaptures } from '../host/live-capture.js';
import { writableVolume } from '../host/volume-path.js';
import { bitmapSince, captureMethod, planDisks, refuseEncrypted, type PlannedDisk } from './capture.plan.js';
import type { DiskRecord, OpeningRecord } from './record.js';

/** What an opening will be, before anything is made on the host. */
export type PlannedOpening = Pick<OpeningRecord, 'method' | 'checkpoint' | 'disks'>;

/** Looks at the host and decides what a request becomes, or refuses it with the rule that it breaks. Changes nothing. */
export class Planner {
  readonly #libvirt: Libvirt;
  readonly #live: LiveCaptures;
  readonly #volumeDirs: readonly string[];
  readonly #scratchReserveBytes: number;
  readonly #liveExport: boolean;
  readonly #logger: Logger;

  constructor(parts: {
    libvirt: Libvirt;
    live: LiveCaptures;
    volumeDirs: readonly string[];
    scratchReserveBytes: number;
    liveExport: boolean;
    logger: Logger;
  }) {
    this.#libvirt = parts.libvirt;
    this.#live = parts.live;
    this.#volumeDirs = parts.volumeDirs;
    this.#scratchReserveBytes = parts.scratchReserveBytes;
    this.#liveExport = parts.liveExport;
    this.#logger = parts.logger;
  }

  /**
   * `others` are the openings that hold something now. Throws VM_NOT_FOUND, NOT_FOUND (no such volume), CAPTURE_REFUSED,
   * DISK_SERVICE_REFUSED, CONFLICT (the checkpoint exists).
   */
  async plan(
    request: OpenRequest,
    others: readonly OpeningRecord[],
    signal: AbortSignal,
  ): Promise<PlannedOpening> {
    return request.kind === 'capture'
      ? await this.#planCapture(request, others, signal)
      : await this.#planVolume(request, others, signal);
  }

  async #planCapture(
    request: CaptureRequest,
    others: readonly OpeningRecord[],
    signal: AbortSignal,
  ): Promise<PlannedOpening> {
    const holder = others.find(
      (other) => other.request.kind === 'capture' && other.request.vm.uuid === request.vm.uuid,
    );
    if (holder) throw heldBy(request, `opening ${holder.openingId}`);
    const domain = await this.#domain(request, signal);
    const method = captureMethod(domain);
    const planned = planDisks(request, domain, await sameFiles(request, domain));
    if (method === 'live' && !this.#liveExport) throw noLiveExport(request);
    if (method === 'live') await this.#refuseBusy(request);
    const checkpoints = await this.#checkpointsFor(request, method);
    const disks: DiskRecord[] = [];
    for (const disk of planned) disks.push(await planRecord(domain, disk, method, checkpoints, signal));
    // Neither raw disks nor stopped VMs can have a checkpoint made.
    const hasCheckpoint = method === 'live' && disks.some((disk) => disk.keepsBitmaps);
    return { method, checkpoint: hasCheckpoint ? (request.checkpoint ?? null) : null, disks };
  }

  async #domain(request: CaptureRequest, signal: AbortSignal): Promise<Domain> {
    try {
      return await this.#libvirt.domain(request.vm.uuid, { signal });
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
    const holder = await this.#live.holder(request.vm.uuid);
    if (holder !== null) {
      throw heldBy(request, holder === 'foreign' ? 'a backup of another program' : `opening ${holder}`);
    }
    const job = await this.#live.otherJob(request.vm.uuid);
    if (job !== null) throw heldBy(request, `the job "${job}"`);
    const freeBytes = await this.#live.scratchFreeBytes();
    if (freeBytes < this.#scratchReserveBytes) {
      throw new Fault(
        'DISK_SERVICE_REFUSED',
        `the scratch folder has ${String(freeBytes)} bytes free, less than the reserve of ` +
          `${String(this.#scratchReserveBytes)}: a capture could stop the VM`,
        { details: { freeBytes, reserveBytes: this.#scratchReserveBytes } },
      );
    }
  }

  async #checkpointsFor(
    request: CaptureRequest,
    method: 'live' | 'offline',
  ): Promise<Map<string, readonly string[]>> {
    const wanted = request.disks.flatMap((disk) => disk.incrementalFrom ?? []);
    if (method === 'offline' || (wanted.length === 0 && request.checkpoint === undefined)) return new Map();
    const names = request.checkpoint === undefined ? wanted : [...wanted, request.checkpoint];
    const found = await this.#live.checkpoints(request.vm.uuid, names);
    if (request.checkpoint !== undefined && found.has(request.checkpoint)) {
      throw new Fault('CONFLICT', `VM ${request.vm.name} has a checkpoint ${request.checkpoint} already`, {
        details: { vmUuid: request.vm.uuid, checkpoint: request.checkpoint },
      });
    }
    return found;
  }

  async #planVolume(
    request: VolumeRequest,
    others: readonly OpeningRecord[],
    signal: AbortSignal,
  ): Promise<PlannedOpening> {
    const volume = await writableVolume(request.path, request.format, this.#volumeDirs, signal);
    const sizeBytes = openedSize(request, volume);
    await this.#refuseUsed(volume.path, others, signal);
    const disk = { target: 'volume', bitmapSince: null, keepsBitmaps: false, port: 0 };
    return {
      method: 'write',
      checkpoint: null,
      disks: [{ ...disk, path: volume.path, format: request.format, sizeBytes }],
    };
  }

  /** QEMU's image locks refuse this too, but not on every file system. One virsh call per running VM. */
  async #refuseUsed(path: string, others: readonly OpeningRecord[], signal: AbortSignal): Promise<void> {
    const used = (by: string): Fault =>
      new Fault('DISK_SERVICE_REFUSED', `volume ${path} is in use by ${by}`, {
        details: { path, usedBy: by },
      });
    for (const other of others) {
      if (other.disks.some((disk) => disk.path === path)) throw used(`opening ${other.openingId}`);
    }
    for (const { uuid, name, state } of await this.#libvirt.domains({ signal })) {
      if (state === 'shut-off') continue;
      for (const disk of (await this.#disksOf(uuid, signal)) ?? []) {
        if (disk.path !== null && (await realOr(disk.path)) === path) throw used(`the VM ${name}`);
      }
    }
  }

  async #disksOf(uuid: string, signal: AbortSignal): Promise<Domain['disks'] | null> {
    try {
      return (await this.#libvirt.domain(uuid, { signal })).disks;
    } catch (error) {
      if (!(Fault.is(error) && error.code === 'VM_NOT_FOUND')) throw error;
      this.#logger.info({ vmUuid: uuid }, 'a VM went while its disks were looked at');
      return null;
    }
  }
}

const heldBy = (request: CaptureRequest, holder: OpeningId | string): Fault =>
  new Fault('DISK_SERVICE_REFUSED', `VM ${request.vm.name} is held by ${holder}: one backup at a time`, {
    details: { vmUuid: request.vm.uuid, holder },
  });

/** Platforms make volumes in whole MiB; a disk of a point may end within one. */
const platformUnitBytes = 1 << 20;

/** The size that the volume will have once it is open. */
function openedSize(request: VolumeRequest, volume: { sizeBytes: number; isFile: boolean }): number {
  const { path, sizeBytes: askedBytes } = request;
  const { sizeBytes, isFile } = volume;
  if (sizeBytes === askedBytes) return sizeBytes;
  const isNear = Math.abs(sizeBytes - askedBytes) < platformUnitBytes;
  if (request.resize === true && isNear && isFile) return askedBytes;
  if (request.resize === true && isNear && sizeBytes > askedBytes) return sizeBytes;
  const message = `volume ${path} holds ${String(sizeBytes)} bytes, not ${String(askedBytes)}`;
  throw new Fault('DISK_SERVICE_REFUSED', message, { details: { path, sizeBytes, askedBytes } });
}

const realOr = async (path: string): Promise<string> => await realpath(path).catch(() => path);

/** Whether two paths name one file, for the paths of this request and of this VM. */
async function sameFiles(
  request: CaptureRequest,
  domain: Domain,
): Promise<(requested: string, attached: string) => boolean> {
  const real = new Map<string, string>();
  for (const { path } of [...request.disks, ...domain.disks]) {
    if (path !== null) real.set(path, await realOr(path));
  }
  return (requested, attached) => real.get(requested) === real.get(attached);
}

async function planRecord(
  domain: Domain,
  disk: PlannedDisk,
  method: 'live' | 'offline',
  checkpoints: ReadonlyMap<string, readonly string[]>,
  signal: AbortSignal,
): Promise<DiskRecord> {
  const image = await readImage(disk.path, disk.format, signal);
  refuseEncrypted(domain, disk, image);
  return {
    target: disk.target,
    path: disk.path,
    format: disk.format,
    sizeBytes: image.sizeBytes,
    port: 0,
    bitmapSince: bitmapSince(disk, image, method, checkpoints),
    keepsBitmaps: image.keepsBitmaps,
  };
}

const noLiveExport = ({ vm }: CaptureRequest): Fault =>
  new Fault('CAPTURE_REFUSED', `VM ${vm.name} is running, and this host offers no live export`, {
    details: { vmUuid: vm.uuid },
  });
