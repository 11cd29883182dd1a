import { stat } from 'node:fs/promises';
import { Fault, type Clock, type Logger, type ReasonCode } from '@casvault/contracts';
import type { Domain } from '@casvault/libvirt';
import { checkpointNote } from '../host/checkpoint-note.js';
import type { Checkpoints } from '../host/checkpoints.js';
import { resizeImage } from '../host/image.js';
import { serverName } from '../host/names.js';
import type { ImageServers } from '../host/image-server.js';
import type { LiveCapture, LiveCaptures } from '../host/live-capture.js';
import type { Ports } from '../host/ports.js';
import type { GuestFreezer } from '../host/quiesce.js';
import { isStillFrozen } from './capture-planner.js';
import { vmOf, type DiskRecord, type OpeningRecord } from './record.js';

/** A record of a live capture as libvirt's part sees it. */
const toLive = (record: OpeningRecord): LiveCapture => ({
  openingId: record.openingId,
  vmUuid: vmOf(record.request)?.uuid ?? '',
  address: record.address,
  port: record.disks[0]?.port ?? 0,
  checkpoint: record.checkpoint,
  disks: record.disks,
});

/** Ports that another process takes between the look and the use, and disks whose bitmaps are given up one by one. */
const maxAttempts = 96;
const imageTimeoutMs = 60_000;

const portsContended = (record: OpeningRecord): Fault =>
  new Fault('DISK_SERVICE_REFUSED', `other processes keep taking the NBD ports on ${record.address}`);

type Save = (record: OpeningRecord) => Promise<void>;

export interface OpeningEffectsParts {
  readonly live: LiveCaptures;
  readonly servers: ImageServers;
  readonly checkpoints: Checkpoints;
  readonly freezer: GuestFreezer;
  readonly ports: Ports;
  /** The VM as libvirt has it; null: it is not on this host. */
  readonly domain: (vmUuid: string) => Promise<Domain | null>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** What a record stands for, made on the host, looked at, and removed again. Every step is recorded before it is taken. */
export class OpeningEffects {
  readonly #parts: OpeningEffectsParts;

  constructor(parts: OpeningEffectsParts) {
    this.#parts = parts;
  }

  /** Makes it; returns the record with its ports. On a fault, `remove` cleans whatever was made so far. */
  async make(record: OpeningRecord, save: Save): Promise<OpeningRecord> {
    return record.method === 'live' ? await this.#makeLive(record, save) : await this.#serve(record, save);
  }

  /** Says whether all of it still stands. */
  async isAlive(record: OpeningRecord): Promise<boolean> {
    const vm = vmOf(record.request);
    if (record.method === 'live')
      return vm !== null && (await this.#parts.live.isRunning(record.openingId, vm.uuid));
    for (const disk of record.disks) {
      if (!(await this.#parts.servers.isServing(serverName(record.openingId, disk.target)))) return false;
    }
    return vm === null || (await this.#isSourceFrozen(record, vm.uuid));
  }

  /**
   * Removes all of it that is there: with `keepCheckpoint` the checkpoints that the new one takes the place of, else the new one.
   * Safe to repeat, and on a record none of whose steps was taken.
   */
  async remove(record: OpeningRecord): Promise<void> {
    const vm = vmOf(record.request);
    if (vm !== null && record.mayBeFrozen) await this.#parts.freezer.thaw(vm.uuid);
    if (record.method === 'live') {
      await this.#parts.live.end(toLive(record));
    } else {
      const names = record.disks.map(({ target }) => serverName(record.openingId, target));
      await this.#parts.servers.stop(names, record.method === 'write');
    }
    if (vm !== null) await this.#removeCheckpoints(record, vm.uuid);
    this.#parts.ports.release(record.openingId);
  }

  /**
   * Removes what a step of a killed service made after `remove` had run: its job, a frozen guest, or a checkpoint that it left. By
   * now another opening may have made a checkpoint of the same name, so it must be known for this opening's own.
   */
  async removeLate(record: OpeningRecord): Promise<void> {
    if (record.method !== 'live' || record.mayBeFrozen || (await this.#hasLateRemnant(record))) {
      await this.remove(record);
    }
  }

  /** Counts the ports of a record found at start as taken. */
  claim(record: OpeningRecord): void {
    for (const disk of record.disks) this.#parts.ports.claim(record.openingId, disk.port);
  }

  async #hasLateRemnant({ openingId, request, checkpoint, keepCheckpoint }: OpeningRecord): Promise<boolean> {
    const vm = vmOf(request);
    if (vm === null) return false;
    if (await this.#parts.live.isRunning(openingId, vm.uuid)) return true;
    return (
      checkpoint !== null &&
      !keepCheckpoint &&
      (await this.#parts.checkpoints.hasMade(openingId, vm.uuid, checkpoint))
    );
  }

  async #removeCheckpoints(record: OpeningRecord, vmUuid: string): Promise<void> {
    const { checkpoints } = this.#parts;
    if (record.checkpoint === null) return;
    if (!record.keepCheckpoint) {
      await checkpoints.removeOwn(record.openingId, vmUuid, record.checkpoint);
      return;
    }
    const superseded = record.request.kind === 'capture' ? (record.request.supersedes ?? []) : [];
    const others = superseded.filter((name) => name !== record.checkpoint);
    await checkpoints.removeSuperseded(vmUuid, others);
  }

  /**
   * A stopped VM could start under a reader where the file system has no locks; a snapshot could be removed: what is read is of no
   * one instant any more then.
   */
  async #isSourceFrozen(record: OpeningRecord, vmUuid: string): Promise<boolean> {
    const domain = await this.#parts.domain(vmUuid);
    const snapshot = record.request.kind === 'capture' ? record.request.snapshot : undefined;
    if (snapshot === undefined) return domain === null || isOff(domain);
    if (domain === null) return false;
    for (const disk of record.disks) {
      const signal = AbortSignal.timeout(imageTimeoutMs);
      if (!(await isStillFrozen(domain, disk, snapshot.name, signal))) return false;
    }
    return true;
  }

  async #makeLive(planned: OpeningRecord, save: Save): Promise<OpeningRecord> {
    let record = planned;
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const port = await this.#parts.ports.take(record.openingId, record.address);
      record = { ...record, disks: record.disks.map((disk) => ({ ...disk, port })) };
      await save(record);
      const { outcome, after } = await this.#begin(record, save);
      record = after;
      if (outcome === 'begun') return record;
      this.#parts.ports.release(record.openingId, port);
      if (outcome === 'port-taken') {
        this.#parts.logger.info({ port }, 'NBD port taken by another process: the next one');
      } else {
        record = withoutBitmaps(record, outcome.unusable);
      }
    }
    throw portsContended(record);
  }

  /** Begins the job, with the guest frozen for its instant when that is asked for (D3). */
  async #begin(record: OpeningRecord, save: Save) {
    const { live, freezer } = this.#parts;
    const seconds = record.request.kind === 'capture' ? record.request.quiesceSeconds : undefined;
    const vmUuid = vmOf(record.request)?.uuid ?? '';
    if (seconds === undefined) return { outcome: await live.begin(toLive(record)), after: record };
    await save({ ...record, mayBeFrozen: true });
    const { result, isFrozen } = await freezer.during(vmUuid, seconds, () => live.begin(toLive(record)));
    const reasons: ReasonCode[] = isFrozen ? [] : ['GUEST_NOT_FROZEN'];
    const consistency = isFrozen ? 'file-system' : 'crash';
    return { outcome: result, after: { ...record, consistency, reasons } as const };
  }

  async #serve(planned: OpeningRecord, save: Save): Promise<OpeningRecord> {
    let record = planned;
    await this.#fit(planned);
    if (record.checkpoint !== null) record = await this.#beginCheckpoint(record, record.checkpoint, save);
    for (const { target } of planned.disks) record = await this.#serveDisk(record, target, save);
    return record;
  }

