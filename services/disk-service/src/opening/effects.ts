import { Fault, type Logger } from '@casvault/contracts';
import { resizeImage } from '../host/image.js';
import { serverName } from '../host/names.js';
import type { ImageServers } from '../host/image-server.js';
import type { LiveCapture, LiveCaptures } from '../host/live-capture.js';
import type { Ports } from '../host/ports.js';
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

/** Ports that another process takes between the look and the use. */
const maxAttempts = 32;
const resizeTimeoutMs = 60_000;

const portsContended = (record: OpeningRecord): Fault =>
  new Fault('DISK_SERVICE_REFUSED', `other processes keep taking the NBD ports on ${record.address}`);

type Save = (record: OpeningRecord) => Promise<void>;

/** What a record stands for, made on the host, looked at, and removed again. Every step is recorded before it is taken. */
export class OpeningEffects {
  readonly #live: LiveCaptures;
  readonly #servers: ImageServers;
  readonly #ports: Ports;
  readonly #isOff: (vmUuid: string) => Promise<boolean>;
  readonly #logger: Logger;

  constructor(parts: {
    live: LiveCaptures;
    servers: ImageServers;
    ports: Ports;
    isOff: (vmUuid: string) => Promise<boolean>;
    logger: Logger;
  }) {
    this.#live = parts.live;
    this.#servers = parts.servers;
    this.#ports = parts.ports;
    this.#isOff = parts.isOff;
    this.#logger = parts.logger;
  }

  /** Makes it; returns the record with its ports. On a fault, `remove` cleans whatever was made so far. */
  async make(record: OpeningRecord, save: Save): Promise<OpeningRecord> {
    return record.method === 'live' ? await this.#makeLive(record, save) : await this.#serve(record, save);
  }

  /** Says whether all of it still stands. */
  async isAlive(record: OpeningRecord): Promise<boolean> {
    const vm = vmOf(record.request);
    if (record.method === 'live')
      return vm !== null && (await this.#live.isRunning(record.openingId, vm.uuid));
    for (const disk of record.disks) {
      if (!(await this.#servers.isServing(serverName(record.openingId, disk.target)))) return false;
    }
    // On file systems without locks a VM can start under a reader: what it reads is of no one instant any more.
    return vm === null || (await this.#isOff(vm.uuid));
  }

  /** Removes all of it that is there. Safe to repeat, and on a record none of whose steps was taken. */
  async remove(record: OpeningRecord): Promise<void> {
    if (record.method === 'live') {
      await this.#live.end(toLive(record), record.keepCheckpoint);
    } else {
      for (const disk of record.disks) {
        await this.#servers.stop(serverName(record.openingId, disk.target), record.method === 'write');
      }
    }
    this.#ports.release(record.openingId);
  }

  /**
   * Removes what a step of a killed service made after `remove` had run: its job, or a checkpoint that it left. By now another
   * opening may have made a checkpoint of the same name, so it must be known for this opening's own.
   */
  async removeLate(record: OpeningRecord): Promise<void> {
    if (record.method !== 'live' || (await this.#hasLateRemnant(record))) await this.remove(record);
  }

  async #hasLateRemnant({ openingId, request, checkpoint, keepCheckpoint }: OpeningRecord): Promise<boolean> {
    const vm = vmOf(request);
    if (vm === null) return false;
    if (await this.#live.isRunning(openingId, vm.uuid)) return true;
    return (
      checkpoint !== null && !keepCheckpoint && (await this.#live.hasMade(openingId, vm.uuid, checkpoint))
    );
  }

  /** Counts the ports of a record found at start as taken. */
  claim(record: OpeningRecord): void {
    for (const disk of record.disks) this.#ports.claim(record.openingId, disk.port);
  }

  async #makeLive(planned: OpeningRecord, save: Save): Promise<OpeningRecord> {
    let record = planned;
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const port = await this.#ports.take(record.openingId, record.address);
      record = { ...record, disks: record.disks.map((disk) => ({ ...disk, port })) };
      await save(record);
      const outcome = await this.#live.begin(toLive(record));
      if (outcome === 'begun') return record;
      this.#ports.release(record.openingId, port);
      if (outcome === 'bitmap-unusable') {
        record = { ...record, disks: record.disks.map((disk) => ({ ...disk, bitmapSince: null })) };
      } else {
        this.#logger.info({ port }, 'NBD port taken by another process: the next one');
      }
    }
    throw portsContended(record);
  }

  async #serve(planned: OpeningRecord, save: Save): Promise<OpeningRecord> {
    let record = planned;
    await this.#fit(planned);
    for (const { target } of planned.disks) record = await this.#serveDisk(record, target, save);
    return record;
  }

  /** Nobody writes the volume yet: the caller's is the only opening of it. */
  async #fit({ request, disks }: OpeningRecord): Promise<void> {
    if (request.kind !== 'volume' || request.resize !== true) return;
    const signal = AbortSignal.timeout(resizeTimeoutMs);
    for (const { path, format, sizeBytes } of disks) await resizeImage(path, format, sizeBytes, signal);
  }

  async #serveDisk(planned: OpeningRecord, target: string, save: Save): Promise<OpeningRecord> {
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const port = await this.#ports.take(planned.openingId, planned.address);
      const record = withPort(planned, target, port);
      await save(record);
      if ((await this.#start(record, target)) === 'serving') return record;
      this.#ports.release(record.openingId, port);
    }
    throw portsContended(planned);
  }

  async #start(record: OpeningRecord, target: string): Promise<'serving' | 'port-taken'> {
    const disk = record.disks.find((one) => one.target === target) as DiskRecord;
    return await this.#servers.start({
      name: serverName(record.openingId, target),
      path: disk.path,
      format: disk.format,
      exportName: target,
      writable: record.method === 'write',
      address: record.address,
      port: disk.port,
      bitmap: disk.bitmapSince,
    });
  }
}

const withPort = (record: OpeningRecord, target: string, port: number): OpeningRecord => ({
  ...record,
  disks: record.disks.map((disk) => (disk.target === target ? { ...disk, port } : disk)),
});
