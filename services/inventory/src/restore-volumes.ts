import { type CasClient, type CasStorageVolume, type CasVmRow } from '@casvault/cas-client';
import {
  type Clock,
  type createRestoreVolume,
  Fault,
  type Logger,
  type PlatformId,
  restoreVolumeName,
  type RunItemId,
  type VmId,
} from '@casvault/contracts';
import { type z } from 'zod';
import { type CasAccess } from './cas-access.js';
import { type DiskServices } from './disk-services.js';
import { endUnknown, itemEnded, type EndedItems } from './ended-items.js';
import { type HostStore } from './host-store.js';
import { type PlatformStore } from './platform-store.js';
import { type PlatformSync } from './platform-sync.js';
import { volumeBytes } from './restore-vm.rules.js';
import { busOf, judgeRestoreVolume, type RestoreVolumeRequest, writtenPath } from './restore-volume.rules.js';
import { type RestoreVolume, type RestoreVolumeStore } from './restore-volume-store.js';
import { Turns } from './turns.js';
import { type VmStore } from './vm-store.js';

type RestoreVolumeReply = z.infer<typeof createRestoreVolume.reply>;

export interface RestoreVolumesOptions {
  readonly volumes: RestoreVolumeStore;
  readonly platforms: PlatformStore;
  readonly hosts: HostStore;
  readonly vms: VmStore;
  readonly diskServices: DiskServices;
  readonly sync: PlatformSync;
  readonly access: CasAccess;
  readonly ended: EndedItems;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Where on the platform a volume is, or will be. */
interface Place {
  readonly hostExternalId: string;
  readonly storageName: string;
  readonly volumeName: string;
}

/**
 * Volumes that are made from points (F9). Each bears the id of its run item in its name, and the intent is stored before the CVM
 * is asked: what is half made is always found again, and nothing else is ever removed. What a VM has attached is never removed.
 */
export class RestoreVolumes {
  /** One call at a time for a restore in this process; across processes the names decide. */
  private readonly turns = new Turns();

  constructor(private readonly options: RestoreVolumesOptions) {}

  create(request: RestoreVolumeRequest, signal: AbortSignal): Promise<RestoreVolumeReply> {
    return this.turns.take(request.restoreId, () => this.createNow(request, signal));
  }

  /** Hands the volume over, attached if that was asked for. Safe to repeat. */
  attach(restoreId: RunItemId, platformId: PlatformId, signal: AbortSignal): Promise<VmId | null> {
    return this.turns.take(restoreId, () => this.attachNow(restoreId, platformId, signal));
  }

  /** Removes what `create` made; does nothing when it is gone or handed over. CONFLICT when a VM has it: it is left to that. */
  remove(restoreId: RunItemId, platformId: PlatformId, signal: AbortSignal): Promise<'removed' | 'gone'> {
    return this.turns.take(restoreId, () => this.removeNow(restoreId, platformId, signal));
  }

  private async createNow(request: RestoreVolumeRequest, signal: AbortSignal): Promise<RestoreVolumeReply> {
    const { platforms, hosts, access, ended, diskServices } = this.options;
    const { restoreId, storageName, disk } = request;
    const platform = await platforms.get(request.platformId);
    const host = await hosts.get(request.platformId, request.hostId);
    const hostExternalId = host.externalId;
    const place = { hostExternalId, storageName, volumeName: restoreVolumeName(request.name, restoreId) };
    const volume = await access.with(platform, async (client) => {
      const earlier = await this.options.volumes.find(restoreId);
      refuseEnded(earlier);
      if (await ended.isOver(platform.id, host, restoreId, signal)) throw itemEnded(restoreId);
      if (earlier === null) {
        await this.judge(client, request, hostExternalId, signal);
        await this.intend(request, place);
      }
      return (await volumeAt(client, place, signal)) ?? (await make(client, place, disk, signal));
    });
    const path = writtenPath(request, volume);
    await this.refuseRemoved(restoreId, request.platformId, signal);
    const { url, reasons } = await diskServices.dataPlace(platform, host, request.network, signal);
    const { target, format } = disk;
    return {
      diskService: { url, token: platform.diskService.token },
      disks: [{ target, path, format, sizeBytes: volumeBytes(disk.sizeBytes) }],
      reasons,
    };
  }

