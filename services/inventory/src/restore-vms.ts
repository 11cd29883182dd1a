import { type CasClient, type CasVmRow } from '@casvault/cas-client';
import {
  type Clock,
  Fault,
  type Host,
  type Logger,
  type PlatformId,
  type RunItemId,
  type VmId,
} from '@casvault/contracts';
import { type CasAccess } from './cas-access.js';
import { type DiskServices } from './disk-services.js';
import { endUnknown, itemEnded, type EndedItems } from './ended-items.js';
import { type HostStore } from './host-store.js';
import {
  dropSnapshots,
  giveHardware,
  macRefusals,
  type Original,
  originalRefusal,
  placedAs,
  readOriginal,
} from './original-path.js';
import { hardwareOf, originalNotices, type OriginalPath } from './original-path.rules.js';
import { giveDisks, overwritingRefusal, type Protection, removeLoose, swapOf } from './overwriting.js';
import { carrierName, type Swap } from './overwriting.rules.js';
import { describeMade, isMarked, type MadeVm, markedTemplate, type RestoreVmReply } from './made-vm.js';
import { type PlatformStore } from './platform-store.js';
import { type PlatformSync } from './platform-sync.js';
import { readSite, stillExists, withVolumes } from './restore-site.js';
import {
  firmwareNotices,
  imageDescription,
  nameTaken,
  noticesOf,
  planRestoreVm,
  restoreMarker,
  type RestoreVmRequest,
} from './restore-vm.rules.js';
import { type RestoreVm, type RestoreVmStore } from './restore-vm-store.js';
import { Turns } from './turns.js';
import { deleteOnce } from './vm-deletion.js';
import { type VmStore } from './vm-store.js';

export interface RestoreVmsOptions {
  readonly restores: RestoreVmStore;
  readonly platforms: PlatformStore;
  readonly hosts: HostStore;
  readonly vms: VmStore;
  readonly diskServices: DiskServices;
  readonly sync: PlatformSync;
  readonly access: CasAccess;
  readonly owners: Protection['owners'];
  readonly ended: EndedItems;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * VMs that restores make. What is made bears the marker of its restore in its description until it is handed over;
 * only what bears it is ever changed or removed. The intent is stored before the CVM is asked, so nothing is lost sight of.
 */
export class RestoreVms {
  /** One call at a time for a restore in this process; across processes the CVM's unique names decide. */
  private readonly turns = new Turns();

  constructor(private readonly options: RestoreVmsOptions) {}

  create(request: RestoreVmRequest, signal: AbortSignal): Promise<RestoreVmReply> {
    return this.turns.take(request.restoreId, () => this.createNow(request, signal));
  }

  /** Hands the VM over: the marker goes, then the power comes on. Safe to repeat. */
  finish(restoreId: RunItemId, platformId: PlatformId, powerOn: boolean, signal: AbortSignal): Promise<VmId> {
    return this.turns.take(restoreId, () => this.finishNow(restoreId, platformId, powerOn, signal));
  }

  /** F9: makes it a template, as the last step, and hands that over. Safe to repeat. The CVM's id of it. */
  finishImage(
    restoreId: RunItemId,
    platformId: PlatformId,
    description: string,
    signal: AbortSignal,
  ): Promise<string> {
    return this.turns.take(restoreId, () => this.finishImageNow(restoreId, platformId, description, signal));
  }

  /** Removes what `create` made, with its volumes but for those that were there before (S3); does nothing when it is gone or handed over. */
  remove(restoreId: RunItemId, platformId: PlatformId, signal: AbortSignal): Promise<'removed' | 'gone'> {
    return this.turns.take(restoreId, () => this.removeNow(restoreId, platformId, signal));
  }

