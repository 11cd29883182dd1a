import {
  newId,
  rollbackTargetSchema,
  transferOptionsSchema,
  type DeletionId,
  type JobId,
  type PointId,
  type Retry,
  type RunId,
  type RunItemId,
  type VerificationId,
  type VmId,
} from '@casvault/contracts';
import { type Installation } from './inventory.js';
import { type Occasions } from './occasions.js';
import { type ModelVm } from './platform.js';
import { type Processes } from './processes.js';
import { type Random } from './random.js';
import { type RunRow } from './rows.js';
import { type Databases } from './services.js';

/** A VM's disks one after the other, each by one connection. */
const oneLane = { disksPerVm: 1, streamsPerDisk: 1 } as const;

export interface UsersParts {
  readonly here: Installation;
  readonly databases: Databases;
  readonly processes: Processes;
  readonly occasions: Occasions;
  readonly random: Random;
  /** Of every backup. */
  readonly retry: Retry;
}

/** What users ask for: runs of all kinds, stops, deletions, verifications and holds. */
export class Users {
  private readonly here: Installation;
  private readonly databases: Databases;
  private readonly processes: Processes;
  private readonly occasions: Occasions;
  private readonly random: Random;
  private readonly retry: Retry;

  constructor({ here, databases, processes, occasions, random, retry }: UsersParts) {
    this.here = here;
    this.databases = databases;
    this.processes = processes;
    this.occasions = occasions;
    this.random = random;
    this.retry = retry;
  }

