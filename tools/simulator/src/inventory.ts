import {
  createRestoreVm,
  createVmSnapshot,
  Fault,
  finishRestoreVm,
  getPoolAccess,
  getVmFacts,
  leaveVmOff,
  removeCheckpoints,
  removeRestoreVm,
  removeVmSnapshot,
  shutDownVm,
  startVm,
  type FaultCode,
  type PlatformId,
  type Pool,
  type Query,
  type Sealed,
} from '@casvault/contracts';
import { type Handler } from '@casvault/messaging';
import { type z } from 'zod';
import { type DiskServices } from './disk-service.js';
import { blockBytes, type ModelHost, type ModelPlatform, type ModelVm } from './platform.js';
import { type Edge, type SimProcess } from './process.js';
import { type World } from './world.js';

const token = 'sealed:v1:token' as Sealed;
const edge = (name: string): Edge => ({
  name: `CVM: ${name}`,
  fault: 'platform',
  code: 'PLATFORM_UNREACHABLE',
  timeoutMs: 1_000,
});
const epoch = Date.parse('2026-01-01T00:00:00Z');

export interface Installation {
  readonly world: World;
  readonly platformId: PlatformId;
  readonly platform: ModelPlatform;
  readonly disks: DiskServices;
  readonly pool: Pool;
  /** Inventory's own rows: what was said of restores' VMs, and who shut down which VM. */
  readonly restores: Map<string, 'making' | 'finished' | 'removed'>;
  readonly shutDownBy: Map<string, { readonly vm: ModelVm; readonly wasRunning: boolean; isOver: boolean }>;
}

/** Inventory and the CVM behind it, as their contracts promise: each call goes in steps that may fail half-way. */
export class ModelInventory {
  constructor(
    private readonly here: Installation,
    private readonly process: SimProcess,
  ) {}

