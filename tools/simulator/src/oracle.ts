import { type RunItemId } from '@casvault/contracts';
import { attemptIdOf } from '@casvault/scheduler/machine';
import {
  removedIds,
  type DeletionState,
  type ProtectionState,
  type RestoreState,
  type VerificationState,
} from '@casvault/snapshot-engine/machine';
import { type DiskServices } from './disk-service.js';
import { type Attempt } from './engine.js';
import { type ModelDisk, type ModelPlatform, type ModelVm } from './platform.js';
import { type ModelManifest, type ModelPool } from './pool.js';
import { type Databases, type Step } from './services.js';
import { RollbackOracle } from './rollback-oracle.js';
import { type World } from './world.js';

export interface Observed {
  readonly world: World;
  readonly platform: ModelPlatform;
  readonly disks: DiskServices;
  readonly pool: ModelPool;
  readonly isShutDown: (vm: ModelVm) => boolean;
}

/** What the engine knows the attempts at an item by. */
const attemptsOf = (itemId: RunItemId, count: number): RunItemId[] =>
  Array.from({ length: count }, (_, before) => attemptIdOf(itemId, before + 1));

const ends: readonly unknown[] = ['succeeded', 'skipped', 'failed', 'stopped', 'deleted', 'sound', 'damaged'];
const isOver = (state: unknown): boolean => ends.includes(state) || state === 'partly failed';
const isAtWork = (phase: string | undefined): boolean => phase !== undefined && !isOver(phase);

/** What must hold: at every step, when all has settled, and when all has been cleaned. */
export class Oracle {
  readonly #o: Observed;
  readonly #ended = new Map<string, unknown>();
  /** Points that were ever told to be available. */
  readonly #promised = new Map<string, ModelManifest>();
  /** Points that a confirmed deletion lists. */
  readonly #condemned = new Set<string>();
  readonly #rollbacks: RollbackOracle;
  #databases: Databases | null = null;

  constructor(observed: Observed) {
    this.#o = observed;
    observed.pool.onPut = (manifest) => this.#onPut(manifest);
    observed.pool.onRemove = (pointId) => this.#onRemove(pointId);
    this.#rollbacks = new RollbackOracle(observed.world, observed.platform, observed.isShutDown);
  }

  onRollbackWrite(transferId: string, disk: ModelDisk): void {
    if (this.#databases) this.#rollbacks.onWrite(transferId, disk, this.#databases);
  }

  /** At every step of every machine. */
  onStep(step: Step, databases: Databases): void {
    const { kind, id, after } = step;
    this.#databases = databases;
    // A deletion that failed can be confirmed again.
    if (kind !== 'deletion') this.#oneEnd(kind, id, after);
    if (kind === 'run') this.#limits(id, databases);
    if (kind === 'protection') {
      this.#available(after as ProtectionState);
      this.#undone(step.before as ProtectionState | null, after as ProtectionState);
      this.#rollbacks.onProtection(step);
    }
    if (kind === 'rollback')
      this.#rollbacks.onRollback(step, this.#promised.get((after as RestoreState).request.pointId));
    if (kind === 'restore') this.#onRestore(after as RestoreState);
    if (kind === 'deletion') this.#onDeletion(step);
    if (kind === 'verification') {
      this.#onVerification(after as VerificationState);
      const { runId } = (after as VerificationState).request;
      if (runId !== undefined) this.#limits(runId, databases);
    }
    if (kind === 'protection' || kind === 'restore' || kind === 'rollback') {
      const { runId } = (after as ProtectionState | RestoreState).request;
      this.#limits(runId, databases);
    }
  }

  /** G1: what the user confirmed was what the list showed when it was ready. */
  #onDeletion({ before, after }: Step): void {
    const { phase, request } = after as DeletionState;
    if (phase === 'deleted')
      for (const id of removedIds(request.list))
        this.#require(!this.#o.pool.manifests.has(id), () => `deletion ended before point ${id} was removed`);
    if (phase !== 'deleting' || (before as DeletionState).phase === 'deleting') return;
    for (const { id } of request.list.points) this.#condemned.add(id);
  }

