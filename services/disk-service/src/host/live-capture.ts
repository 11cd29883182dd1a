import { readdir, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Fault, type Logger, type OpeningId } from '@casvault/contracts';
import { backupXml, checkpointXml, type BackupDescription, type Libvirt } from '@casvault/libvirt';
import { removeBitmap } from './image.js';
import { openingOfScratch, scratchFile, type HostFolders } from './names.js';

export interface LiveDisk {
  readonly target: string;
  readonly path: string;
  readonly bitmapSince: string | null;
  /** The checkpoint gets a bitmap on this disk. */
  readonly keepsBitmaps: boolean;
}

export interface LiveCapture {
  readonly openingId: OpeningId;
  readonly vmUuid: string;
  readonly address: string;
  readonly port: number;
  readonly checkpoint: string | null;
  readonly disks: readonly LiveDisk[];
}

/** `bitmap-unusable`: libvirt would not count since one of the checkpoints; begin again without. */
export type BeginOutcome = 'begun' | 'port-taken' | 'bitmap-unusable';

const isCode = (error: unknown, code: string): boolean => Fault.is(error) && error.code === code;

/** The description of a checkpoint proves whose it is: its name is the caller's and may come again. */
const madeBy = (openingId: OpeningId): string => `casvault opening ${openingId}`;

/**
 * Captures of running VMs as pull-mode backups of libvirt: QEMU keeps the blocks that the guest overwrites in a scratch
 * file per disk and serves the disks as they were over its own NBD server. The job lives in QEMU: it goes on when this
 * service or libvirtd restarts, and ends when the VM stops.
 */
export class LiveCaptures {
  readonly #libvirt: Libvirt;
  readonly #folders: HostFolders;
  readonly #tls: boolean;
  readonly #logger: Logger;

  constructor(libvirt: Libvirt, folders: HostFolders, tls: boolean, logger: Logger) {
    this.#libvirt = libvirt;
    this.#folders = folders;
    this.#tls = tls;
    this.#logger = logger;
  }

  /** The opening that holds the VM's backup job; `foreign` when the job is none of ours, null when there is none. */
  async holder(vmUuid: string): Promise<OpeningId | 'foreign' | null> {
    const job = await this.#job(vmUuid);
    if (job === null) return null;
    return this.#openingOf(job) ?? 'foreign';
  }

  /** What the VM is busy with when that excludes a backup (`Outgoing migration`); null: nothing. */
  async otherJob(vmUuid: string): Promise<string | null> {
    const info = await this.#libvirt.jobInfo(vmUuid);
    const type = info['Job type'] ?? 'None';
    return type === 'None' ? null : (info['Operation'] ?? type);
  }

