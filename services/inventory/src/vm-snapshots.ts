import { type CasClient, type CasSnapshot } from '@casvault/cas-client';
import {
  type Clock,
  type createVmSnapshot,
  Fault,
  type Logger,
  type RunItemId,
  type VmId,
} from '@casvault/contracts';
import { type z } from 'zod';
import { Turns } from './turns.js';
import { type PresentVm, type VmAccess } from './vm-access.js';
import {
  disksToRead,
  disksToTake,
  isOfSomeItem,
  itemOf,
  isOurs,
  snapshotMarker,
  snapshotName,
  type SnapshotKind,
} from './vm-snapshot.rules.js';
import { type VmSnapshot, type VmSnapshotStore } from './vm-snapshot-store.js';

export type VmSnapshotReply = z.infer<typeof createVmSnapshot.reply>;

export interface VmSnapshotsOptions {
  readonly snapshots: Pick<VmSnapshotStore, 'find' | 'save'>;
  readonly vms: Pick<VmAccess, 'with'>;
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface SnapshotRequest {
  readonly itemId: RunItemId;
  readonly vmId: VmId;
  readonly kind: SnapshotKind;
}

/**
 * Snapshots of VMs for items. The intent, with the paths of the disks before it, is stored first; only a snapshot whose
 * name, description and stored intent agree is ever removed.
 */
export class VmSnapshots {
  /** One call at a time for a VM in this process; across processes the CVM works on one task of a VM at a time. */
  private readonly turns = new Turns();

  constructor(private readonly options: VmSnapshotsOptions) {}

  /**
   * Safe to repeat: it finds what an earlier try made. CONFLICT once it was removed, or asked for in the other kind; PLATFORM_BUSY
   * while the VM has the snapshot of another item, whose layers would change under this one's when it is removed.
   */
  create(request: SnapshotRequest, signal: AbortSignal): Promise<VmSnapshotReply> {
    const { itemId, vmId, kind } = request;
    return this.turns.take(vmId, async () => {
      const earlier = await this.options.snapshots.find(itemId, vmId);
      if (earlier?.state === 'removed')
        throw new Fault(
          'CONFLICT',
          'the snapshot of this item was removed already: it is not made once more',
        );
      if (earlier !== null && earlier.kind !== kind)
        throw new Fault('CONFLICT', `kind: this item has asked for an ${earlier.kind} snapshot already`);
      if (earlier?.state === 'made') return replyOf(earlier);
      return this.options.vms.with(vmId, signal, (vm) => this.make(request, earlier, vm, signal));
    });
  }

  /** Removes the item's snapshot, and nobody else's. No error when it is gone, or the VM is. Safe to repeat. */
  remove(itemId: RunItemId, vmId: VmId, signal: AbortSignal): Promise<'removed' | 'gone'> {
    return this.turns.take(vmId, async () => {
      const asked = await this.options.snapshots.find(itemId, vmId);
      if (asked === null) return 'gone';
      const outcome = await this.removeNow(asked, signal);
      if (asked.state !== 'removed') await this.options.snapshots.save({ ...asked, state: 'removed' });
      return outcome;
    });
  }

  private async make(
    request: SnapshotRequest,
    earlier: VmSnapshot | null,
    { client, platform, row }: PresentVm,
    signal: AbortSignal,
  ): Promise<VmSnapshotReply> {
    const { itemId, vmId, kind } = request;
    // The disks first: if the snapshot is not there after this look, these are the paths from before it.
    const { detail } = await client.vm(row.externalId, signal);
    let present = await this.find(client, row.externalId, request, signal);
    let intent = earlier;
    if (present === null) {
      const before = disksToTake(kind, row.powerState, detail.disks);
      const askedAt = this.options.clock.now();
      intent = {
        itemId,
        vmId,
        platformId: platform.id,
        kind,
        state: 'making',
        before,
        takenAt: null,
        askedAt,
      };
      await this.options.snapshots.save(intent);
      await client.createSnapshot(
        {
          vmExternalId: row.externalId,
          name: snapshotName(itemId),
          description: snapshotMarker(itemId),
          kind,
        },
        signal,
      );
      present = await this.find(client, row.externalId, request, signal);
    }
    if (present === null || intent === null)
      throw new Fault('PLATFORM_PROTOCOL', `the CVM has no snapshot ${snapshotName(itemId)} of our making`);
    const { disks } = (await client.vm(row.externalId, signal)).detail;
    const takenAt = present.createdAt ?? this.options.clock.now();
    const made = { ...intent, before: disksToRead(kind, intent.before, disks), takenAt };
    await this.options.snapshots.save({ ...made, state: 'made' });
    return replyOf(made);
  }

  /** Ours, or none. ALREADY_EXISTS when somebody else's bears its name. */
  private async find(
    client: CasClient,
    vmExternalId: string,
    { itemId, vmId }: SnapshotRequest,
    signal: AbortSignal,
  ): Promise<CasSnapshot | null> {
    const name = snapshotName(itemId);
    const present = await client.snapshots(vmExternalId, signal);
    const found = present.find((one) => one.name === name);
    const other = present.find(isOfSomeItem);
    if (found === undefined && other !== undefined) {
      // One that the CVM made late, after its item had it removed: nobody else is there to do so again.
      const otherItem = itemOf(other);
      const asked = otherItem && (await this.options.snapshots.find(otherItem, vmId));
      if (asked?.state === 'removed') await client.deleteSnapshot(vmExternalId, other.name, signal);
      throw new Fault(
        'PLATFORM_BUSY',
        `the VM has the snapshot ${other.name} of another item: one at a time`,
      );
    }
    if (found === undefined) return null;
    if (isOurs(found, itemId)) return found;
    throw new Fault('ALREADY_EXISTS', `the VM has a snapshot ${name} that this product did not make`);
  }

  private async removeNow(asked: VmSnapshot, signal: AbortSignal): Promise<'removed' | 'gone'> {
    const { itemId, vmId } = asked;
    try {
      return await this.options.vms.with(vmId, signal, async ({ client, row }) => {
        const present = await client.snapshots(row.externalId, signal);
        if (!present.some((one) => isOurs(one, itemId))) return 'gone';
        await client.deleteSnapshot(row.externalId, snapshotName(itemId), signal);
        if ((await client.snapshots(row.externalId, signal)).some((one) => isOurs(one, itemId)))
          throw new Fault('PLATFORM_BUSY', `the CVM still lists snapshot ${snapshotName(itemId)}`);
        this.options.logger.info({ itemId, vm: row.name }, 'snapshot removed');
        return 'removed';
      });
    } catch (error) {
      if (Fault.is(error) && (error.code === 'VM_NOT_FOUND' || error.code === 'NOT_FOUND')) return 'gone';
      throw error;
    }
  }
}

const replyOf = ({ itemId, takenAt, before }: Pick<VmSnapshot, 'itemId' | 'takenAt' | 'before'>) => {
  if (takenAt === null) throw new Fault('BUG', 'a snapshot that was made has its instant');
  return { name: snapshotName(itemId), takenAt: takenAt.toISOString(), disks: [...before] };
};