  /** The platform is left as it was found, or what is left is told. */
  #undone(before: ProtectionState | null, after: ProtectionState): void {
    const { phase, platform, fault, request } = after;
    const { itemId, vmId } = request;
    if (!platform || !isOver(phase) || isOver(before?.phase) || fault?.details['left'] !== undefined) return;
    const vm = this.#o.platform.byId(vmId);
    const name = `casvault-${itemId}`;
    const isThere = vm?.snapshots.some((one) => one.name === name && !one.isBelated);
    this.#require(isThere !== true, () => `protection ${itemId} is ${phase}, yet its snapshot is there`);
    const isUp = vm?.power === 'running' || vm?.wantedPower !== 'running' || this.#o.isShutDown(vm);
    this.#require(isUp, () => `protection ${itemId} is ${phase}, yet VM ${vm?.name} is off`);
  }

  /** It removes what it made itself: the reconciler is for what nobody can know of. */
  #onRestore({ phase, vm, request: { itemId } }: RestoreState): void {
    if (vm !== 'gone' || !isOver(phase)) return;
    const isThere = this.#o.platform.vms.some(({ marker }) => marker === itemId);
    this.#require(!isThere, () => `restore ${itemId} is ${phase} and says that its VM is gone`);
  }

  /** E8: nothing here damages what lies in a pool. */
  #onVerification({ phase, request: { verificationId, pointId } }: VerificationState): void {
    this.#require(phase !== 'damaged', () => `verification ${verificationId} finds point ${pointId} damaged`);
  }

  #onRemove(pointId: string): void {
    if (!this.#promised.has(pointId)) return;
    this.#require(
      this.#condemned.has(pointId),
      () => `the available point ${pointId} was removed, and nobody confirmed that`,
    );
    const users = this.#databases ? usersOf(pointId, this.#databases) : [];
    this.#require(users.length === 0, () => `point ${pointId} was removed while ${users.join(', ')}`);
  }

  /** G2: what lies in a pack already is never read again, so that a crash costs the pack in the making. */
  onAttempt({ capture, writerId, wanted }: Attempt): (blocks: number) => void {
    const earlier = this.#writersBefore(writerId);
    const stored = [...this.#o.pool.packs.values()].filter(
      (pack) => pack.capture === capture && earlier.has(pack.writerId),
    );
    // Two workers may have stored the same block: one whose lease is over, and the one after it.
    const held = new Set(stored.flatMap(({ blocks }) => blocks.map(({ disk, block }) => `${disk} ${block}`)));
    const allowed = wanted - held.size;
    let read = 0;
    return (blocks) => {
      read += blocks;
      this.#require(
        read <= Math.max(0, allowed),
        () => `${read} blocks of ${capture} read, ${allowed} were left`,
      );
    };
  }

  /** Of its transfer. One that lost its lease long ago cannot know what those after it stored. */
  #writersBefore(writerId: string): ReadonlySet<string> {
    for (const { writers, claim } of this.#databases?.transfers.transfers.values() ?? []) {
      const all = [...writers.map((past) => past.writerId), claim?.writerId];
      const at = all.findIndex((one) => one === writerId);
      if (at >= 0) return new Set(all.slice(0, at).filter((one) => one !== undefined));
    }
    return new Set();
  }

  /** G2, first half: everything that was begun has come to its end. */
  settled(databases: Databases): readonly string[] {
    const { protections, restores, rollbacks, deletions, verifications, transfers } = databases;
    const open: string[] = [];
    for (const { id, state } of databases.scheduler.runs.values())
      if (!isOver(state)) open.push(`run ${id} is ${state}`);
    for (const [kind, machines] of Object.entries({ protections, restores, rollbacks, verifications }))
      for (const [id, { phase }] of machines) if (!isOver(phase)) open.push(`${kind}: ${id} is ${phase}`);
    for (const [id, { phase }] of deletions)
      if (phase === 'measuring' || phase === 'deleting') open.push(`deletion ${id} is ${phase}`);
    for (const [id, { state, request }] of transfers.transfers)
      if (!isOver(state)) open.push(`${request.spec.kind} ${id} is ${state}`);
    return open;
  }

  /** G2, second half: the points are right, and nothing of ours is left on the platform. */
  clean(databases: Databases): void {
    for (const state of databases.protections.values()) this.#point(state);
    for (const state of databases.restores.values()) this.#restored(state);
    for (const state of databases.deletions.values()) this.#deleted(state, databases);
    for (const { id } of databases.scheduler.runs.values()) this.#run(id, databases);
    for (const { opening, vm } of this.#o.disks.openings)
      this.#require(false, () => `opening ${opening.openingId} of ${vm.name} is left`);
    for (const vm of this.#o.platform.vms) this.#vm(vm, databases);
    for (const [id, puts] of this.#o.pool.everPut)
      this.#require(puts === 1, () => `${puts} manifests were put for point ${id}`);
  }

  #require(holds: boolean, what: () => string): void {
    this.#o.world.require(holds, what);
  }

  #oneEnd(kind: string, id: string, after: unknown): void {
    const { state, phase } = after as { state?: unknown; phase?: unknown };
    const now = state ?? phase;
    const key = `${kind} ${id}`;
    const before = this.#ended.get(key);
    this.#require(
      before === undefined || before === now,
      () => `${key} ended as ${String(before)}, then as ${String(now)}`,
    );
    if (isOver(now)) this.#ended.set(key, now);
  }

  #limits(runId: string, databases: Databases): void {
    const run = databases.runStates.get(runId);
    if (!run) return;
    const { parallel } = run;
    const items = databases.scheduler.itemsOf(runId);
    const atWork = items.filter(
      ({ id, attempt }) =>
        run.running.some(({ itemId }) => itemId === id) ||
        attemptsOf(id as RunItemId, attempt).some((one) => isAtWork(databases.phaseOf(one))),
    );
    this.#require(
      atWork.length <= parallel.vms,
      () => `${atWork.length} VMs at once, ${parallel.vms} allowed`,
    );
    for (const host of new Set(atWork.map((item) => item.host))) {
      const there = atWork.filter((item) => item.host !== null && item.host === host).length;
      this.#require(
        there <= parallel.vmsPerHost,
        () => `${there} VMs at once on a host, ${parallel.vmsPerHost} allowed`,
      );
    }
  }

  #available({ ids, pointState }: ProtectionState): void {
    if (pointState !== 'available' || this.#condemned.has(ids.pointId)) return;
    const manifest = this.#o.pool.manifests.get(ids.pointId);
    if (manifest) this.#promised.set(ids.pointId, manifest);
    this.#require(
      manifest !== undefined,
      () => `point ${ids.pointId} is available, yet the pool has no manifest of it`,
    );
  }

  /** Every disk of the point shows one instant: that of its capture. */
  #onPut(manifest: ModelManifest): void {
    const problem = this.#difference(manifest);
    this.#require(problem === null, () => `point ${manifest.pointId} as committed: ${problem}`);
  }

  #difference(manifest: ModelManifest): string | null {
    for (const { target, diskId, map } of manifest.disks) {
      for (const place of map)
        if (place && !this.#o.pool.packs.has(place.pack)) return `pack ${place.pack} of ${target} is gone`;
      const vm = this.#o.platform.vms.find(({ disks }) => disks.some((disk) => disk.diskId === diskId));
      const instants = this.#o.disks.captured.get(vm?.uuid ?? '') ?? [];
      const same = instants.filter(({ openedAt }) => openedAt === manifest.capturedAt);
      if (same.length === 0) return `nothing of ${target} was captured at ${manifest.capturedAt}`;
      const contents = map.map((place) => place?.content ?? 0).join();
      if (!same.some(({ disks }) => disks.get(target)?.join() === contents))
        return `${target} is not what it was at ${manifest.capturedAt}`;
    }
    return null;
  }

  /** G1: the list is gone, from the pool and the catalogue, and nothing stands on it. */
  #deleted({ request, phase }: DeletionState, { catalogue }: Databases): void {
    if (phase !== 'deleted') return;
    for (const id of removedIds(request.list)) {
      this.#require(!this.#o.pool.manifests.has(id), () => `the deleted point ${id} is in the pool`);
      this.#require(!catalogue.points.has(id), () => `the deleted point ${id} is in the catalogue`);
      for (const { point } of catalogue.points.values())
        this.#require(
          point.parentPointId !== id,
          () => `point ${point.id} stands on ${id}, which is deleted`,
        );
    }
  }

  #point({ ids, pointState, phase }: ProtectionState): void {
    if (this.#condemned.has(ids.pointId)) return;
    const manifest = this.#o.pool.manifests.get(ids.pointId);
    if (pointState !== 'available') {
      this.#require(
        manifest === undefined,
        () => `point ${ids.pointId} is ${pointState}, yet the pool has it`,
      );
      this.#require(phase !== 'succeeded', () => `item succeeded without its point ${ids.pointId}`);
      return;
    }
    this.#require(
      manifest === this.#promised.get(ids.pointId),
      () => `point ${ids.pointId} was lost or altered`,
    );
    const problem = manifest ? this.#difference(manifest) : 'no manifest';
    this.#require(problem === null, () => `point ${ids.pointId}: ${problem}`);
  }

  #restored({ request, phase, restoredVmId, reasons }: RestoreState): void {
    const { platform } = this.#o;
    const { itemId, target, pointId } = request;
    if ('kind' in target) throw new TypeError('the simulation creates no volumes');
    const vm = platform.vms.find(({ marker }) => marker === itemId || marker === `was ${itemId}`);
    if (phase !== 'succeeded') {
      this.#require(vm === undefined, () => `restore ${itemId} is ${phase}, yet its VM is there`);
      return;
    }
    this.#require(
      vm !== undefined && vm.vmId === restoredVmId,
      () => `restore ${itemId} succeeded without its VM`,
    );
    const asked = target.powerOn && !reasons.includes('POWER_ON_FAILED') ? 'running' : 'stopped';
    this.#require(vm?.power === asked, () => `the restored VM is ${vm?.power}, ${asked} was asked`);
    for (const { target: disk, map } of this.#promised.get(pointId)?.disks ?? []) {
      const there = vm?.disks.find((one) => one.target === disk)?.blocks.join();
      const wanted = map.map((place) => place?.content ?? 0).join();
      this.#require(there === wanted, () => `restore ${itemId}: ${disk} is not what the point has`);
    }
  }

  #run(id: string, databases: Databases): void {
    const { scheduler, runStates } = databases;
    const run = runStates.get(id);
    const items = scheduler.itemsOf(id);
    const total = Object.values(run?.ended ?? {}).reduce((sum, count) => sum + count, 0);
    this.#require(total === items.length, () => `run ${id} counts ${total} ends of ${items.length} items`);
    for (const { id: itemId, attemptId, attempt, state, phase: told } of items) {
      const phase = databases.phaseOf(attemptId);
      const isStopped = state === 'stopped';
      const agrees = phase === undefined ? isStopped : phase === state || (isStopped && phase === told);
      this.#require(agrees, () => `item ${itemId} is ${state} for the scheduler, ${phase} for the engine`);
      for (const earlier of attemptsOf(itemId as RunItemId, attempt - 1))
        this.#require(
          databases.phaseOf(earlier) === 'failed',
          () => `item ${itemId} was tried again after ${databases.phaseOf(earlier)}`,
        );
    }
  }

  #vm(vm: ModelVm, { protections }: Databases): void {
    const { name, marker, power, wantedPower, snapshots, disks } = vm;
    const isRestored = marker?.startsWith('was ') === true;
    this.#require(marker === null || isRestored, () => `the half-made VM ${name} is left`);
    this.#require(
      isRestored || wantedPower === null || power === wantedPower,
      () => `VM ${name} is ${power}, it was ${wantedPower}`,
    );
    const ours = snapshots.filter((snapshot) => snapshot.name.startsWith('casvault-'));
    this.#require(ours.length === 0, () => `snapshot ${ours[0]?.name} of ${name} is left`);
    const available = [...protections.values()].filter(({ pointState }) => pointState === 'available');
    for (const { target, bitmaps } of disks) {
      this.#require(
        bitmaps.size <= 1,
        () =>
          `D6: ${bitmaps.size} checkpoints of ${name} ${target} are left: ${[...bitmaps.keys()].join(', ')}`,
      );
      const lost = [...bitmaps.keys()].filter(
        (checkpoint) => !available.some(({ ids }) => checkpoint === `casvault-${ids.pointId}`),
      );
      this.#require(
        lost.length === 0,
        () => `checkpoint ${lost[0]} of ${name} ${target} belongs to no point`,
      );
    }
  }
}

/** Who reads or extends a point now (G2). */
const usersOf = (pointId: string, databases: Databases): string[] => {
  const { protections, restores, rollbacks, verifications } = databases;
  const readers = [...restores.values(), ...rollbacks.values()]
    .filter(({ request, transfer, phase }) => request.pointId === pointId && transfer && !isOver(phase))
    .map(({ request }) => `item ${request.itemId} read it`);
  const extending = [...protections.values()]
    .filter(({ plan, phase }) => plan?.spec.parentPointId === pointId && !isOver(phase))
    .map(({ request }) => `item ${request.itemId} extended it`);
  const verifying = [...verifications.values()]
    .filter(({ request, source, phase }) => request.pointId === pointId && source && !isOver(phase))
    .map(({ request }) => `verification ${request.verificationId} read it`);
  return [...readers, ...extending, ...verifying];
};