  private async createNow(request: RestoreVmRequest, signal: AbortSignal): Promise<RestoreVmReply> {
    const { platforms, hosts, restores, access, diskServices, clock } = this.options;
    const platform = await platforms.get(request.platformId);
    const host = await hosts.get(request.platformId, request.hostId);
    const earlier = await restores.find(request.restoreId);
    refuseEnded(request.restoreId, earlier);
    if (await this.options.ended.isOver(platform.id, host, request.restoreId, signal))
      throw itemEnded(request.restoreId);
    const placed = diskServices.dataPlace(platform, host, request.network, signal);
    // Awaited when the VM is made, whatever comes of it until then.
    placed.catch(() => undefined);
    const made = await access.with(platform, async (client) => {
      const original = await readOriginal(this.options.vms, client, request, signal);
      const { asked, overwrites } = await this.carried(client, request, earlier, { host, original }, signal);
      const present = await this.present(client, asked, signal);
      if (present !== null) return { ...present, overwrites };
      const plan = original
        ? await this.planOriginal(client, request, { host, original, overwrites }, signal)
        : { ...(await this.plan(client, asked, host, signal)), original: null };
      const { restoreId, platformId, hostId, vmName } = asked;
      const createdAt = earlier?.createdAt ?? clock.now();
      await restores.save({
        restoreId,
        platformId,
        hostId,
        vmName,
        state: 'making',
        vmUuid: null,
        keepsVolumes: request.volumes.length > 0,
        becomesTemplate: earlier?.becomesTemplate ?? false,
        overwrites,
        swap: null,
        original: plan.original,
        createdAt,
      });
      return { ...(await this.make(client, asked, plan, signal)), overwrites };
    });
    const reply = describeMade(request, made);
    await restores.rememberUuid(request.restoreId, made.row.uuid);
    await this.refuseRemoved(request, signal);
    const place = await placed;
    const sourceExists = await stillExists(this.options.vms, request.sourceVmId);
    const isOver = made.overwrites !== null;
    const notices = request.original
      ? [...originalNotices(request, isOver), ...firmwareNotices(request.configuration)]
      : noticesOf(request, sourceExists, isOver);
    const { url } = place;
    return {
      ...reply,
      reasons: [...notices, ...place.reasons],
      diskService: { url, token: platform.diskService.token },
    };
  }

  /** S8: a VM that is overwritten keeps its disks until those of the point are written: another VM carries them meanwhile. */
  private async carried(
    client: CasClient,
    request: RestoreVmRequest,
    earlier: RestoreVm | null,
    { host: { externalId: hostExternalId }, original }: { host: Host; original: Original | null },
    signal: AbortSignal,
  ): Promise<{ asked: RestoreVmRequest; overwrites: string | null }> {
    const { vmName, restoreId, platformId } = request;
    const carrier = { ...request, vmName: carrierName(vmName, restoreId), nics: [] };
    const known = earlier?.overwrites ?? null;
    if (known !== null) return { asked: carrier, overwrites: known };
    if (original?.row) {
      const place = { hostExternalId, leftOut: request.original?.leftOut ?? [] };
      const refusal = await originalRefusal(client, original.row, place, signal);
      if (refusal) throw refusal;
      return { asked: carrier, overwrites: original.row.uuid };
    }
    const row = request.overwrite ? await client.vmByName(vmName, signal) : null;
    if (row === null || row.powerState === 'template' || (await isMarked(client, row, restoreId, signal)))
      return { asked: request, overwrites: null };
    const refusal = await overwritingRefusal(
      this.options,
      client,
      row,
      { platformId, hostExternalId },
      signal,
    );
    if (refusal) throw refusal;
    return { asked: carrier, overwrites: row.uuid };
  }

  /** Another process may have removed the restore while its VM was being made here: then this one goes too. */
  private async refuseRemoved(
    { restoreId, platformId }: RestoreVmRequest,
    signal: AbortSignal,
  ): Promise<void> {
    const { restores } = this.options;
    const now = await restores.find(restoreId);
    if (now?.state !== 'removed') return;
    await restores.save({ ...now, state: 'making' });
    await this.removeNow(restoreId, platformId, signal);
    refuseEnded(restoreId, now);
  }

  /** The VM of this name: ours from an earlier try, somebody else's (refused), or none. */
  private async present(
    client: CasClient,
    request: RestoreVmRequest,
    signal: AbortSignal,
  ): Promise<MadeVm | null> {
    const row = await client.vmByName(request.vmName, signal);
    if (row === null) return null;
    if (row.powerState === 'template') throw nameTaken(request);
    const { detail } = await client.describedVm(row.externalId, signal);
    if (detail.description.includes(restoreMarker(request.restoreId))) return { row, detail };
    throw nameTaken(request);
  }

  private async plan(client: CasClient, request: RestoreVmRequest, host: Host, signal: AbortSignal) {
    const { vmName } = request;
    if (request.becomesImage && (await client.templateByName(vmName, signal)) !== null)
      throw nameTaken(request);
    const site = await withVolumes(client, await readSite(client, host, signal), request, signal);
    return { ...planRestoreVm(request, site), host: site.host, hostExternalId: host.externalId };
  }

