import {
  type Clock,
  Fault,
  type Finding,
  type listLiveItems,
  type listNeededCheckpoints,
  type listProtectedVms,
  type Logger,
  type PlatformId,
  type RunItemId,
  type Vm,
  type VmId,
} from '@casvault/contracts';
import { type z } from 'zod';
import { eachBounded } from './bounded.js';
import { type Checkpoints } from './checkpoints.js';
import { type RegisteredPlatform } from './platform.js';
import { type PlatformStore } from './platform-store.js';
import { type RestoreVm, type RestoreVmStore } from './restore-vm-store.js';
import { type RestoreVms } from './restore-vms.js';
import { type RestoreVolume, type RestoreVolumeStore } from './restore-volume-store.js';
import { type RestoreVolumes } from './restore-volumes.js';
import { type Shutdown } from './shutdown.js';
import { type ShutdownStore } from './shutdown-store.js';
import { snapshotName } from './vm-snapshot.rules.js';
import { type VmSnapshot, type VmSnapshotStore } from './vm-snapshot-store.js';
import { type VmPower } from './vm-power.js';
import { type VmSnapshots } from './vm-snapshots.js';
import { type VmStore } from './vm-store.js';

type ReplyOf<T extends { reply: z.ZodType }> = Promise<z.infer<T['reply']>>;

/** What snapshot-engine knows of who owns what. */
export interface Owners {
  liveItems(itemIds: RunItemId[], signal: AbortSignal): ReplyOf<typeof listLiveItems>;
  protectedVms(vmIds: VmId[], signal: AbortSignal): ReplyOf<typeof listProtectedVms>;
  judgeCheckpoints(names: string[], signal: AbortSignal): ReplyOf<typeof listNeededCheckpoints>;
}

export interface ReconciliationOptions {
  readonly platforms: Pick<PlatformStore, 'get'>;
  readonly vms: Pick<VmStore, 'get' | 'page'>;
  readonly shutdowns: Pick<ShutdownStore, 'open'>;
  readonly snapshots: Pick<VmSnapshotStore, 'suspects'>;
  readonly restores: Pick<RestoreVmStore, 'suspects'>;
  readonly volumes: Pick<RestoreVolumeStore, 'suspects'>;
  readonly power: Pick<VmPower, 'start'>;
  readonly vmSnapshots: Pick<VmSnapshots, 'remove'>;
  readonly restoreVms: Pick<RestoreVms, 'remove'>;
  readonly restoreVolumes: Pick<RestoreVolumes, 'remove'>;
  readonly checkpoints: Pick<Checkpoints, 'list' | 'removeOne'>;
  readonly owners: Owners;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Of each kind in one pass; what is over waits for the next one. Memory: some 400 bytes each. */
const batch = 1_000;
const vmPage = 200;
/** Hosts asked at the same time. */
const parallelCalls = 4;
/** A request of an ended item that was cut off is carried out by then, if at all. */
const lateMs = 3_600_000;

interface Work {
  readonly itemId: RunItemId;
  readonly kind: Finding['kind'];
  readonly vmName: string;
  readonly name: string;
  readonly settle: () => Promise<Finding['outcome']>;
}

/**
 * Removes and repairs what ended or killed items left on a platform.
 *
 * Why it never races an item in the making, whatever the clocks say: an intent is stored here only on behalf of an item that
 * snapshot-engine has stored before; an ended item never comes to life again; and the intents are read first, then it is asked
 * which items live. So an intent that was read and whose item does not live is nobody's from then on. A call of that item that is
 * still under way here is waited for (one call at a time for an item); one that another replica carries out later is found by
 * the next pass, because intents stay. Proof of whose a thing is: the stored intent, and its name and marker on the platform.
 */
export class Reconciliation {
  constructor(private readonly options: ReconciliationOptions) {}

  /** One pass over a platform. What fails is a finding, not an end; throws when snapshot-engine can't be asked. */
  async run(platformId: PlatformId, signal: AbortSignal): Promise<Finding[]> {
    const platform = await this.options.platforms.get(platformId);
    const works = await this.intents(platformId, signal);
    const { itemIds } = await this.options.owners.liveItems(
      [...new Set(works.map((work) => work.itemId))],
      signal,
    );
    const findings: Finding[] = [];
    for (const work of works.filter((one) => !itemIds.includes(one.itemId))) {
      const finding = await this.attempt(work);
      if (finding.outcome !== 'gone') findings.push(finding);
    }
    findings.push(...(await this.sweepCheckpoints(platform, signal)));
    if (findings.length > 0)
      this.options.logger.warn({ platform: platform.name, findings }, 'left on the platform');
    return findings;
  }

