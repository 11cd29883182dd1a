import { readdir, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Fault, type Logger, type OpeningId } from '@casvault/contracts';
import { backupXml, checkpointXml, type BackupDescription, type Libvirt } from '@casvault/libvirt';
import { checkpointNote } from './checkpoint-note.js';
import { openingOfScratch, scratchFile, type HostFolders } from './names.js';

export interface LiveDisk {
  readonly target: string;
  readonly sizeBytes: number;
  readonly bitmapSince: string | null;
  /** The checkpoint gets a bitmap on this disk. */
  readonly isTracked: boolean;
}

export interface LiveCapture {
  readonly openingId: OpeningId;
  readonly vmUuid: string;
  readonly address: string;
  readonly port: number;
  readonly checkpoint: string | null;
  readonly disks: readonly LiveDisk[];
}

/** `unusable`: the disks whose bitmaps libvirt would not use; begin again without them. */
export type BeginOutcome = 'begun' | 'port-taken' | { readonly unusable: readonly string[] };

const isCode = (error: unknown, code: string): boolean => Fault.is(error) && error.code === code;

/**
 * The disks whose bitmaps libvirt's refusal means: the one that it names (`missing or broken bitmap 'c' for disk 'vda'`), all
 * that were to show one when it names none.
 */
export function unusableBitmaps(said: string, disks: readonly LiveDisk[]): string[] {
  const counting = disks.filter((disk) => disk.bitmapSince !== null).map(({ target }) => target);
  const named = /disk '([a-z0-9]+)'/.exec(said)?.[1];
  return named !== undefined && counting.includes(named) ? [named] : counting;
}

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
            capture.disks.map((disk) => ({ target: disk.target, checkpoint: disk.isTracked })),
            checkpointNote(capture.openingId, capture.disks),
          );
    try {
      await this.#libvirt.backupBegin(capture.vmUuid, backup, checkpoint);
      return 'begun';
    } catch (error) {
      if (!isCode(error, 'LIBVIRT_FAILED')) throw error;
      const said = (error as Fault).message;
      if (/Address already in use|Failed to find an available port/i.test(said)) return 'port-taken';
      const unusable = unusableBitmaps(said, capture.disks);
      if (unusable.length > 0 && /bitmap|checkpoint|incremental/i.test(said)) {
        this.#logger.warn({ vmUuid: capture.vmUuid, unusable, said }, 'dirty bitmaps are of no use');
        return { unusable };
      }
      throw error;
    }
  }

  /** Says whether the VM's backup job is that of this opening. */
  async isRunning(openingId: OpeningId, vmUuid: string): Promise<boolean> {
    return (await this.holder(vmUuid)) === openingId;
  }

  /** Ends the job and removes the scratch files. Safe to repeat at any time. */
  async end(capture: LiveCapture): Promise<void> {
    await this.abort(capture.openingId, capture.vmUuid);
    for (const disk of capture.disks) {
      await rm(scratchFile(this.#folders, capture.openingId, disk.target), { force: true });
    }
  }

  /** Ends the VM's backup job if it is that of `openingId`. */
  async abort(openingId: OpeningId, vmUuid: string): Promise<void> {
    const stepMs = 10;
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
}
