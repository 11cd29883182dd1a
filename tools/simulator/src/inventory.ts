import {
  createRestoreVm,
  createVmSnapshot,
  Fault,
  finishRestoreVm,
  getPoolAccess,
  getVmFacts,
  leaveVmOff,
  listLiveItems,
  listNeededCheckpoints,
  listProtectedVms,
  removeCheckpoints,
  removeRestoreVm,
  removeVmSnapshot,
  shutDownVm,
  startVm,
  type PlatformId,
  type Pool,
  type Query,
  type RunItemId,
  type Sealed,
  type Vm,
} from '@casvault/contracts';
import {
  capabilitiesOf,
  Checkpoints,
  EndedItems,
  Reconciliation,
  VmPower,
  VmSnapshots,
  type CheckpointsOptions,
  type ReconciliationOptions,
} from '@casvault/inventory/machine';
import { type Handler, type Messenger } from '@casvault/messaging';
import { type z } from 'zod';
import { Cvm } from './cvm.js';
import { type DiskServices } from './disk-service.js';
import { type InventoryRows } from './inventory-rows.js';
import { loggerOf } from './logger.js';
import { blockBytes, type ModelHost, type ModelPlatform, type ModelVm } from './platform.js';
import { type SimProcess } from './process.js';
import { type World } from './world.js';

type RegisteredPlatform = Awaited<ReturnType<CheckpointsOptions['platforms']['get']>>;

const token = 'sealed:v1:token' as Sealed;
/** CASVAULT_SYNC_SECONDS as it is by itself. */
const syncMs = 300_000;

export interface Installation {
  readonly world: World;
  readonly platformId: PlatformId;
  readonly platform: ModelPlatform;
  readonly disks: DiskServices;
  readonly pool: Pool;
  readonly inventory: InventoryRows;
}

/**
 * Inventory: its own classes for the power of VMs, their snapshots and checkpoints and for what ended items left, over a model of
 * the CVM; the VMs of restores and the facts are modelled, as their contracts promise.
 */
export class ModelInventory {
  readonly #cvm: Cvm;
  readonly #ended: EndedItems;
  readonly #power: VmPower;
  readonly #snapshots: VmSnapshots;
  readonly #checkpoints: Checkpoints;
  readonly #reconciliation: Reconciliation;

  constructor(
    private readonly here: Installation,
    private readonly process: SimProcess,
    client: Messenger,
  ) {
    const { platform, disks, inventory } = here;
    const { clock } = process;
    this.#cvm = new Cvm(process, platform, disks, (name) => inventory.isRemoved(name));
    const logger = loggerOf(process);
    const shutdowns = inventory.shutdownsOf(process);
    const snapshots = inventory.snapshots.of(process);
    const vms = { with: this.#with };
    const platforms = { get: async () => this.#platform() };
    this.#ended = new EndedItems({
      platforms,
      hosts: {
        all: async () =>
          platform.hosts.map(({ hostId: id, name, ip }) => ({ id, externalId: name, name, ip })),
      },
      diskServices: { on: (_platform, ip) => disks.endedOn(process, ip) },
      logger,
    });
    this.#power = new VmPower({ shutdowns, vms, ended: this.#ended, clock, logger });
    this.#snapshots = new VmSnapshots({ snapshots, vms, clock, logger });
    const known = { get: async (id: string) => this.#shown(this.#vm(id)) };
    this.#checkpoints = new Checkpoints({
      vms: known,
      platforms,
      sync: { readVm: (_platform, uuid) => this.#readVm(uuid) },
      diskServices: { on: (_platform, ip) => disks.checkpointsOn(process, ip) },
    });
    const page = async () => ({
      items: platform.vms.map((vm) => this.#shown(vm)),
      nextCursor: null,
    });
    this.#reconciliation = new Reconciliation({
      platforms,
      vms: { ...known, page },
      shutdowns,
      snapshots,
      restores: inventory.restores.of(process),
      volumes: { suspects: async () => [] },
      power: this.#power,
      vmSnapshots: this.#snapshots,
      restoreVms: { remove: (restoreId) => this.#removeNow(restoreId) },
      restoreVolumes: { remove: async () => 'gone' },
      checkpoints: this.#checkpoints,
      owners: ownersBy(client),
      clock,
      logger,
    });
  }

  /** Reconciles after every synchronisation, as its schedule does. */
  async keepClean(): Promise<never> {
    const { inventory, world, platformId } = this.here;
    const { clock, name } = this.process;
    const { signal } = new AbortController();
    for (;;) {
      await clock.sleep(Math.max(0, inventory.nextSyncAt - world.time.now));
      inventory.nextSyncAt = world.time.now + syncMs;
      try {
        const findings = await this.#reconciliation.run(platformId, signal);
        world.trace(name, `reconciled: ${findings.length} findings`);
      } catch (error) {
        world.trace(name, `not reconciled: ${Fault.from(error).message}`);
      }
    }
  }