  /** Snapshots before starts: a VM is started on the layers that it keeps. */
  private async intents(platformId: PlatformId, signal: AbortSignal): Promise<Work[]> {
    const { snapshots, shutdowns, restores, volumes, clock } = this.options;
    const since = new Date(clock.now().getTime() - lateMs);
    const works: Work[] = [];
    for (const one of await snapshots.suspects(platformId, since, batch))
      works.push(await this.snapshotWork(one, signal));
    for (const one of await shutdowns.open(platformId, batch)) works.push(await this.startWork(one, signal));
    for (const one of await restores.suspects(platformId, since, batch))
      works.push(this.restoreWork(one, signal));
    for (const one of await volumes.suspects(platformId, since, batch))
      works.push(this.volumeWork(one, signal));
    return works;
  }

  private async snapshotWork({ itemId, vmId }: VmSnapshot, signal: AbortSignal): Promise<Work> {
    return {
      itemId,
      kind: 'snapshot',
      vmName: await this.nameOf(vmId),
      name: snapshotName(itemId),
      settle: () => this.options.vmSnapshots.remove(itemId, vmId, signal),
    };
  }

  private async startWork({ itemId, vmId }: Shutdown, signal: AbortSignal): Promise<Work> {
    const outcomes = { started: 'started', watched: 'left', ended: 'gone' } as const;
    const vmName = await this.nameOf(vmId);
    const settle = async () => outcomes[await this.options.power.start(itemId, vmId, signal)];
    return { itemId, kind: 'shutdown', vmName, name: vmName, settle };
  }

  private restoreWork({ restoreId, platformId, vmName }: RestoreVm, signal: AbortSignal): Work {
    const settle = () => this.options.restoreVms.remove(restoreId, platformId, signal);
    return { itemId: restoreId, kind: 'restore-vm', vmName, name: vmName, settle };
  }

  private volumeWork({ restoreId, platformId, volumeName }: RestoreVolume, signal: AbortSignal): Work {
    const settle = () => this.options.restoreVolumes.remove(restoreId, platformId, signal);
    return { itemId: restoreId, kind: 'restore-volume', vmName: '', name: volumeName, settle };
  }

  private async attempt({ itemId, kind, vmName, name, settle }: Work): Promise<Finding> {
    const finding = { kind, vmName, itemId, name };
    try {
      const outcome = await settle();
      const message = outcome === 'left' ? 'the guest was asked to shut down and may still do it' : null;
      return { ...finding, outcome, message };
    } catch (error) {
      return { ...finding, outcome: 'failed', message: Fault.from(error).message };
    }
  }

  private async nameOf(vmId: VmId): Promise<string> {
    try {
      return (await this.options.vms.get(vmId)).name;
    } catch {
      return vmId;
    }
  }

  /** Page by page over the platform's VMs. Memory: one page of VMs and the names of their checkpoints. */
  private async sweepCheckpoints(platform: RegisteredPlatform, signal: AbortSignal): Promise<Finding[]> {
    const { vms, owners } = this.options;
    const findings: Finding[] = [];
    let cursor: string | undefined;
    do {
      const page = await vms.page({ platformId: platform.id, limit: vmPage, cursor });
      const { vmIds } = await owners.protectedVms(
        page.items.map((vm) => vm.id),
        signal,
      );
      const protectedVms = page.items.filter((vm) => vmIds.includes(vm.id));
      await eachBounded(protectedVms, parallelCalls, async (vm) => {
        findings.push(...(await this.sweepVm(platform, vm, signal)));
      });
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined);
    return findings;
  }

  private async sweepVm(platform: RegisteredPlatform, vm: Vm, signal: AbortSignal): Promise<Finding[]> {
    const { checkpoints, owners } = this.options;
    const finding = { kind: 'checkpoint', vmName: vm.name, itemId: null } as const;
    try {
      const names = (await checkpoints.list(platform, vm, signal)).map((one) => one.name);
      if (names.length === 0) return [];
      const { needed, unknown } = await owners.judgeCheckpoints(names, signal);
      const found: Finding[] = [];
      for (const name of names.filter((one) => !needed.includes(one))) {
        if (unknown.includes(name)) {
          const message = 'no point of this installation was made at it';
          found.push({ ...finding, name, outcome: 'left', message });
          continue;
        }
        await checkpoints.removeOne(platform, vm, name, signal);
        found.push({ ...finding, name, outcome: 'removed', message: null });
      }
      return found;
    } catch (error) {
      if (signal.aborted) throw Fault.ofAbort(signal);
      const fault = Fault.from(error);
      // It moved or was deleted since the last synchronisation: the next pass knows where it is.
      if (fault.code === 'VM_NOT_FOUND') return [];
      return [{ ...finding, name: '', outcome: 'failed', message: fault.message }];
    }
  }
}
