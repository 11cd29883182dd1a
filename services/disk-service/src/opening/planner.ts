import { realpath } from 'node:fs/promises';
import {
  Fault,
  type FaultDetails,
  type Logger,
  type OpenRequest,
  type VolumeRequest,
} from '@casvault/contracts';
import type { Domain, Libvirt } from '@casvault/libvirt';
import type { Checkpoints } from '../host/checkpoints.js';
import { imageIdentity } from '../host/generation.js';
import { readChain } from '../host/image.js';
import { keptBitmaps } from '../host/layers.js';
import { writableVolume } from '../host/volume-path.js';
import { judgeBitmap, type BitmapVerdict, type KnownCheckpoint } from './bitmap.plan.js';
import type { CapturePlanner } from './capture-planner.js';
import { holderOf, type OpeningRecord } from './record.js';

/** What an opening will be, before anything is made on the host. */
export type PlannedOpening = Pick<OpeningRecord, 'method' | 'checkpoint' | 'disks'>;

/** A VM's disk that lies at a path. */
interface Attachment {
  readonly vmUuid: string;
  readonly target: string;
}

/** Looks at the host and decides what a request becomes, or refuses it with the rule that it breaks. Changes nothing. */
export class Planner {
  readonly #captures: CapturePlanner;
  readonly #libvirt: Libvirt;
  readonly #checkpoints: Checkpoints;
  readonly #volumeDirs: readonly string[];
  readonly #logger: Logger;

  constructor(parts: {
    captures: CapturePlanner;
    libvirt: Libvirt;
    checkpoints: Checkpoints;
    volumeDirs: readonly string[];
    logger: Logger;
  }) {
    this.#captures = parts.captures;
    this.#libvirt = parts.libvirt;
    this.#checkpoints = parts.checkpoints;
    this.#volumeDirs = parts.volumeDirs;
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
      ? await this.#captures.plan(request, others, signal)
      : await this.#planVolume(request, others, signal);
  }

  async #planVolume(
    request: VolumeRequest,
    others: readonly OpeningRecord[],
    signal: AbortSignal,
  ): Promise<PlannedOpening> {
    const volume = await writableVolume(request.path, request.format, this.#volumeDirs, signal);
    const sizeBytes = openedSize(request, volume);
    const isProofWanted = request.incrementalFrom !== undefined;
    const attachment = await this.#refuseUsed(volume.path, isProofWanted, others, signal);
    const verdict = await this.#judge(request, volume, attachment, signal);
    const since = request.incrementalFrom ?? null;
    return {
      method: 'write',
      checkpoint: null,
      disks: [
        {
          target: 'volume',
          path: volume.path,
          format: request.format,
          sizeBytes,
          port: 0,
          bitmapSince: verdict?.isTrusted === true ? since : null,
          bitmapReason: verdict?.isTrusted === false ? verdict.reason : null,
          bitmapMadeBy: verdict?.isTrusted === true ? verdict.madeBy : null,
          isTracked: false,
          generation: `${await imageIdentity(volume.path)}/off`,
          snapshotId: null,
        },
      ],
    };
  }

  /** Null: no bitmap is asked for. What proves it is the checkpoint of the VM that has the volume. */
  async #judge(
    request: VolumeRequest,
    volume: { path: string; sizeBytes: number },
    attachment: Attachment | null,
    signal: AbortSignal,
  ): Promise<BitmapVerdict | null> {
    const wanted = request.incrementalFrom;
    if (wanted === undefined) return null;
    const chain = await readChain(volume.path, request.format, signal);
    const known =
      attachment === null
        ? new Map<string, KnownCheckpoint>()
        : await this.#checkpoints.known(attachment.vmUuid, [wanted], signal);
    return judgeBitmap({
      wanted,
      target: attachment?.target ?? '',
      keepsBitmaps: chain[0]?.keepsBitmaps === true,
      sizeBytes: volume.sizeBytes,
      checkpoint: known.get(wanted) ?? null,
      ...keptBitmaps(chain),
    });
  }

  /**
   * The stopped VM that has the volume, if that is wanted, or null. QEMU's image locks refuse one in use too, but not on every file
   * system. One virsh call per VM that is looked at.
   */
  async #refuseUsed(
    path: string,
    withStopped: boolean,
    others: readonly OpeningRecord[],
    signal: AbortSignal,
  ): Promise<Attachment | null> {
    const used = (by: string, details: FaultDetails = {}): Fault =>
      new Fault('DISK_SERVICE_REFUSED', `volume ${path} is in use by ${by}`, {
        details: { path, ...details },
      });
    const holder = others.find(({ disks }) => disks.some((disk) => disk.path === path));
    if (holder) throw used(`opening ${holder.openingId}`, holderOf(holder));
    let attachment: Attachment | null = null;
    for (const { uuid, name, state } of await this.#libvirt.domains({ signal })) {
      if (state === 'shut-off' && !withStopped) continue;
      for (const disk of (await this.#disksOf(uuid, signal)) ?? []) {
        if (disk.path === null || (await realOr(disk.path)) !== path) continue;
        if (state !== 'shut-off') throw used(`the VM ${name}`);
        attachment = { vmUuid: uuid, target: disk.target };
      }
    }
    return attachment;
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