  /** F3: a VM that is there gets its cards, CPUs and memory when the disks change places; one that is made anew has them from the start. */
  private async planOriginal(
    client: CasClient,
    request: RestoreVmRequest,
    { host, original, overwrites }: { host: Host; original: Original; overwrites: string | null },
    signal: AbortSignal,
  ) {
    const [inUse] = await macRefusals(this.options.vms, request);
    if (inUse) throw inUse;
    const plan = await this.plan(client, placedAs(request, original), host, signal);
    const { cpuCount, coresPerSocket, memoryMiB } = request;
    const hardware = { cpuCount, coresPerSocket, memoryMiB, nics: plan.nics };
    const path: OriginalPath = { vmId: original.vm.id, hardware: overwrites === null ? null : hardware };
    return { ...plan, nics: overwrites === null ? plan.nics : [], original: path };
  }

  private async make(
    client: CasClient,
    request: RestoreVmRequest,
    plan: Awaited<ReturnType<RestoreVms['plan']>>,
    signal: AbortSignal,
  ): Promise<MadeVm> {
    let isTaken = false;
    try {
      await client.addVm(
        {
          name: request.vmName,
          title: request.vmName,
          description: restoreMarker(request.restoreId),
          hostExternalId: plan.hostExternalId,
          cpuCount: request.cpuCount,
          coresPerSocket: request.coresPerSocket,
          memoryMiB: request.memoryMiB,
          disks: plan.disks,
          nics: plan.nics,
          architecture: plan.host.architecture,
          ...guestOf(request.configuration),
        },
        signal,
      );
    } catch (error) {
      // 1002, the VM exists: another try was faster. Whose it is shows below.
      isTaken = Fault.is(error) && error.details['platformCode'] === '1002';
      if (!isTaken) throw error;
    }
    const present = await this.present(client, request, signal);
    // By what the list of VMs does not have: a template.
    if (present === null && isTaken) throw nameTaken(request);
    if (present === null)
      throw new Fault('PLATFORM_PROTOCOL', `the CVM made VM ${request.vmName}, yet does not list it`);
    return present;
  }

  private async finishNow(
    restoreId: RunItemId,
    platformId: PlatformId,
    powerOn: boolean,
    signal: AbortSignal,
  ): Promise<VmId> {
    const { platforms, restores, access, sync } = this.options;
    const platform = await platforms.get(platformId);
    const restore = await this.known(restoreId, platformId);
    const row = await access.with(platform, async (client) => {
      const found =
        restore.state === 'finished'
          ? await this.find(client, restore, signal)
          : await this.handOver(client, restore, signal);
      if (found === null) throw notThere(restore);
      if (restore.state !== 'finished')
        await restores.save({ ...restore, state: 'finished', vmUuid: found.uuid });
      if (powerOn && found.powerState !== 'running') await client.startVm(found.externalId, signal);
      return found;
    });
    return (await sync.readVm(platformId, row.uuid, signal, { presumedId: row.externalId })).vmId;
  }

  /** From the moment that the hosts are told, the VM is its owner's: an earlier try may have got so far, and changes nothing again. */
  private async handOver(
    client: CasClient,
    restore: RestoreVm,
    signal: AbortSignal,
  ): Promise<CasVmRow | null> {
    const { platformId, restoreId, hostId, overwrites, original } = restore;
    const { ended, vms } = this.options;
    const isOver = (await ended.isOver(platformId, { id: hostId }, restoreId, signal)) === true;
    if (overwrites !== null) {
      if (isOver) return client.vmByUuid(overwrites, signal);
      const row = await this.swapIn(client, restore, signal);
      await ended.tell(platformId, restoreId, signal);
      return row;
    }
    const marked = await this.find(client, restore, signal);
    if (marked !== null && !isOver) await ended.tell(platformId, restoreId, signal);
    if (marked !== null) await client.describeVm(marked.externalId, '', signal);
    const row =
      marked ?? (isOver ? await this.find(client, { ...restore, state: 'finished' }, signal) : null);
    if (row !== null && original) await vms.madeAnew(original.vmId as VmId, row.uuid);
    return row;
  }

