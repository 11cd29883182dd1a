import { type ProtectionState, type RollbackState } from '@casvault/snapshot-engine/machine';
import { type ModelDisk, type ModelPlatform, type ModelVm } from './platform.js';
import { type ModelManifest } from './pool.js';
import { type Databases, type Step } from './services.js';
import { type World } from './world.js';

/** What must hold of roll-backs (F8) and of what follows them (R14). */
export class RollbackOracle {
  readonly #world: World;
  readonly #platform: ModelPlatform;
  readonly #isShutDown: (vm: ModelVm) => boolean;
  /** Items that changed a disk, and when they did last. */
  readonly #wrote = new Map<string, { readonly vm: ModelVm; readonly at: number }>();
  /** Of the VM of an item when it began to be written, and when that was. */
  readonly #beforeWrites = new Map<string, { readonly generation: number; readonly at: number }>();
  /** When a VM was last changed by a roll-back. */
  readonly #changedAt = new Map<string, number>();
  /** When a VM was left off last, by a roll-back that was interrupted. */
  readonly #leftOffAt = new Map<string, number>();
  readonly #begunAt = new Map<string, number>();
  readonly #madeAt = new Map<string, number>();

  /** `isShutDown`: by an item that has not given the VM back. */
  constructor(world: World, platform: ModelPlatform, isShutDown: (vm: ModelVm) => boolean) {
    this.#world = world;
    this.#platform = platform;
    this.#isShutDown = isShutDown;
  }

  /** Right before a disk is changed: its VM is off, marked, and the roll-back is under way. */
  onWrite(transferId: string, disk: ModelDisk, { rollbacks, catalogue }: Databases): void {
    const state = [...rollbacks.values()].find((one) => one.transferId === transferId);
    const vm = this.#platform.vms.find(({ disks }) => disks.includes(disk));
    if (!state || !vm) return this.#require(false, () => `nobody rolls back by transfer ${transferId}`);
    const { itemId } = state.request;
    this.#wrote.set(itemId, { vm, at: this.#world.time.now });
    this.#changedAt.set(vm.vmId, this.#world.time.now);
    this.#require(vm.power === 'stopped', () => `roll-back ${itemId} writes while VM ${vm.name} runs`);
    const isMarked = catalogue.marks.get(vm.vmId)?.has(itemId) === true;
    this.#require(isMarked, () => `R14: roll-back ${itemId} writes before VM ${vm.name} is marked`);
  }

  onRollback({ before, after }: Step, manifest: ModelManifest | undefined): void {
    const { phase } = after as RollbackState;
    if (before === null) this.#begunAt.set((after as RollbackState).request.itemId, this.#world.time.now);
    if (phase === (before as RollbackState | null)?.phase) return;
    const state = after as RollbackState;
    if (phase === 'transferring') {
      const generation = this.#vm(state.vmId)?.generation ?? 0;
      this.#beforeWrites.set(state.request.itemId, { generation, at: this.#world.time.now });
    }
    if (phase === 'finishing' || phase === 'succeeded') this.#isBack(state, manifest);
    if (phase === 'succeeded') this.#succeeded(state);
    if (phase === 'failed' || phase === 'stopped') this.#interrupted(state);
  }

  /** R14: what begins after a roll-back stands on nothing from before it. */
  onProtection({ id, before, after }: Step): void {
    const { now } = this.#world.time;
    const { request, plan, ids, pointState } = after as ProtectionState;
    const was = before as ProtectionState | null;
    if (!was) this.#begunAt.set(id, now);
    if (pointState === 'available' && was?.pointState !== 'available') this.#madeAt.set(ids.pointId, now);
    const parent = plan?.spec.parentPointId;
    if (was?.plan || !parent) return;
    const changedAt = this.#changedAt.get(request.vmId) ?? -1;
    const isOver = changedAt > (this.#madeAt.get(parent) ?? 0) && changedAt < (this.#begunAt.get(id) ?? 0);
    this.#require(!isOver, () => `R14: backup ${id} stands on point ${parent} of before a roll-back`);
  }

  #isBack({ request: { itemId }, spec, vmId }: RollbackState, manifest: ModelManifest | undefined): void {
    const vm = this.#vm(vmId);
    const before = this.#beforeWrites.get(itemId);
    const others = [...this.#wrote].filter(([id, one]) => id !== itemId && one.vm === vm);
    // Once it has run again its guest has written, and another roll-back has its own point.
    if (!before || vm?.generation !== before.generation || others.some(([, { at }]) => at >= before.at))
      return;
    for (const { target } of spec?.disks ?? []) {
      const map = manifest?.disks.find((one) => one.target === target)?.map;
      const there = vm?.disks.find((one) => one.target === target)?.blocks;
      const isSame = map?.every((place, block) => (place?.content ?? 0) === there?.[block]);
      this.#require(isSame === true, () => `roll-back ${itemId}: ${target} is not what the point has`);
    }
  }

  #succeeded(state: RollbackState): void {
    const { request, vmId, wasRunning, reasons } = state;
    const vm = this.#vm(vmId);
    if (!vm) return;
    const wanted = wasRunning || request.target.startAfter;
    // Another one on the same VM was interrupted meanwhile: whoever was to start it leaves that to its user.
    const begunAt = this.#begunAt.get(request.itemId) ?? 0;
    if ((this.#leftOffAt.get(vm.vmId) ?? -1) >= begunAt) {
      vm.wantedPower = null;
      return;
    }
    const isOff = reasons.includes('POWER_ON_FAILED');
    if (isOff) vm.wantedPower = null;
    else if (wanted && vm.wantedPower !== null) vm.wantedPower = 'running';
    const isTaken = this.#isShutDown(vm);
    this.#require(
      !wanted || isOff || isTaken || vm.power === 'running',
      () => `roll-back ${request.itemId} succeeded, yet VM ${vm.name} is off`,
    );
  }

  /** A VM that was, or may have been, written is left off, and the fault says which disks are not whole; any other is as it was. */
  #interrupted({ request: { itemId }, vmId, fault, writtenSince }: RollbackState): void {
    const vm = this.#vm(vmId);
    if (fault?.details['leftOff'] === true && vm) vm.wantedPower = null;
    if (writtenSince !== null && vm) {
      vm.wantedPower = 'stopped';
      this.#leftOffAt.set(vm.vmId, this.#world.time.now);
    }
    if (!this.#wrote.has(itemId)) return;
    this.#require(writtenSince !== null, () => `roll-back ${itemId} wrote and says that it did not`);
    const told = fault?.details['unfinishedDisks'];
    this.#require(typeof told === 'string', () => `roll-back ${itemId} does not say what its disks hold`);
  }

  #vm(vmId: string | null): ModelVm | undefined {
    return this.#platform.vms.find((vm) => vm.vmId === vmId);
  }

  #require(holds: boolean, what: () => string): void {
    this.#world.require(holds, what);
  }
}