  handlers(): Handler[] {
    return [
      handler(getVmFacts, async ({ vmId }) => this.#facts(vmId)),
      handler(getPoolAccess, async () => this.here.pool),
      handler(createRestoreVm, (request) => this.#create(request)),
      handler(finishRestoreVm, (request) => this.#finish(request)),
      handler(removeRestoreVm, async ({ restoreId }) => {
        await this.#removeNow(restoreId);
        return {};
      }),
      handler(shutDownVm, (request, signal) => this.#power.shutDown(request, signal)),
      handler(startVm, async ({ itemId, vmId, wasOffToo }, signal) => {
        await this.#power.start(itemId, vmId, signal, wasOffToo);
        return {};
      }),
      handler(leaveVmOff, async ({ itemId, vmId }, signal) => {
        await this.#power.leaveOff(itemId, vmId, signal);
        return {};
      }),
      handler(createVmSnapshot, (request, signal) => this.#snapshots.create(request, signal)),
      handler(removeVmSnapshot, async ({ itemId, vmId }, signal) => {
        await this.#snapshots.remove(itemId, vmId, signal);
        return {};
      }),
      handler(removeCheckpoints, async ({ vmId, keep }, signal) => ({
        removed: await this.#checkpoints.remove(vmId, keep, signal),
      })),
    ];
  }

  async #facts(vmId: string): Promise<z.input<typeof getVmFacts.reply>> {
    const vm = await this.#cvm.ask('facts', () => this.#shown(this.#vm(vmId)));
    const { host } = this.#vm(vmId);
    const { release } = this.here.platform;
    return {
      vm,
      platformName: 'lab',
      platformVersion: release,
      diskService: this.#diskService(host),
      configuration: { name: vm.name },
      capabilities: capabilitiesOf({ release, offersLiveExport: host.exportsLive, disks: vm.disks }),
      restartNeeded: [],
    };
  }

  #shown(vm: ModelVm): Vm {
    const { host, vmId, uuid, name, power } = vm;
    return {
      id: vmId,
      platformId: this.here.platformId,
      externalId: uuid,
      uuid,
      name,
      title: name,
      hostId: host.hostId,
      hostName: host.name,
      hostIp: host.ip,
      powerState: power,
      cpuCount: 1,
      memoryMiB: 64,
      nics: [],
      disks: vm.disks.map(shownDisk),
    };
  }

  #with: ReconciliationOptionsWith = async (id, _signal, work) => {
    const { uuid, name } = this.#vm(id);
    const client = this.#cvm.client();
    const row = await client.vmByUuid(uuid);
    if (!row) throw new Fault('VM_NOT_FOUND', `the platform has no VM ${name} any more`);
    return work({ client, platform: this.#platform(), row });
  };

  async #readVm(uuid: string) {
    await this.#cvm.ask('read VM', () => {
      if (!this.here.platform.byUuid(uuid)) throw new Fault('VM_NOT_FOUND', `there is no VM ${uuid}`);
    });
    return { vmId: this.#vmByUuid(uuid).vmId, configuration: {}, restartNeeded: [], storages: [] };
  }

  #platform(): RegisteredPlatform {
    const { platformId: id, platform } = this.here;
    return { id, name: 'lab', version: platform.release } as RegisteredPlatform;
  }

  // ---- the VMs of restores

  async #create(
    request: z.output<typeof createRestoreVm.request>,
  ): Promise<z.input<typeof createRestoreVm.reply>> {
    const { platform, inventory } = this.here;
    const { restoreId, vmName, hostId, platformId } = request;
    const restores = inventory.restores.of(this.process);
    const earlier = await restores.find(restoreId);
    refuseEnded(earlier?.state);
    const present = await this.#cvm.ask('look', () => platform.byName(vmName) ?? null);
    if (present && present.marker !== restoreId) throw new Fault('ALREADY_EXISTS', `there is a VM ${vmName}`);
    const host = platform.hosts.find((one) => one.hostId === hostId);
    if (!host) throw new Fault('NOT_FOUND', 'no such host');
    const createdAt = earlier?.createdAt ?? this.process.clock.now();
    const row = {
      restoreId,
      platformId,
      hostId,
      vmName,
      vmUuid: null,
      keepsVolumes: false,
      becomesTemplate: false,
      overwrites: null,
      swap: null,
      original: null,
      createdAt,
    };
    if (!present) await restores.save({ ...row, state: 'making' });
    const vm = present ?? (await this.#cvm.ask('add VM', () => this.#make(request, host)));
    const disks = await this.#cvm.ask('describe', () => vm.disks.map((disk) => ({ ...disk })));
    if ((await restores.find(restoreId))?.state === 'removed') {
      await restores.save({ ...row, state: 'making' });
      await this.#removeNow(restoreId);
      throw new Fault('CONFLICT', 'removed');
    }
    if (disks.length < request.disks.length)
      throw new Fault('PLATFORM_BUSY', `VM ${vmName} has not its disks yet`);
    return {
      externalId: vm.uuid,
      uuid: vm.uuid,
      diskService: this.#diskService(host),
      disks: disks.map(({ target, path, format, blocks }) => ({
        target,
        path,
        format,
        sizeBytes: blocks.length * blockBytes,
      })),
    };
  }

  /** The VM is there at once, its disks may follow later. */
  #make(request: z.output<typeof createRestoreVm.request>, host: ModelHost): ModelVm {
    const { platform, world } = this.here;
    const earlier = platform.byName(request.vmName);
    if (earlier) return earlier;
    this.#cvm.mayRefuse('PLATFORM_TASK_FAILED', 0.2);
    const vm = platform.addVm(host, request.vmName, 'stopped', request.restoreId);
    const addDisks = () => {
      for (const { target, sizeBytes, format } of request.disks)
        platform.addDisk(vm, { target, blocks: sizeBytes / blockBytes, format, mode: 'dependent' });
    };
    if (world.faults.strikes('platform'))
      world.time.after(world.faults.of('platform').whole(500, 20_000), addDisks);
    else addDisks();
    return vm;
  }

