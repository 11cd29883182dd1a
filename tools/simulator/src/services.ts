import {
  listLiveItems,
  listNeededCheckpoints,
  listProtectedVms,
  type RunId,
  type RunItemId,
  type VmId,
} from '@casvault/contracts';
import {
  TransferHandlers,
  Transfers,
  WorkerHandlers,
  type TransferState,
} from '@casvault/data-mover/machine';
import { handlersOf, type Handler } from '@casvault/messaging';
import { RunHandlers, Runs, type RunState } from '@casvault/scheduler/machine';
import {
  Deletions,
  itemPhaseOf,
  ItemHandlers,
  Items,
  mayHaveWritten,
  type DeletionState,
  type ProtectionState,
  type RestoreState,
  type RollbackState,
  Verifications,
  type VerificationState,
} from '@casvault/snapshot-engine/machine';
import { type Bus } from './bus.js';
import { CatalogueRows } from './catalogue.js';
import { handler, ModelInventory, type Installation } from './inventory.js';
import { loggerOf } from './logger.js';
import { MachineRows } from './machine-rows.js';
import { type SimProcess } from './process.js';
import { SchedulerRows, TransferRows } from './rows.js';
import { type World } from './world.js';

export interface Step {
  readonly kind: string;
  readonly id: string;
  readonly before: unknown;
  readonly after: unknown;
  readonly now: Date;
}

/** What the databases of all services hold: it outlives every process. */
export class Databases {
  readonly scheduler = new SchedulerRows();
  readonly catalogue = new CatalogueRows((kind, itemId) => this.#isOver(kind, itemId));
  readonly transfers = new TransferRows();
  readonly runs: MachineRows;
  readonly items: MachineRows;
  readonly controller: MachineRows;
  /** Present states by kind and id. */
  readonly protections = new Map<string, ProtectionState>();
  readonly restores = new Map<string, RestoreState>();
  readonly rollbacks = new Map<string, RollbackState>();
  readonly deletions = new Map<string, DeletionState>();
  readonly verifications = new Map<string, VerificationState>();
  readonly runStates = new Map<string, RunState>();

  constructor(world: World, onStep: (step: Step) => void) {
    const traced = (step: Step) => {
      if (world.isTraced) world.trace(step.kind, `${step.id} ${told(step.before)} -> ${told(step.after)}`);
      onStep(step);
    };
    this.runs = new MachineRows(world, (step) => {
      this.runStates.set(step.id, step.after as RunState);
      this.scheduler.project(step.id, step.before as RunState | null, step.after as RunState, step.now);
      traced(step);
    });
    this.items = new MachineRows(world, (step) => {
      this.#itemStepped(step);
      traced(step);
    });
    this.controller = new MachineRows(world, (step) => {
      this.transfers.transfers.set(step.id, step.after as TransferState);
      traced(step);
    });
  }

  /** What an item is doing; undefined: it never began. */
  phaseOf(itemId: string): ItemPhase | undefined {
    const verification = this.verifications.get(itemId);
    if (verification) return itemPhaseOf(verification);
    return (this.protections.get(itemId) ?? this.restores.get(itemId) ?? this.rollbacks.get(itemId))?.phase;
  }

  /** As OwnershipStore answers. */
  ownershipOf(process: SimProcess) {
    const reach = <T>(deed: () => T): Promise<T> =>
      process.call({ name: 'rows', fault: 'store', code: 'DEPENDENCY_UNAVAILABLE' }, deed);
    return {
      liveItems: (ids: readonly RunItemId[]) => reach(() => ids.filter((id) => this.#isLive(id))),
      protectedVms: (ids: readonly VmId[]) => reach(() => ids.filter((id) => this.catalogue.isProtected(id))),
      judgeCheckpoints: (names: readonly string[]) => reach(() => this.catalogue.judgeCheckpoints(names)),
    };
  }

  /** A roll-back that failed over half-written disks leaves its VM off: nobody else starts it. */
  #isLive(itemId: string): boolean {
    const phase = this.phaseOf(itemId);
    const rollback = this.rollbacks.get(itemId);
    if (rollback && rollback.phase !== 'succeeded' && mayHaveWritten(rollback)) return true;
    return phase !== undefined && !ends.includes(phase);
  }

  #itemStepped({ kind, id, before, after, now }: Step): void {
    if (kind === 'protection') {
      this.protections.set(id, after as ProtectionState);
      this.catalogue.protectionStepped(before as ProtectionState | null, after as ProtectionState);
    }
    if (kind === 'restore') this.restores.set(id, after as RestoreState);
    if (kind === 'rollback') {
      this.rollbacks.set(id, after as RollbackState);
      this.catalogue.rollbackStepped(before as RollbackState | null, after as RollbackState, now);
    }
    if (kind === 'verification') this.verifications.set(id, after as VerificationState);
    if (kind === 'deletion') {
      this.catalogue.deletionStepped(before as DeletionState | null, after as DeletionState);
      this.deletions.set(id, after as DeletionState);
    }
  }

  #isOver(kind: string, itemId: string): boolean {
    if (kind === 'verification') return this.verifications.get(itemId)?.phase !== 'running';
    const machines = { protection: this.protections, restore: this.restores, rollback: this.rollbacks };
    const phase = machines[kind as keyof typeof machines].get(itemId)?.phase;
    return phase === undefined || ends.includes(phase);
  }
}

type ItemPhase = ProtectionState['phase'];
const ends: readonly ItemPhase[] = ['succeeded', 'skipped', 'failed', 'stopped'];

