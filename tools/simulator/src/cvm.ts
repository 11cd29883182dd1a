import { Fault, type FaultCode } from '@casvault/contracts';
import { type VmPowerOptions } from '@casvault/inventory/machine';
import { type DiskServices } from './disk-service.js';
import { epoch, type ModelDisk, type ModelPlatform, type ModelSnapshot, type ModelVm } from './platform.js';
import { type Edge, type SimProcess } from './process.js';

type PresentVm = Parameters<Parameters<VmPowerOptions['vms']['with']>[2]>[0];
export type CasClient = PresentVm['client'];

const edge = (name: string): Edge => ({
  name: `CVM: ${name}`,
  fault: 'platform',
  code: 'PLATFORM_UNREACHABLE',
  timeoutMs: 1_000,
});

/** The CVM as one process of inventory reaches it: each call may be lost, be refused, or be carried out late. */
export class Cvm {
  constructor(
    private readonly process: SimProcess,
    private readonly platform: ModelPlatform,
    private readonly disks: DiskServices,
    /** Whether the snapshot of that name was removed, as its item has it written down. */
    private readonly isRemoved: (name: string) => boolean,
  ) {}

  ask<T>(name: string, deed: () => T): Promise<T> {
    return this.process.call(edge(name), deed);
  }

  mayRefuse(code: FaultCode, factor: number): void {
    if (this.process.world.faults.strikes('platform', factor)) throw new Fault(code, 'the platform refused');
  }

  /** The calls that VmPower and VmSnapshots make. */
  client(): CasClient {
    const vmOf = (id: string) => this.platform.byUuid(id) ?? gone(id);
    const calls = {
      vmByUuid: (uuid: string) =>
        this.ask('list', () => {
          const vm = this.platform.byUuid(uuid);
          return vm ? rowOf(vm) : null;
        }),
      vm: (id: string) => this.ask('facts', () => ({ detail: { disks: vmOf(id).disks.map(shown) } })),
      stopVm: (id: string) => this.ask('shut down', () => this.#pressButton(vmOf(id))),
      startVm: (id: string) => this.ask('start', () => this.powerOn(vmOf(id))),
      snapshots: (id: string) =>
        this.ask('list snapshots', () =>
          vmOf(id).snapshots.map(({ name, description, takenAt }) => ({
            name,
            description,
            createdAt: new Date(takenAt),
          })),
        ),
      createSnapshot: (asked: Parameters<CasClient['createSnapshot']>[0]) =>
        this.ask('snapshot', () => this.#snapshot(vmOf(asked.vmExternalId), asked)),
      deleteSnapshot: (id: string, name: string) =>
        this.ask('remove snapshot', () => {
          const vm = vmOf(id);
          this.mayRefuse('PLATFORM_BUSY', 0.5);
          for (const snapshot of vm.snapshots.filter((one) => one.name === name)) merge(vm, snapshot);
        }),
    };
    return calls as unknown as CasClient;
  }

  /** R6: the guest decides. It follows soon, in a minute, or when nobody waits any more. */
  #pressButton(vm: ModelVm): void {
    const { faults, random, time } = this.process.world;
    if (vm.power === 'stopped' || vm.isGoingDown) return;
    const strange = faults.of('platform');
    const how = faults.strikes('platform') ? strange.pick(['refused', 'slow', 'late'] as const) : 'soon';
    if (how === 'refused') throw new Fault('PLATFORM_REFUSED', 'the guest has no power button');
    const delays = {
      soon: () => random.whole(200, 4_000),
      slow: () => strange.whole(30_000, 90_000),
      late: () => strange.whole(245_000, 290_000),
    };
    vm.isGoingDown = true;
    time.after(delays[how](), () => {
      vm.isGoingDown = false;
      this.process.world.trace('platform', `VM ${vm.name} is down`);
      vm.power = 'stopped';
      this.disks.loseCaptures(vm);
    });
  }

  powerOn(vm: ModelVm): void {
    if (vm.power === 'running') return;
    this.mayRefuse('PLATFORM_TASK_FAILED', 0.3);
    if (this.disks.isOpen(vm)) throw new Fault('PLATFORM_TASK_FAILED', `the disks of ${vm.name} are in use`);
    vm.generation += 1;
    vm.power = 'running';
    this.process.world.trace('platform', `VM ${vm.name} is up`);
  }

  #snapshot(vm: ModelVm, asked: Parameters<CasClient['createSnapshot']>[0]): void {
    const { faults, time } = this.process.world;
    if (vm.snapshots.some(({ name }) => name === asked.name))
      throw new Fault('PLATFORM_TASK_FAILED', `there is a snapshot ${asked.name}`);
    this.mayRefuse('PLATFORM_TASK_FAILED', 0.2);
    if (!faults.strikes('platform', 0.3)) return take(vm, asked, time.now);
    // The task is under way; its beginning was all that there was an answer to.
    time.after(faults.of('platform').whole(500, 20_000), () => {
      if (vm.snapshots.some(({ name }) => name === asked.name)) return;
      take(vm, asked, time.now, this.isRemoved(asked.name));
    });
    throw new Fault('PLATFORM_UNREACHABLE', 'no answer');
  }
}

const gone = (id: string): never => {
  throw new Fault('NOT_FOUND', `the platform has no VM ${id}`);
};

const rowOf = ({ uuid, name, power, host }: ModelVm) => ({
  uuid,
  name,
  title: name,
  externalId: uuid,
  hostExternalId: host.name,
  powerState: power,
});

const shown = ({ target, path, format, mode, layers }: ModelDisk) => ({
  target,
  path,
  format,
  fileType: 'file' as const,
  mode,
  encrypted: false,
  backingFile: layers.at(-1) ?? null,
});

type NewSnapshot = Parameters<CasClient['createSnapshot']>[0];

/** R4: an internal snapshot takes all disks, an external one the dependent ones, each of which gets a layer. */
const take = (
  vm: ModelVm,
  { name, description, kind }: NewSnapshot,
  now: number,
  isBelated = false,
): void => {
  const taken = vm.disks.filter(({ mode }) => kind === 'internal' || mode === 'dependent');
  const disks = new Map(taken.map(({ target, blocks }) => [target, [...blocks]] as const));
  const paths = new Map(taken.map(({ target, path }) => [target, path] as const));
  const takenAt = new Date(epoch + now + vm.host.aheadMs).toISOString();
  vm.snapshots = [...vm.snapshots, { name, description, kind, takenAt, disks, paths, isBelated }];
  if (kind === 'internal') return;
  for (const disk of taken) {
    disk.layers = [...disk.layers, disk.path];
    disk.path = `/vms/${vm.name}-${disk.target}-${name}-${now}.qcow2`;
  }
};

/** What was written since the snapshot goes down into the layer that it froze. */
const merge = (vm: ModelVm, snapshot: ModelSnapshot): void => {
  vm.snapshots = vm.snapshots.filter((one) => one !== snapshot);
  if (snapshot.kind === 'internal') return;
  for (const disk of vm.disks) {
    const frozen = snapshot.paths.get(disk.target);
    const chain = [...disk.layers, disk.path];
    const at = frozen === undefined ? -1 : chain.indexOf(frozen);
    if (at < 0) continue;
    chain.splice(at + 1, 1);
    disk.path = chain.at(-1) ?? disk.path;
    disk.layers = chain.slice(0, -1);
  }
};