  async #finish({ restoreId, powerOn }: z.output<typeof finishRestoreVm.request>) {
    const { inventory, platform } = this.here;
    const restores = inventory.restores.of(this.process);
    const restore = await restores.find(restoreId);
    if (!restore || restore.state === 'removed') throw new Fault('NOT_FOUND', 'no VM was made');
    const vm = await this.#cvm.ask('look', () =>
      platform.vms.find((one) => one.marker === restoreId || one.marker === `was ${restoreId}`),
    );
    if (!vm) throw new Fault('VM_NOT_FOUND', `the VM of restore ${restoreId} is not there`);
    await this.#ended.tell(restore.platformId, restoreId, new AbortController().signal);
    await this.#cvm.ask('hand over', () => {
      vm.marker = `was ${restoreId}`;
    });
    await restores.save({ ...restore, state: 'finished', vmUuid: vm.uuid });
    if (powerOn && vm.power !== 'running') await this.#cvm.ask('start', () => this.#cvm.powerOn(vm));
    return { vmId: vm.vmId };
  }

  /** What bears the restore's marker, and nothing else. */
  async #removeNow(restoreId: RunItemId): Promise<'removed' | 'gone'> {
    const { inventory, platform } = this.here;
    const restores = inventory.restores.of(this.process);
    const restore = await restores.find(restoreId);
    if (!restore || restore.state === 'finished') return 'gone';
    const vm = await this.#cvm.ask('look', () => platform.vms.find((one) => one.marker === restoreId));
    if (vm) await this.#cvm.ask('delete', () => platform.vms.includes(vm) && platform.removeVm(vm));
    await restores.save({ ...restore, state: 'removed' });
    return vm ? 'removed' : 'gone';
  }

  #vm(vmId: string): ModelVm {
    const vm = this.here.platform.byId(vmId);
    if (!vm) throw new Fault('VM_NOT_FOUND', `there is no VM ${vmId}`);
    return vm;
  }
  #vmByUuid(uuid: string): ModelVm {
    const vm = this.here.platform.byUuid(uuid);
    if (!vm) throw new Fault('VM_NOT_FOUND', `there is no VM ${uuid}`);
    return vm;
  }

  #diskService(host: ModelHost) {
    return { url: `http://${host.ip}:8192`, token };
  }
}

type ReconciliationOptionsWith = ConstructorParameters<typeof VmPower>[0]['vms']['with'];

/** As owners-query.ts asks snapshot-engine. */
const ownersBy = (client: Messenger): ReconciliationOptions['owners'] => ({
  liveItems: (itemIds, signal) => client.request(listLiveItems, { itemIds }, { signal }),
  protectedVms: (vmIds, signal) => client.request(listProtectedVms, { vmIds }, { signal }),
  judgeCheckpoints: (names, signal) => client.request(listNeededCheckpoints, { names }, { signal }),
});

const refuseEnded = (state: string | undefined): void => {
  if (state === 'finished') throw new Fault('CONFLICT', 'handed over already');
  if (state === 'removed') throw new Fault('CONFLICT', 'removed');
};

const shownDisk = ({ diskId, target, path, role, format, mode, blocks }: ModelVm['disks'][number]) => ({
  id: diskId,
  target,
  path,
  format,
  fileType: 'file' as const,
  bus: 'virtio' as const,
  role,
  mode,
  sizeBytes: blocks.length * blockBytes,
  storageName: 'local',
  cbtCapable: format === 'qcow2',
  encrypted: false,
});

export const handler = <Req extends z.ZodType, Rep extends z.ZodType>(
  contract: Query<Req, Rep>,
  answer: (request: z.output<Req>, signal: AbortSignal) => Promise<z.input<Rep>>,
): Handler => ({
  contract,
  handle: (payload, { signal }) => answer(payload as z.output<Req>, signal),
});