  private async judge(
    client: CasClient,
    request: RestoreVolumeRequest,
    hostExternalId: string,
    signal: AbortSignal,
  ): Promise<void> {
    const receiver =
      request.attachTo === null
        ? null
        : await this.receiver(client, request.attachTo, request.platformId, signal);
    const site = {
      host: await client.host(hostExternalId, signal),
      storages: await client.storagePools(hostExternalId, signal),
    };
    judgeRestoreVolume(request, site, receiver);
  }

  private async intend(request: RestoreVolumeRequest, { volumeName }: Place): Promise<void> {
    const { volumes, clock } = this.options;
    const { restoreId, platformId, hostId, storageName, attachTo, disk } = request;
    await volumes.save({
      restoreId,
      platformId,
      hostId,
      storageName,
      volumeName,
      attachTo,
      format: disk.format,
      bus: busOf(request),
      state: 'making',
      createdAt: clock.now(),
    });
  }

  /** Another process may have removed the volume while it was being made here: then this one goes too. */
  private async refuseRemoved(
    restoreId: RunItemId,
    platformId: PlatformId,
    signal: AbortSignal,
  ): Promise<void> {
    const { volumes } = this.options;
    const now = await volumes.find(restoreId);
    if (now?.state !== 'removed') return;
    await volumes.save({ ...now, state: 'making' });
    await this.removeNow(restoreId, platformId, signal);
    refuseEnded(now);
  }

  private async attachNow(
    restoreId: RunItemId,
    platformId: PlatformId,
    signal: AbortSignal,
  ): Promise<VmId | null> {
    const { platforms, volumes, access, sync, ended } = this.options;
    const volume = await volumes.find(restoreId);
    if (volume === null || volume.platformId !== platformId || volume.state === 'removed')
      throw new Fault('NOT_FOUND', `no volume was made on this platform for restore ${restoreId}`);
    const { attachTo, hostId } = volume;
    const isOver =
      volume.state === 'finished' || (await ended.isOver(platformId, { id: hostId }, restoreId, signal));
    if (attachTo !== null && !isOver)
      await access.with(await platforms.get(platformId), (client) =>
        this.plug(client, volume, attachTo, signal),
      );
    if (!isOver) await ended.tell(platformId, restoreId, signal);
    await volumes.save({ ...volume, state: 'finished' });
    if (attachTo === null) return null;
    const { uuid, externalId } = await this.options.vms.get(attachTo);
    return (await sync.readVm(platformId, uuid, signal, { presumedId: externalId })).vmId;
  }

  private async plug(
    client: CasClient,
    volume: RestoreVolume,
    attachTo: VmId,
    signal: AbortSignal,
  ): Promise<void> {
    const row = await this.receiver(client, attachTo, volume.platformId, signal);
    const found = await volumeAt(client, await this.placeOf(volume), signal);
    if (found === null || found.path === null)
      throw new Fault('NOT_FOUND', `volume ${volume.volumeName} is not on the platform`);
    if (await hasDisk(client, row, found.path, signal)) return;
    const { format, bus, storageName } = volume;
    const disk = { path: found.path, format, bus, storageName };
    await client.attachDisk({ id: row.externalId, name: row.name }, disk, signal);
  }

  private async removeNow(
    restoreId: RunItemId,
    platformId: PlatformId,
    signal: AbortSignal,
  ): Promise<'removed' | 'gone'> {
    const { platforms, volumes, access, ended, logger } = this.options;
    const volume = await volumes.find(restoreId);
    if (volume?.platformId !== platformId || volume.state === 'finished') return 'gone';
    if (await this.isHandedOver(volume, signal)) {
      await volumes.save({ ...volume, state: 'finished' });
      return 'gone';
    }
    const platform = await platforms.get(platformId);
    const place = await this.placeOf(volume);
    const outcome = await access.with(platform, async (client) => {
      const found = await volumeAt(client, place, signal);
      if (found === null) return 'gone';
      if (await this.isAttached(client, volume, found, signal)) return 'attached';
      await client.deleteVolume(place.hostExternalId, place.storageName, place.volumeName, signal);
      logger.info({ restoreId, volume: place.volumeName }, 'volume of a restore removed');
      return 'removed';
    });
    await volumes.save({ ...volume, state: outcome === 'attached' ? 'finished' : 'removed' });
    await ended.tell(platformId, restoreId, signal);
    if (outcome !== 'attached') return outcome;
    throw new Fault('CONFLICT', `volume ${place.volumeName} is attached to a VM: it is left there, whole`);
  }