  /** Gives the disks to the VM that is overwritten. What is written first says which disks it had: it can be undone until it is finished. */
  private async swapIn(client: CasClient, restore: RestoreVm, signal: AbortSignal): Promise<CasVmRow> {
    const carrier = await this.find(client, restore, signal);
    const overwritten = await client.vmByUuid(restore.overwrites ?? '', signal);
    if (overwritten === null) throw notThere(restore);
    const swap = restore.swap ?? (await this.beginSwap(client, restore, { overwritten, carrier }, signal));
    if (carrier !== null) await deleteOnce(client, carrier, true, signal);
    await giveDisks(client, overwritten, swap.made, signal);
    const hardware = restore.original?.hardware;
    const before = swap.hardware?.nics.flatMap(({ mac }) => mac ?? []) ?? [];
    if (hardware) await giveHardware(client, overwritten, hardware, before, signal);
    return overwritten;
  }

  private async beginSwap(
    client: CasClient,
    restore: RestoreVm,
    { overwritten, carrier }: { overwritten: CasVmRow; carrier: CasVmRow | null },
    signal: AbortSignal,
  ): Promise<Swap> {
    if (carrier === null) throw notThere(restore);
    const { platformId, original } = restore;
    const { hostExternalId } = carrier;
    const refusal = original
      ? await originalRefusal(client, overwritten, { hostExternalId, leftOut: [] }, signal)
      : await overwritingRefusal(this.options, client, overwritten, { platformId, hostExternalId }, signal);
    if (refusal) throw refusal;
    if (original) await dropSnapshots(client, overwritten, signal);
    const disks = await swapOf(client, { overwritten, carrier }, signal);
    const swap = original
      ? { ...disks, hardware: hardwareOf((await client.vm(overwritten.externalId, signal)).detail) }
      : disks;
    await this.options.restores.save({ ...restore, swap });
    return swap;
  }

  /** The VM that was to be overwritten gets its own disks back; the volumes that no VM has any more go. */
  private async undoSwap(
    client: CasClient,
    restore: RestoreVm,
    swap: Swap,
    signal: AbortSignal,
  ): Promise<void> {
    const overwritten = await client.vmByUuid(restore.overwrites ?? '', signal);
    if (overwritten !== null && overwritten.powerState !== 'stopped')
      throw new Fault(
        'VM_STATE_REFUSED',
        `VM ${overwritten.name} is ${overwritten.powerState}: its own disks are given back when it is off`,
      );
    if (overwritten !== null) await giveDisks(client, overwritten, swap.kept, signal);
    if (overwritten !== null && swap.hardware)
      await giveHardware(client, overwritten, swap.hardware, [], signal);
    if (restore.keepsVolumes || (await this.find(client, restore, signal)) !== null) return;
    const { externalId } = await this.options.hosts.get(restore.platformId, restore.hostId);
    await removeLoose(client, externalId, swap.made, signal);
  }

  private async finishImageNow(
    restoreId: RunItemId,
    platformId: PlatformId,
    description: string,
    signal: AbortSignal,
  ): Promise<string> {
    const { platforms, restores, access, ended } = this.options;
    const platform = await platforms.get(platformId);
    const restore = { ...(await this.known(restoreId, platformId)), becomesTemplate: true };
    const imageId = await access.with(platform, async (client) => {
      const earlier = await markedTemplate(client, restore, signal);
      if (earlier !== null) return earlier;
      const row = await this.find(client, restore, signal);
      if (row === null) throw notThere(restore);
      await restores.save({ ...restore, vmUuid: row.uuid });
      return convert(client, row, { ...restore, vmUuid: row.uuid }, description, signal);
    });
    await ended.tell(platformId, restoreId, signal);
    await restores.save({ ...restore, state: 'finished' });
    return imageId;
  }