  handlers(): Handler[] {
    return [
      handler(getVmFacts, async ({ vmId }) => this.#facts(vmId)),
      handler(getPoolAccess, async () => this.here.pool),
      handler(createRestoreVm, (request) => this.#create(request)),
      handler(finishRestoreVm, (request) => this.#finish(request)),
      handler(removeRestoreVm, (request) => this.#remove(request)),
      handler(shutDownVm, (request) => this.#shutDown(request)),
      handler(startVm, (request) => this.#start(request)),
      handler(leaveVmOff, (request) => this.#leaveOff(request)),
      handler(createVmSnapshot, (request) => this.#snapshot(request)),
      handler(removeVmSnapshot, (request) => this.#removeSnapshot(request)),
      handler(removeCheckpoints, (request) => this.#removeCheckpoints(request)),
    ];
  }

  async #facts(vmId: string): Promise<z.input<typeof getVmFacts.reply>> {
    const vm = await this.#ask('facts', () => this.#vm(vmId));
    return {
      vm: { ...this.#shown(vm), disks: vm.disks.map(shownDisk) },
      platformName: 'lab',
      platformVersion: 'E0760',
      diskService: this.#diskService(vm.host),
      configuration: { name: vm.name },
      restartNeeded: [],
    };
  }

  #shown(vm: ModelVm) {
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
    };
  }

  async #create(
    request: z.output<typeof createRestoreVm.request>,
  ): Promise<z.input<typeof createRestoreVm.reply>> {
    const { restores, platform } = this.here;
    const { restoreId, vmName, hostId } = request;
    if (restores.get(restoreId) === 'finished') throw new Fault('CONFLICT', 'handed over already');
    if (restores.get(restoreId) === 'removed') throw new Fault('CONFLICT', 'removed');
    const present = await this.#ask('look', () => platform.vms.find(({ name }) => name === vmName) ?? null);
    if (present && present.marker !== restoreId) throw new Fault('ALREADY_EXISTS', `there is a VM ${vmName}`);
    restores.set(restoreId, 'making');
    const host = platform.hosts.find((one) => one.hostId === hostId);
    if (!host) throw new Fault('NOT_FOUND', 'no such host');
    const vm = present ?? (await this.#ask('add VM', () => this.#make(request, host)));
    const disks = await this.#ask('describe', () => vm.disks.map((disk) => ({ ...disk })));
    if (restores.get(restoreId) === 'removed') {
      await this.#ask('delete', () => platform.vms.includes(vm) && platform.removeVm(vm));
      throw new Fault('CONFLICT', 'removed');
    }
    if (disks.length < request.disks.length)
      throw new Fault('PLATFORM_BUSY', `VM ${vmName} has not its disks yet`);
    return {
      externalId: vm.uuid,
      uuid: vm.uuid,
      diskService: this.#diskService(host),
      disks: disks.map(({ target, path, blocks }) => ({
        target,
        path,
        format: 'qcow2' as const,
        sizeBytes: blocks.length * blockBytes,
      })),
    };
  }

  /** The VM is there at once, its disks may follow later. */
  #make(request: z.output<typeof createRestoreVm.request>, host: ModelHost): ModelVm {
    const { platform, world } = this.here;
    const earlier = platform.vms.find(({ name }) => name === request.vmName);
    if (earlier) return earlier;
    this.#mayRefuse('PLATFORM_TASK_FAILED', 0.2);
    const vm = platform.addVm(host, request.vmName, 'stopped', request.restoreId);
    const addDisks = () => {
      for (const { target, sizeBytes } of request.disks) platform.addDisk(vm, target, sizeBytes / blockBytes);
    };
    if (world.faults.strikes('platform'))
      world.time.after(world.faults.of('platform').whole(500, 20_000), addDisks);
    else addDisks();
    return vm;
  }

  async #finish({ restoreId, powerOn }: z.output<typeof finishRestoreVm.request>) {
    const { restores, platform } = this.here;
    const vm = await this.#ask('look', () =>
      platform.vms.find((one) => one.marker === restoreId || one.marker === `was ${restoreId}`),
    );
    if (!vm) throw new Fault('VM_NOT_FOUND', `the VM of restore ${restoreId} is not there`);
    await this.#ask('hand over', () => {
      vm.marker = `was ${restoreId}`;
    });
    restores.set(restoreId, 'finished');
    if (powerOn && vm.power !== 'running') await this.#ask('start', () => this.#powerOn(vm));
    return { vmId: vm.vmId };
  }

  async #remove({ restoreId }: z.output<typeof removeRestoreVm.request>) {
    const { restores, platform } = this.here;
    if (restores.get(restoreId) !== 'making') return {};
    const vm = await this.#ask('look', () => platform.vms.find((one) => one.marker === restoreId));
    if (vm) await this.#ask('delete', () => platform.vms.includes(vm) && platform.removeVm(vm));
    restores.set(restoreId, 'removed');
    return {};
  }

  async #shutDown({ itemId, vmId }: z.output<typeof shutDownVm.request>) {
    const vm = await this.#ask('look', () => this.#vm(vmId));
    const { shutDownBy } = this.here;
    const earlier = shutDownBy.get(itemId);
    if (earlier?.isOver) throw new Fault('CONFLICT', 'the item has given the VM back already');
    const { wasRunning } = earlier ?? { wasRunning: vm.power === 'running' };
    shutDownBy.set(itemId, { vm, wasRunning, isOver: false });
    if (vm.power === 'stopped') return { wasRunning };
    this.#mayRefuse('VM_STATE_REFUSED', 1);
    await this.#ask('shut down', () => {
      vm.power = 'stopped';
      this.here.disks.loseCaptures(vm);
    });
    return { wasRunning };
  }

  /** Only what the item shut down, or found off when that is asked. */
  async #start({ itemId, vmId, wasOffToo }: z.output<typeof startVm.request>) {
    const vm = await this.#ask('look', () => this.#vm(vmId));
    const shutDown = this.here.shutDownBy.get(itemId);
    if (!shutDown || shutDown.isOver || !(shutDown.wasRunning || wasOffToo)) return {};
    if (vm.power !== 'running') await this.#ask('start', () => this.#powerOn(vm));
    shutDown.isOver = true;
    return {};
  }

  async #leaveOff({ itemId }: z.output<typeof leaveVmOff.request>) {
    const shutDown = this.here.shutDownBy.get(itemId);
    if (shutDown) shutDown.isOver = true;
    return {};
  }

  #powerOn(vm: ModelVm): void {
    this.#mayRefuse('PLATFORM_TASK_FAILED', 0.3);
    if (this.here.disks.isOpen(vm))
      throw new Fault('PLATFORM_TASK_FAILED', `the disks of ${vm.name} are in use`);
    if (vm.power !== 'running') vm.generation += 1;
    vm.power = 'running';
  }

  async #snapshot({ itemId, vmId, kind }: z.output<typeof createVmSnapshot.request>) {
    const name = `casvault-${itemId}`;
    const vm = await this.#ask('look', () => this.#vm(vmId));
    const snapshot = await this.#ask('snapshot', () => {
      const present = vm.snapshots.find((one) => one.name === name);
      if (present) return present;
      this.#mayRefuse('PLATFORM_TASK_FAILED', 0.3);
      const takenAt = new Date(epoch + this.here.world.time.now + vm.host.aheadMs).toISOString();
      const disks = new Map(vm.disks.map(({ target, blocks }) => [target, [...blocks]]));
      const made = { name, kind, takenAt, disks };
      vm.snapshots = [...vm.snapshots, made];
      return made;
    });
    const disks = vm.disks.map(({ target, path }) => ({ target, path }));
    return { name, takenAt: snapshot.takenAt, disks };
  }

  async #removeSnapshot({ itemId, vmId }: z.output<typeof removeVmSnapshot.request>) {
    const vm = await this.#ask('look', () => this.#vm(vmId));
    await this.#ask('remove snapshot', () => {
      vm.snapshots = vm.snapshots.filter(({ name }) => name !== `casvault-${itemId}`);
    });
    return {};
  }

  async #removeCheckpoints({ vmId, keep }: z.output<typeof removeCheckpoints.request>) {
    const vm = await this.#ask('look', () => this.#vm(vmId));
    const removed = await this.#ask('remove checkpoints', () => {
      const names = new Set(vm.disks.flatMap(({ bitmaps }) => [...bitmaps.keys()]));
      const gone = [...names].filter((name) => !keep.includes(name));
      for (const disk of vm.disks) for (const name of gone) disk.bitmaps.delete(name);
      return gone;
    });
    return { removed };
  }

  #ask<T>(name: string, deed: () => T): Promise<T> {
    return this.process.call(edge(name), deed);
  }

  #mayRefuse(code: FaultCode, factor: number): void {
    if (this.here.world.faults.strikes('platform', factor)) throw new Fault(code, 'the platform refused');
  }

  #vm(vmId: string): ModelVm {
    const vm = this.here.platform.byId(vmId);
    if (!vm) throw new Fault('VM_NOT_FOUND', `there is no VM ${vmId}`);
    return vm;
  }

  #diskService(host: ModelHost) {
    return { url: `http://${host.ip}:8192`, token };
  }
}

const shownDisk = ({ diskId, target, path, role, blocks }: ModelVm['disks'][number]) => ({
  id: diskId,
  target,
  path,
  format: 'qcow2' as const,
  fileType: 'file' as const,
  bus: 'virtio' as const,
  role,
  mode: 'dependent' as const,
  sizeBytes: blocks.length * blockBytes,
  storageName: 'local',
  cbtCapable: true,
  encrypted: false,
});

const handler = <Req extends z.ZodType, Rep extends z.ZodType>(
  contract: Query<Req, Rep>,
  answer: (request: z.output<Req>) => Promise<z.input<Rep>>,
): Handler => ({ contract, handle: (payload) => answer(payload as z.output<Req>) });
