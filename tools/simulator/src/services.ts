import { type Logger, type RunId } from '@casvault/contracts';
import {
  TransferHandlers,
  Transfers,
  WorkerHandlers,
  type TransferState,
} from '@casvault/data-mover/machine';
import { handlersOf, type Handler } from '@casvault/messaging';
import { RunHandlers, Runs, type RunState } from '@casvault/scheduler/machine';
import {
  ItemHandlers,
  Items,
  type ProtectionState,
  type RestoreState,
} from '@casvault/snapshot-engine/machine';
import { type Bus } from './bus.js';
import { ModelInventory, type Installation } from './inventory.js';
import { MachineRows } from './machine-rows.js';
import { type SimProcess } from './process.js';
import { CatalogueRows, SchedulerRows, TransferRows } from './rows.js';
import { type World } from './world.js';

export interface Step {
  readonly kind: string;
  readonly id: string;
  readonly before: unknown;
  readonly after: unknown;
}

/** What the databases of all services hold: it outlives every process. */
export class Databases {
  readonly scheduler = new SchedulerRows();
  readonly catalogue = new CatalogueRows();
  readonly transfers = new TransferRows();
  readonly runs: MachineRows;
  readonly items: MachineRows;
  readonly controller: MachineRows;
  /** Present states by kind and id. */
  readonly protections = new Map<string, ProtectionState>();
  readonly restores = new Map<string, RestoreState>();
  readonly runStates = new Map<string, RunState>();

  constructor(world: World, onStep: (step: Step) => void) {
    const traced = (step: Step) => {
      world.trace(step.kind, `${step.id} ${told(step.before)} -> ${told(step.after)}`);
      onStep(step);
    };
    this.runs = new MachineRows(world, ({ now, ...step }) => {
      this.runStates.set(step.id, step.after as RunState);
      this.scheduler.project(step.id, step.before as RunState | null, step.after as RunState, now);
      traced(step);
    });
    this.items = new MachineRows(world, (step) => {
      if (step.kind === 'protection') {
        this.protections.set(step.id, step.after as ProtectionState);
        this.catalogue.project(step.after as ProtectionState);
      }
      if (step.kind === 'restore') this.restores.set(step.id, step.after as RestoreState);
      traced(step);
    });
    this.controller = new MachineRows(world, (step) => {
      this.transfers.transfers.set(step.id, step.after as TransferState);
      traced(step);
    });
  }
}

const textOf = (value: unknown): string =>
  typeof value === 'string' || typeof value === 'number' ? `${value}` : '';

const told = (state: unknown): string => {
  if (state === null) return 'none';
  const { state: name, phase, vm, pointState, epoch } = state as Record<string, unknown>;
  return [name ?? phase, vm, pointState, epoch].map(textOf).filter(Boolean).join('/');
};

const errorOf = (fields: object): string => {
  const { err } = fields as { err?: unknown };
  if (err === undefined) return '';
  return err instanceof Error
    ? `${err.name} ${err.message} ${textOf((err.cause as Error | undefined)?.stack)}`
    : 'error';
};

/** Errors that a service logs are bugs of ours; everything else goes to the trace. */
export const loggerOf = ({ world, name }: SimProcess): Logger => {
  const line = (fields: object, message: string) => world.trace(name, `${message} ${errorOf(fields)}`);
  return {
    debug: () => undefined,
    info: () => undefined,
    warn: line,
    error: (fields, message) => {
      line(fields, message);
      world.require(false, () => `${name} logs an error: ${message} ${errorOf(fields)}`);
    },
  };
};

const bySubject = (handlers: readonly Handler[]): ReadonlyMap<string, Handler> =>
  new Map(handlers.map((handler) => [handler.contract.subject, handler]));

export interface Parts {
  readonly bus: Bus;
  readonly databases: Databases;
  readonly installation: Installation;
}

const noPages = () => Promise.reject(new TypeError('nobody looks at pages here'));

/** Starts a process of the scheduler; returns what a user can ask of it. */
export const startScheduler = (
  process: SimProcess,
  { bus, databases }: Parts,
): { begin: (runId: RunId) => Promise<void>; stop: (runId: RunId) => Promise<void> } => {
  const rows = databases.scheduler.of(process);
  const { clock } = process;
  const runs = new Runs({
    world: { client: bus.clientOf(process), runs: rows, items: rows, clock },
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

export const startSnapshotEngine = (process: SimProcess, { bus, databases }: Parts): void => {
  const items = new Items({
    world: {
      client: bus.clientOf(process),
      points: databases.catalogue.of(process),
      history: databases.catalogue.historyOf(process),
    },
    machines: databases.items.of(process),
    clock: process.clock,
    logger: loggerOf(process),
  });
  items.start();
  const handlers = handlersOf(new ItemHandlers(items, { transferChanged: () => Promise.resolve(false) }));
  bus.subscribe({ process, service: 'snapshot-engine', handlers: bySubject(handlers) });
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
  const handlers = new ModelInventory(installation, process).handlers();
  bus.subscribe({ process, service: 'inventory', handlers: bySubject(handlers) });
};