  /** A volume that no VM has looks the same before and after: only its host can tell whether it was handed over. */
  private async isHandedOver(volume: RestoreVolume, signal: AbortSignal): Promise<boolean> {
    const { restoreId, platformId, hostId, volumeName, state } = volume;
    if (state === 'removed') return false;
    const isOver = await this.options.ended.isOver(platformId, { id: hostId }, restoreId, signal);
    if (isOver === null) throw endUnknown(`volume ${volumeName}`);
    return isOver;
  }

  /** By what the pool says of the volume, and by what its VM says: a CVM may tell the one later than the other. */
  private async isAttached(
    client: CasClient,
    { attachTo, platformId }: RestoreVolume,
    { users, path }: CasStorageVolume,
    signal: AbortSignal,
  ): Promise<boolean> {
    if (users !== '') return true;
    if (attachTo === null || path === null) return false;
    try {
      return await hasDisk(client, await this.receiver(client, attachTo, platformId, signal), path, signal);
    } catch (error) {
      if (Fault.is(error) && error.code === 'VM_NOT_FOUND') return false;
      throw error;
    }
  }

  private async receiver(
    client: CasClient,
    vmId: VmId,
    platformId: PlatformId,
    signal: AbortSignal,
  ): Promise<CasVmRow> {
    const vm = await this.options.vms.get(vmId);
    const row = vm.platformId === platformId ? await client.vmByUuid(vm.uuid, signal) : null;
    if (row !== null) return row;
    throw new Fault('VM_NOT_FOUND', `attachTo: the platform has no VM ${vm.name}`, {
      details: { field: 'attachTo', vmId },
    });
  }

  private async placeOf({ platformId, hostId, storageName, volumeName }: RestoreVolume): Promise<Place> {
    const { externalId } = await this.options.hosts.get(platformId, hostId);
    return { hostExternalId: externalId, storageName, volumeName };
  }
}

/** A request that comes late, after its restore has ended, makes no volume that nobody would ever remove. */
const refuseEnded = (volume: RestoreVolume | null): void => {
  if (volume?.state === 'finished')
    throw new Fault('CONFLICT', `volume ${volume.volumeName} is handed over already`);
  if (volume?.state === 'removed')
    throw new Fault('CONFLICT', `volume ${volume.volumeName} was removed: none is made again`);
};

/** Memory: one row of some 300 bytes for each volume of the pool. */
const volumeAt = async (
  client: CasClient,
  { hostExternalId, storageName, volumeName }: Place,
  signal: AbortSignal,
): Promise<CasStorageVolume | null> => {
  const all = await client.storageVolumes(hostExternalId, storageName, signal);
  return all.find(({ name }) => name === volumeName) ?? null;
};

const make = async (
  client: CasClient,
  place: Place,
  { sizeBytes, format }: RestoreVolumeRequest['disk'],
  signal: AbortSignal,
): Promise<CasStorageVolume> => {
  const { hostExternalId: hostId, storageName: poolName, volumeName: name } = place;
  const sizeMiB = volumeBytes(sizeBytes) / (1024 * 1024);
  await client.addVolume({ hostId, poolName, name, sizeMiB, format }, signal);
  const made = await volumeAt(client, place, signal);
  if (made !== null) return made;
  throw new Fault('PLATFORM_PROTOCOL', `the CVM made volume ${name}, yet does not list it`);
};

const hasDisk = async (
  client: CasClient,
  { externalId }: CasVmRow,
  path: string,
  signal: AbortSignal,
): Promise<boolean> => {
  const { detail } = await client.vm(externalId, signal);
  return detail.disks.some((disk) => disk.path === path);
};