  /** Nobody writes the volume yet: the caller's is the only opening of it. */
  async #fit({ request, disks }: OpeningRecord): Promise<void> {
    if (request.kind !== 'volume' || request.resize !== true) return;
    const signal = AbortSignal.timeout(imageTimeoutMs);
    for (const { path, format, sizeBytes } of disks) await resizeImage(path, format, sizeBytes, signal);
  }

  /**
   * Begins the bitmaps of a stopped VM before its disks are locked for reading: should it run in between, they tell too much,
   * never too little. Without libvirt's record no live capture could count from them: then there is no checkpoint.
   */
  async #beginCheckpoint(record: OpeningRecord, name: string, save: Save): Promise<OpeningRecord> {
    const { checkpoints, clock } = this.#parts;
    const vmUuid = vmOf(record.request)?.uuid ?? '';
    const disks: DiskRecord[] = [];
    for (const disk of record.disks) {
      const isTracked = disk.isTracked && (await checkpoints.beginKept(disk.path, name));
      disks.push({ ...disk, isTracked });
    }
    const tracked = disks.filter(({ isTracked }) => isTracked);
    const note = checkpointNote(record.openingId, tracked);
    const targets = tracked.map(({ target }) => target);
    const seconds = Math.floor(clock.now().getTime() / 1_000);
    const isMade = targets.length > 0 && (await checkpoints.record(vmUuid, name, note, targets, seconds));
    if (!isMade) await checkpoints.removeOwn(record.openingId, vmUuid, name);
    const made = { ...record, disks, checkpoint: isMade ? name : null };
    await save(made);
    return made;
  }

  async #serveDisk(planned: OpeningRecord, target: string, save: Save): Promise<OpeningRecord> {
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const port = await this.#parts.ports.take(planned.openingId, planned.address);
      const record = withPort(planned, target, port);
      await save(record);
      if ((await this.#start(record, target)) === 'serving') return record;
      this.#parts.ports.release(record.openingId, port);
    }
    throw portsContended(planned);
  }

  async #start(record: OpeningRecord, target: string): Promise<'serving' | 'port-taken'> {
    const disk = record.disks.find((one) => one.target === target) as DiskRecord;
    const isFrozen = record.method === 'internal-snapshot' || record.method === 'external-snapshot';
    const isBlock = isFrozen && (await stat(disk.path)).isBlockDevice();
    return await this.#parts.servers.start({
      name: serverName(record.openingId, target),
      path: disk.path,
      format: disk.format,
      exportName: target,
      writable: record.method === 'write',
      address: record.address,
      port: disk.port,
      bitmap: disk.bitmapSince,
      frozen: isFrozen ? { snapshotId: disk.snapshotId, isBlock } : null,
    });
  }
}

const isOff = ({ state }: Domain): boolean => state === 'shut-off' || state === 'crashed';

const withPort = (record: OpeningRecord, target: string, port: number): OpeningRecord => ({
  ...record,
  disks: record.disks.map((disk) => (disk.target === target ? { ...disk, port } : disk)),
});

/** libvirt knows no more of them than that they are missing or broken. */
const withoutBitmaps = (record: OpeningRecord, targets: readonly string[]): OpeningRecord => ({
  ...record,
  disks: record.disks.map((disk) =>
    targets.includes(disk.target)
      ? { ...disk, bitmapSince: null, bitmapMadeBy: null, bitmapReason: 'BITMAP_INCONSISTENT' as const }
      : disk,
  ),
});