const textOf = (value: unknown): string =>
  typeof value === 'string' || typeof value === 'number' ? `${value}` : '';

const told = (state: unknown): string => {
  if (state === null) return 'none';
  const { state: name, phase, vm, pointState, epoch } = state as Record<string, unknown>;
  return [name ?? phase, vm, pointState, epoch].map(textOf).filter(Boolean).join('/');
};

const bySubject = (handlers: readonly Handler[]): ReadonlyMap<string, Handler> =>
  new Map(handlers.map((handler) => [handler.contract.subject, handler]));

export interface Parts {
  readonly bus: Bus;
  readonly databases: Databases;
  readonly installation: Installation;
}

const noPages = () => Promise.reject(new TypeError('nobody looks at pages here'));

const noHook = () => Promise.reject(new TypeError('the simulated jobs have no scripts'));
const noHooks = { asked: noHook, record: noHook, end: noHook };

/** Starts a process of the scheduler; returns what a user can ask of it. */
export const startScheduler = (
  process: SimProcess,
  { bus, databases }: Parts,
): { begin: (runId: RunId) => Promise<void>; stop: (runId: RunId) => Promise<void> } => {
  const rows = databases.scheduler.of(process);
  const { clock } = process;
  const runs = new Runs({
    world: { client: bus.clientOf(process), runs: rows, items: rows, hooks: noHooks, clock },
    groupRuns: new Map(),
    broadcast: { changed: () => undefined },
    machines: databases.runs.of(process),
    clock,
    logger: loggerOf(process),
  });
  runs.start();
  const handlers = handlersOf(new RunHandlers(runs, { page: noPages, detail: noPages }));
  bus.subscribe({ process, service: 'scheduler', handlers: bySubject(handlers) });
  return { begin: (runId) => runs.begin(runId), stop: (runId) => runs.stop(runId) };
};

/** What a user can ask of the catalogue's service. */
export interface CatalogueUser {
  readonly deletions: Deletions;
  readonly verifications: Verifications;
}

/** The simulated jobs copy nothing. */
const noCopies: ConstructorParameters<typeof ItemHandlers>[3] = {
  copy: () => Promise.reject(new TypeError('no copies here')),
  stopItem: () => Promise.resolve(false),
  transferChanged: () => Promise.resolve(false),
};

/** Starts a process of the snapshot engine; returns what a user can ask of it. */
export const startSnapshotEngine = (process: SimProcess, { bus, databases }: Parts): CatalogueUser => {
  const client = bus.clientOf(process);
  const common = {
    machines: databases.items.of(process),
    clock: process.clock,
    logger: loggerOf(process),
  };
  const { catalogue } = databases;
  const history = catalogue.historyOf(process);
  const items = new Items({ ...common, world: { client, points: catalogue.of(process), history } });
  const deletions = new Deletions({
    ...common,
    world: { client, deletions: catalogue.deletionsOf(process) },
  });
  const verifications = new Verifications({
    ...common,
    world: { client, points: catalogue.of(process) },
  });
  for (const machines of [items, deletions, verifications]) machines.start();
  const owned = databases.ownershipOf(process);
  const handlers = [
    ...handlersOf(new ItemHandlers(items, deletions, verifications, noCopies)),
    handler(listLiveItems, async ({ itemIds }) => ({ itemIds: await owned.liveItems(itemIds) })),
    handler(listProtectedVms, async ({ vmIds }) => ({ vmIds: await owned.protectedVms(vmIds) })),
    handler(listNeededCheckpoints, ({ names }) => owned.judgeCheckpoints(names)),
  ];
  bus.subscribe({ process, service: 'snapshot-engine', handlers: bySubject(handlers) });
  return { deletions, verifications };
};

export const startController = (process: SimProcess, { bus, databases }: Parts): void => {
  const client = bus.clientOf(process);
  const store = databases.transfers.of(process);
  const transfers = new Transfers({
    client,
    queue: { publishNudge: (_group, transferId) => bus.publishNudge(process, transferId) },
    machines: databases.controller.of(process),
    store,
    clock: process.clock,
    logger: loggerOf(process),
  });
  transfers.start();
  const handlers = [
    ...handlersOf(new TransferHandlers(transfers, store, client)),
    ...handlersOf(new WorkerHandlers(transfers, { finished: () => undefined })).map((one) =>
      fenced(one, process, databases),
    ),
  ];
  bus.subscribe({ process, service: 'data-mover', handlers: bySubject(handlers) });
};

/** Of two workers with one transfer, one has the present epoch; what the other says must be refused. */
const fenced = (handler: Handler, { world }: SimProcess, { transfers }: Databases): Handler => ({
  ...handler,
  handle: async (payload, context) => {
    const { transferId, epoch } = payload as { transferId: string; epoch?: number };
    const present = transfers.transfers.get(transferId)?.epoch ?? 0;
    const reply = await handler.handle(payload, context);
    const isOutdated = epoch !== undefined && epoch < present;
    world.require(
      !isOutdated,
      () => `transfer ${transferId} took a report under epoch ${epoch}, ${present} was present`,
    );
    return reply;
  },
});

export const startInventory = (process: SimProcess, { bus, installation }: Parts): void => {
  const inventory = new ModelInventory(installation, process, bus.clientOf(process));
  bus.subscribe({ process, service: 'inventory', handlers: bySubject(inventory.handlers()) });
  void inventory.keepClean();
};
