import { type CasStoragePool } from '@casvault/cas-client';
import {
  type Clock,
  Fault,
  type FaultCode,
  type Logger,
  type PlatformId,
  type VmId,
} from '@casvault/contracts';
import { type CasAccess } from './cas-access.js';
import { type KnownDetail, listMarkOf, readOneVm, readPlatform } from './platform-reading.js';
import { type PlatformStore } from './platform-store.js';
import { type ReadingStore } from './reading-store.js';
import { type VmStore } from './vm-store.js';

interface PresentVmFacts {
  readonly vmId: VmId;
  readonly configuration: Readonly<Record<string, unknown>>;
  /** Targets of disks that the running guest does not have yet (R10). */
  readonly restartNeeded: string[];
  readonly storages: readonly CasStoragePool[];
}

export interface PlatformSyncOptions {
  readonly platforms: PlatformStore;
  readonly vms: VmStore;
  readonly readings: ReadingStore;
  readonly access: CasAccess;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Ends synchronisations when the service stops. */
  readonly stopping: AbortSignal;
  /** Details of an unchanged VM are read again after this time. */
  readonly detailMaxAgeMs: number;
  /** Told how each synchronisation ended and how long it took. */
  readonly onDone?: (outcome: 'succeeded' | 'failed', durationMs: number) => void;
}

/** With these the platform can't be used until somebody acts or it is back. */
const offlineCodes: ReadonlySet<FaultCode> = new Set<FaultCode>([
  'PLATFORM_UNREACHABLE',
  'PLATFORM_LOGIN_REFUSED',
  'PLATFORM_NOT_ADMINISTRATOR',
  'PLATFORM_CERTIFICATE_INVALID',
  'PLATFORM_VERSION_UNSUPPORTED',
]);

/** Reads platforms into the database: whole, or one VM. */
export class PlatformSync {
  /** One at a time for a platform; those who want a fresh one share the next. */
  private readonly slots = new Map<PlatformId, { current: Promise<void>; next: Promise<void> | null }>();

  constructor(private readonly options: PlatformSyncOptions) {}

  /**
   * Reads the platform and stores it. `everything`: the details of every VM, also of those that the list shows unchanged.
   * `fresh`: the reading begins after this call; else one that runs already will do. It goes on when the caller no longer
   * waits. A failure is kept as the platform's message before it is thrown.
   */
  run(id: PlatformId, options: { everything: boolean; fresh: boolean }): Promise<void> {
    const slot = this.slots.get(id);
    if (slot === undefined) return this.begin(id, options.everything);
    if (!options.fresh) return slot.current;
    slot.next ??= slot.current.catch(() => undefined).then(() => this.begin(id, options.everything));
    return slot.next;
  }

  private begin(id: PlatformId, everything: boolean): Promise<void> {
    const slot = { current: this.once(id, everything), next: null as Promise<void> | null };
    this.slots.set(id, slot);
    const leave = () => {
      if (slot.next === null) this.slots.delete(id);
    };
    slot.current.then(leave, leave);
    return slot.current;
  }

  /**
   * Reads one VM as the CVM tells it now and stores it, with the storage pools of its host if asked for. `presumedId`: what the CVM
   * called it last, so that its details need not wait for the list. VM_NOT_FOUND when the platform has it no more.
   */
  async readVm(
    id: PlatformId,
    uuid: string,
    signal: AbortSignal,
    { presumedId, withStorages = false }: { presumedId?: string; withStorages?: boolean } = {},
  ): Promise<PresentVmFacts> {
    const { platforms, access, readings, clock } = this.options;
    const platform = await platforms.get(id);
    const startedAt = clock.now();
    const read = await access.with(platform, async (client) => {
      const found = await readOneVm(client, { uuid, presumedId }, signal);
      if (found === null) throw new Fault('VM_NOT_FOUND', `platform ${platform.name} has no VM ${uuid}`);
      const { hostExternalId } = found.row;
      return { ...found, storages: withStorages ? await client.storagePools(hostExternalId, signal) : [] };
    });
    const { row, storages, detail, configuration } = read;
    const vm = { ...row, listMark: listMarkOf(row), detail };
    let vmId = await readings.applyVm(id, vm, startedAt);
    if (vmId === null) {
      // On a host that was added since the last synchronisation.
      await this.run(id, { everything: false, fresh: true });
      vmId = await readings.applyVm(id, vm, startedAt);
    }
    if (vmId === null)
      throw new Fault('CONFLICT', `VM ${row.name} is on a host that platform ${platform.name} does not list`);
    const restartNeeded = detail.disks.filter((disk) => disk.restartNeeded).map((disk) => disk.target);
    return { vmId, configuration: { ...configuration, list: { ...row } }, restartNeeded, storages };
  }

  private async once(id: PlatformId, everything: boolean): Promise<void> {
    const { platforms, vms, readings, access, clock, logger, stopping, detailMaxAgeMs, onDone } =
      this.options;
    const platform = await platforms.get(id);
    const startedAt = clock.now();
    const took = () => clock.now().getTime() - startedAt.getTime();
    try {
      const known = everything ? new Map<string, KnownDetail>() : await vms.knownDetails(id);
      const refreshBefore = new Date(startedAt.getTime() - detailMaxAgeMs);
      const reading = await access.with(platform, (client) =>
        readPlatform(client, { known, refreshBefore, signal: stopping, logger }),
      );
      const stored = await readings.apply(id, reading, startedAt, clock.now());
      const counts = { hosts: reading.hosts.length, vms: reading.vms.length };
      logger.info(
        { platform: platform.name, stored, durationMs: took(), ...counts },
        'platform synchronised',
      );
      onDone?.('succeeded', took());
    } catch (error) {
      const fault = Fault.from(error);
      onDone?.('failed', took());
      logger.warn({ platform: platform.name, err: fault }, 'platform not synchronised');
      if (fault.code !== 'STOPPED') {
        await platforms.recordFailure(id, fault.message, offlineCodes.has(fault.code));
      }
      throw fault;
    }
  }
}