  private async removeNow(
    restoreId: RunItemId,
    platformId: PlatformId,
    signal: AbortSignal,
  ): Promise<'removed' | 'gone'> {
    const { platforms, restores, access, ended, logger } = this.options;
    const restore = await restores.find(restoreId);
    if (restore?.platformId !== platformId || restore.state === 'finished') return 'gone';
    if (await this.isHandedOver(restore, signal)) {
      await restores.save({ ...restore, state: 'finished' });
      return 'gone';
    }
    const platform = await platforms.get(platformId);
    const outcome = await access.with(platform, async (client) => {
      const templateId = restore.becomesTemplate ? await markedTemplate(client, restore, signal) : null;
      if (templateId !== null) {
        await client.deleteTemplate(templateId, signal);
        logger.info({ restoreId, template: restore.vmName }, 'template of a restore removed');
        return 'removed';
      }
      if (restore.swap) await this.undoSwap(client, restore, restore.swap, signal);
      const row = await this.find(client, restore, signal);
      if (row === null) return restore.swap ? 'removed' : 'gone';
      if (row.powerState !== 'stopped') await client.powerOffVm(row.externalId, signal);
      await deleteOnce(client, row, restore.keepsVolumes, signal);
      logger.info({ restoreId, vm: row.name }, 'VM of a restore removed');
      return 'removed';
    });
    await restores.save({ ...restore, state: 'removed' });
    await ended.tell(platformId, restoreId, signal);
    return outcome;
  }

  /** The marker tells it of a VM; where there may be none any more (F9: a template keeps it; S8: disks changed places), the host must. */
  private async isHandedOver(restore: RestoreVm, signal: AbortSignal): Promise<boolean> {
    const { restoreId, platformId, hostId, vmName, state, becomesTemplate, swap } = restore;
    if (state === 'removed') return false;
    const isOver = await this.options.ended.isOver(platformId, { id: hostId }, restoreId, signal);
    if (isOver === null && (becomesTemplate || swap !== null)) throw endUnknown(`VM or template ${vmName}`);
    return isOver === true;
  }

  private async known(restoreId: RunItemId, platformId: PlatformId): Promise<RestoreVm> {
    const restore = await this.options.restores.find(restoreId);
    if (restore === null || restore.platformId !== platformId || restore.state === 'removed')
      throw new Fault('NOT_FOUND', `no VM was made on this platform for restore ${restoreId}`);
    return restore;
  }

  /** Handed over: the VM of the UUID. Before that: only a VM that bears the marker. */
  private async find(client: CasClient, restore: RestoreVm, signal: AbortSignal): Promise<CasVmRow | null> {
    const byUuid = restore.vmUuid === null ? null : await client.vmByUuid(restore.vmUuid, signal);
    const row = byUuid ?? (await client.vmByName(restore.vmName, signal));
    if (row === null || restore.state === 'finished') return byUuid;
    if (row.powerState === 'template') return null;
    return (await isMarked(client, row, restore.restoreId, signal)) ? row : null;
  }
}

/** What is there in the end counts: a conversion that an earlier try has begun makes the CVM refuse another. */
const convert = async (
  client: CasClient,
  { externalId, name }: CasVmRow,
  restore: RestoreVm,
  description: string,
  signal: AbortSignal,
): Promise<string> => {
  let failure: unknown = new Fault('PLATFORM_PROTOCOL', `the CVM does not list VM ${name} as a template`);
  try {
    const words = imageDescription(description, restore.restoreId);
    await client.convertToTemplate({ id: externalId, name }, words, signal);
  } catch (error) {
    failure = error;
  }
  const made = await markedTemplate(client, restore, signal);
  if (made !== null) return made;
  throw failure;
};

const notThere = ({ vmName, restoreId }: RestoreVm): Fault =>
  new Fault('VM_NOT_FOUND', `the VM ${vmName} of restore ${restoreId} is not on the platform`);

/** A request that comes late, after its restore has ended, makes no VM that nobody would ever remove. */
const refuseEnded = (restoreId: RunItemId, restore: RestoreVm | null): void => {
  if (restore?.state === 'finished')
    throw new Fault('CONFLICT', `the VM of restore ${restoreId} is handed over already`);
  if (restore?.state === 'removed')
    throw new Fault('CONFLICT', `the VM of restore ${restoreId} was removed: none is made again`);
};

const textAt = (value: unknown, key: string): string => {
  if (typeof value !== 'object' || value === null || !(key in value)) return '';
  const found = (value as Record<string, unknown>)[key];
  return typeof found === 'string' || typeof found === 'number' ? String(found) : '';
};

/** What the source's configuration says of its guest; Linux where it says nothing. */
const guestOf = (configuration: Record<string, unknown>): { system: '0' | '1'; osVersion: string } => {
  const { basic } = configuration;
  const osVersion = textAt(basic, 'osVersion') || textAt(configuration, 'osVersion') || 'Linux';
  const system = textAt(basic, 'system') || textAt(configuration, 'system');
  return { system: system === '0' || /windows/i.test(osVersion) ? '0' : '1', osVersion };
};