  backup(): void {
    const { random } = this;
    const vms = this.here.platform.vms.filter(({ marker }) => marker === null);
    const first = vms[0];
    if (!first) return;
    const definition: RunRow['definition'] = {
      kind: 'backup',
      vmIds: [first.vmId],
      hostIds: [],
      excludedVmIds: [],
      poolId: this.here.pool.id,
      group: 'default',
      parallel: { vms: random.whole(1, 3), vmsPerHost: random.whole(1, 2), ...oneLane },
      pointKind: random.pick(['full', 'incremental', 'incremental']),
      cbt: { enable: true, fallback: random.pick(['full', 'skip-alert', 'skip-silent']) },
      powerOff: random.pick([false, true]),
      network: { preferred: 'auto' },
      reserve: { freePercent: null, freeGiB: null },
      retry: this.retry,
      options: transferOptionsSchema.parse({ reconnect: { minutes: random.pick([1, 10]) } }),
    };
    this.#startRun(
      definition,
      vms.map((vm) => ({ vm, host: vm.host.hostId })),
    );
  }

  restore(): void {
    const { random } = this;
    const running = [...this.databases.restores.values()].length;
    const chosen = random.pick(this.databases.catalogue.available);
    const host = random.pick(this.here.platform.hosts);
    if (!chosen || !host || running >= 3) return;
    const target = {
      platformId: this.here.platformId,
      hostId: host.hostId,
      storageName: 'local',
      vmName: `restored-${this.databases.scheduler.items.size}`,
      powerOn: random.chance(0.5),
    };
    const definition: RunRow['definition'] = {
      kind: 'restore',
      items: [{ pointId: chosen.id, target }],
      group: 'default',
      parallel: { vms: 2, vmsPerHost: 2, channels: 2, ...oneLane },
      network: { preferred: 'auto' },
      options: transferOptionsSchema.parse({}),
    };
    this.#startRun(definition, [{ pointId: chosen.id, target, host: host.hostId }]);
  }

  rollBack(): void {
    const { random } = this;
    const point = random.pick(this.databases.catalogue.available);
    const vm = this.here.platform.vms.find(({ vmId }) => vmId === point?.vmId);
    if (!point || !vm || this.databases.rollbacks.size >= 3) return;
    const target = rollbackTargetSchema.parse({ startAfter: random.chance(0.3) });
    const definition: RunRow['definition'] = {
      kind: 'rollback',
      items: [{ pointId: point.id, target }],
      group: 'default',
      parallel: { vms: 2, vmsPerHost: 2, channels: 2, ...oneLane },
      network: { preferred: 'auto' },
      options: transferOptionsSchema.parse({ reconnect: { minutes: random.pick([1, 10]) } }),
    };
    this.#startRun(definition, [{ pointId: point.id, target, host: vm.host.hostId }]);
  }

  /** Previewed, and confirmed as long as it is refused for not being measured yet. */
  delete(): void {
    const { random } = this;
    const point = random.pick(this.databases.catalogue.available);
    if (!point) return;
    const deletionId = newId<DeletionId>();
    const mode = random.pick(['single', 'cascade'] as const);
    const what = random.chance(0.2) ? { chainId: point.chainId } : { pointIds: [point.id] };
    this.here.world.trace('USER', `previews deletion ${deletionId} of ${point.id} (${mode})`);
    this.processes.asKeeper(({ deletions }) => deletions.preview({ deletionId, mode, ...what }, 'user'));
    for (let i = 1; i <= 3; i += 1)
      this.occasions.at(random.whole(3_000, 12_000) * i, () =>
        this.processes.asKeeper(({ deletions }) => deletions.confirm(deletionId, 'user')),
      );
  }

  verify(): void {
    const { random } = this;
    const point = random.pick(this.databases.catalogue.available);
    if (!point) return;
    const depth = random.pick(['stored', 'content'] as const);
    if (random.chance(0.5)) return this.#verifySome(depth);
    const ids = { verificationId: newId<VerificationId>(), pointId: point.id };
    const request = { ...ids, depth, group: 'default' };
    this.processes.asKeeper(({ verifications }) => verifications.verify(request, 'user'));
  }

  /** As items of a run. */
  #verifySome(depth: 'stored' | 'content'): void {
    const definition: RunRow['definition'] = {
      kind: 'verify',
      poolId: this.here.pool.id,
      points: 'all',
      mostPoints: 3,
      depth,
      group: 'default',
      parallel: { points: this.random.whole(1, 2) },
    };
    const points = this.databases.catalogue.available.slice(0, definition.mostPoints);
    this.#startRun(
      definition,
      points.map(({ id: pointId }) => ({ pointId, host: null })),
    );
  }

  hold(): void {
    const { random } = this;
    const point = random.pick(this.databases.catalogue.available);
    const hold = { by: 'user', reason: 'kept', at: '2026-01-01T00:00:00.000Z' };
    if (point) this.databases.catalogue.hold(point.id, random.chance(0.4) ? hold : null);
  }

  #startRun(
    definition: RunRow['definition'],
    items: readonly { vm?: ModelVm; host: string | null; pointId?: PointId; target?: object }[],
  ): void {
    const { scheduler } = this.databases;
    const runId = newId<RunId>();
    this.here.world.trace('USER', `starts ${definition.kind} run ${runId} of ${items.length}`);
    const createdAt =
      Date.parse('2026-01-01T00:00:00Z') + this.here.world.time.now + this.processes.schedulerAheadMs;
    scheduler.runs.set(runId, { id: runId, jobId: newId<JobId>(), definition, createdAt, state: 'queued' });
    for (const [seq, { vm, host, pointId = null, target = null }] of items.entries())
      scheduler.items.set(
        ...itemRow(runId, seq, { vmId: vm?.vmId ?? null, host, pointId, target, kind: definition.kind }),
      );
    this.processes.asUser((user) => user.begin(runId));
    if (this.here.world.faults.strikes('stops'))
      this.occasions.at(this.here.world.faults.of('stops').whole(1_000, 60_000), () => this.#stop(runId));
  }

  #stop(runId: RunId): void {
    this.here.world.trace('USER', `stops run ${runId}`);
    this.processes.asUser((user) => user.stop(runId));
  }
}

const itemRow = (
  runId: RunId,
  seq: number,
  item: {
    vmId: VmId | null;
    host: string | null;
    pointId: PointId | null;
    target: object | null;
    kind: RunRow['definition']['kind'];
  },
) => {
  const id = newId<RunItemId>();
  const row = {
    id,
    runId,
    seq,
    ...item,
    vmName: 'vm',
    restoredVmId: null,
    attempt: 1,
    attemptId: id,
    notBefore: null,
    earlierFault: null,
    state: 'queued' as const,
    phase: null,
    progress: [],
    reasons: [],
    fault: null,
    doneBytes: '0',
    storedBytes: '0',
    toldAt: null,
    heardAt: null,
    startedAt: null,
    finishedAt: null,
  };
  return [id, row as unknown as Parameters<Databases['scheduler']['items']['set']>[1]] as const;
};