  /** Checkpoints that libvirt has of the VM, with the disks each one covers. */
  async checkpoints(vmUuid: string, names: readonly string[]): Promise<Map<string, readonly string[]>> {
    const known = new Set(await this.#libvirt.checkpointNames(vmUuid));
    const found = new Map<string, readonly string[]>();
    for (const name of new Set(names)) {
      if (known.has(name)) found.set(name, (await this.#libvirt.checkpoint(vmUuid, name)).targets);
    }
    return found;
  }

  /** One instant over all disks: one backup job with its checkpoint. */
  async begin(capture: LiveCapture): Promise<BeginOutcome> {
    const backup = backupXml({
      address: capture.address,
      port: capture.port,
      tls: this.#tls ? 'x509' : 'off',
      disks: capture.disks.map((disk) => ({
        target: disk.target,
        scratchFile: scratchFile(this.#folders, capture.openingId, disk.target),
        ...(disk.bitmapSince === null ? {} : { incrementalFrom: disk.bitmapSince }),
      })),
    });
    const checkpoint =
      capture.checkpoint === null
        ? undefined
        : checkpointXml(
            capture.checkpoint,
            capture.disks.map((disk) => ({ target: disk.target, checkpoint: disk.keepsBitmaps })),
            madeBy(capture.openingId),
          );
    try {
      await this.#libvirt.backupBegin(capture.vmUuid, backup, checkpoint);
      return 'begun';
    } catch (error) {
      if (!isCode(error, 'LIBVIRT_FAILED')) throw error;
      const said = (error as Fault).message;
      if (/Address already in use|Failed to find an available port/i.test(said)) return 'port-taken';
      const counts = capture.disks.some((disk) => disk.bitmapSince !== null);
      if (counts && /bitmap|checkpoint|incremental/i.test(said)) {
        this.#logger.warn(
          { vmUuid: capture.vmUuid, said },
          'the dirty bitmaps are of no use: captured without',
        );
        return 'bitmap-unusable';
      }
      throw error;
    }
  }

  /** Says whether the VM's backup job is that of this opening. */
  async isRunning(openingId: OpeningId, vmUuid: string): Promise<boolean> {
    return (await this.holder(vmUuid)) === openingId;
  }

  /** Says whether the VM has a checkpoint of this name that this very opening made. */
  async hasMade(openingId: OpeningId, vmUuid: string, checkpoint: string): Promise<boolean> {
    try {
      if (!(await this.#libvirt.checkpointNames(vmUuid)).includes(checkpoint)) return false;
      return (await this.#libvirt.checkpoint(vmUuid, checkpoint)).description === madeBy(openingId);
    } catch (error) {
      if (isCode(error, 'VM_NOT_FOUND') || isCode(error, 'NOT_FOUND')) return false;
      throw error;
    }
  }

  /** Ends the job, removes the checkpoint unless it is kept, and the scratch files. Safe to repeat at any time. */
  async end(capture: LiveCapture, keepCheckpoint: boolean): Promise<void> {
    await this.abort(capture.openingId, capture.vmUuid);
    if (capture.checkpoint !== null && !keepCheckpoint) {
      await this.#removeCheckpoint(capture.vmUuid, capture.checkpoint, capture.disks);
    }
    for (const disk of capture.disks) {
      await rm(scratchFile(this.#folders, capture.openingId, disk.target), { force: true });
    }
  }

  /** Ends the VM's backup job if it is that of `openingId`. */
  async abort(openingId: OpeningId, vmUuid: string): Promise<void> {
    const stepMs = 50;
    const patienceMs = 60_000;
    for (let waitedMs = 0; await this.isRunning(openingId, vmUuid); waitedMs += stepMs) {
      if (waitedMs > patienceMs) {
        throw new Fault('DEPENDENCY_UNAVAILABLE', `libvirt does not end the backup job of VM ${vmUuid}`);
      }
      if (waitedMs % 5_000 === 0) await this.#libvirt.jobAbort(vmUuid);
      else await delay(stepMs);
    }
  }

  /** Jobs of ours on all running VMs, as VM by opening. One virsh call per running VM: for start-up. */
  async jobs(): Promise<Map<OpeningId, string>> {
    const found = new Map<OpeningId, string>();
    for (const domain of await this.#libvirt.domains()) {
      if (domain.state === 'shut-off') continue;
      const holder = await this.holder(domain.uuid);
      if (holder !== null && holder !== 'foreign') found.set(holder, domain.uuid);
    }
    return found;
  }

  /** Openings that have scratch files here. */
  async scratchOwners(): Promise<Map<OpeningId, string[]>> {
    const found = new Map<OpeningId, string[]>();
    for (const name of await readdir(this.#folders.scratchDir)) {
      const path = join(this.#folders.scratchDir, name);
      const owner = openingOfScratch(this.#folders, path);
      if (owner !== null) found.set(owner, [...(found.get(owner) ?? []), path]);
    }
    return found;
  }

  async scratchFreeBytes(): Promise<number> {
    const facts = await statfs(this.#folders.scratchDir);
    return facts.bavail * facts.bsize;
  }

  #openingOf(job: BackupDescription): OpeningId | null {
    for (const disk of job.disks) {
      const owner = disk.scratchFile === undefined ? null : openingOfScratch(this.#folders, disk.scratchFile);
      if (owner !== null) return owner;
    }
    return null;
  }

  /** A VM that is gone or shut off has no job. */
  async #job(vmUuid: string): Promise<BackupDescription | null> {
    try {
      return await this.#libvirt.backup(vmUuid);
    } catch (error) {
      if (isCode(error, 'VM_NOT_FOUND')) return null;
      if (isCode(error, 'LIBVIRT_FAILED') && (await this.#isOff(vmUuid))) return null;
      throw error;
    }
  }

  async #isOff(vmUuid: string): Promise<boolean> {
    try {
      return (await this.#libvirt.state(vmUuid)) === 'shut-off';
    } catch (error) {
      if (isCode(error, 'VM_NOT_FOUND')) return true;
      throw error;
    }
  }

  async #removeCheckpoint(vmUuid: string, name: string, disks: readonly LiveDisk[]): Promise<void> {
    try {
      if (!(await this.#libvirt.checkpointNames(vmUuid)).includes(name)) return;
      // libvirt removes bitmaps of running VMs only.
      if (await this.#isOff(vmUuid)) {
        await this.#removeBitmaps(name, disks);
        await this.#libvirt.checkpointDelete(vmUuid, name, { metadataOnly: true });
      } else {
        await this.#removeLiveCheckpoint(vmUuid, name);
      }
    } catch (error) {
      // A VM that left this host took its checkpoints along, or lost them.
      if (!isCode(error, 'VM_NOT_FOUND')) throw error;
      this.#logger.warn(
        { vmUuid, checkpoint: name },
        'the VM is not on this host: its checkpoint is not removed',
      );
    }
  }

  async #removeLiveCheckpoint(vmUuid: string, name: string): Promise<void> {
    try {
      await this.#libvirt.checkpointDelete(vmUuid, name);
    } catch (error) {
      // The bitmap did not survive (a crashed QEMU): the record alone is left.
      if (!(isCode(error, 'LIBVIRT_FAILED') && /bitmap/i.test((error as Fault).message))) throw error;
      await this.#libvirt.checkpointDelete(vmUuid, name, { metadataOnly: true });
    }
  }

  async #removeBitmaps(name: string, disks: readonly LiveDisk[]): Promise<void> {
    for (const disk of disks) {
      if (!disk.keepsBitmaps) continue;
      try {
        await removeBitmap(disk.path, name, AbortSignal.timeout(60_000));
      } catch (error) {
        // In use elsewhere (the VM was moved), or gone: nothing that this host may change.
        this.#logger.warn(
          { path: disk.path, bitmap: name, said: String(error) },
          'a bitmap is left in a disk',
        );
      }
    }
  }
}
