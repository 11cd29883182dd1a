import {
  Fault,
  type Clock,
  type HookChanged,
  type ItemChanged,
  type Logger,
  type RunId,
} from '@casvault/contracts';
import { MachineRuntime, type MachineStore } from '@casvault/machine';
import { PostgresMachineStore, type ProjectedStep } from '@casvault/persistence';
import { type DataSource } from 'typeorm';
import { type RunBroadcast } from './run-broadcast.js';
import { endOfHook } from './run-hook.js';
import { performRun, runLane, type RunWorld } from './run.effects.js';
import { runMachine, type RunEffect, type RunEvent } from './run.machine.js';
import { hasItsTurn, isTerminal, type RunState } from './run.js';
import { type RunStore } from './run-store.js';

/** Runs whose beginning was lost are looked for so often, and taken when older than this. */
const reconcileEveryMs = 10_000;
const reconcileBatch = 100;

export interface RunsOptions {
  readonly world: RunWorld;
  /** R15: by group. */
  readonly groupRuns: ReadonlyMap<string, number>;
  readonly broadcast: Pick<RunBroadcast, 'changed'>;
  readonly machines: MachineStore;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Where they are kept; what queries see of them is written with each step. */
export const runMachines = (database: DataSource, runs: RunStore): MachineStore =>
  new PostgresMachineStore(database, {
    project: (tx, step) => runs.project(tx, step as ProjectedStep<RunState>),
  });

/** The run machines, and what brings them their events. */
export class Runs {
  readonly #o: RunsOptions;
  readonly #runtime: MachineRuntime<RunState, RunEvent, RunEffect>;
  readonly #stopping = new AbortController();
  #reconciling: Promise<void> = Promise.resolve();

  constructor(options: RunsOptions) {
    this.#o = options;
    const { world, machines: store, clock, logger } = options;
    const perform = performRun(world);
    this.#runtime = new MachineRuntime({
      machine: runMachine,
      store,
      perform,
      lane: runLane,
      story: ({ state, ended }) => (isTerminal(state) ? { state, ended } : { state }),
      clock,
      logger,
    });
  }

  start(): void {
    this.#runtime.start();
    this.#reconciling = this.#reconcile(this.#stopping.signal);
  }

  async drain(): Promise<void> {
    this.#stopping.abort();
    await this.#reconciling;
    await this.#runtime.drain();
  }

  /** Sets the run in motion when it has its turn (R15), else it stays queued; its rows are there. Does nothing the second time. */
  async begin(runId: RunId): Promise<void> {
    const { groupRuns, world } = this.#o;
    if (groupRuns.size > 0) {
      const { group, olderRuns } = await world.runs.queue(runId);
      if (!hasItsTurn(olderRuns, groupRuns.get(group))) return;
    }
    try {
      await this.#begin(runId, false);
    } catch (error) {
      // Another took the last turn of the group at the same time.
      if (Fault.from(error).code !== 'CONFLICT') throw error;
    }
  }

  /** NOT_FOUND when there is no such run; nothing for one that is over before it began. */
  async stop(runId: RunId): Promise<void> {
    if (!(await this.#runtime.read(runId))) await this.#begin(runId, true);
    if (!(await this.#runtime.read(runId))) return;
    await this.#runtime.deliver(runId, { type: 'stop' });
    await this.#beginWaiting();
  }

  async #begin(runId: RunId, isStopped: boolean): Promise<void> {
    const beginning = await this.#o.world.runs.beginning(runId);
    if (beginning) await this.#runtime.deliver(runId, { type: 'begin', ...beginning, isStopped });
  }

  /** What may have its turn now; without limits nothing waits for one. */
  async #beginWaiting(): Promise<void> {
    const { groupRuns, world, clock } = this.#o;
    if (groupRuns.size === 0) return;
    for (const runId of await world.runs.notBegun(clock.now(), reconcileBatch)) await this.begin(runId);
  }

  /** Progress is written to the item's row; only its end concerns the machine. */
  async itemChanged(change: ItemChanged): Promise<void> {
    const { world, broadcast, clock } = this.#o;
    const known = await world.items.record(change, clock.now());
    if (!known) return;
    broadcast.changed(change.runId);
    if (!known.end) return;
    await this.#runtime.deliver(change.runId, { type: 'heard', at: change.at, ...known });
    await this.#beginWaiting();
  }

  /** What is known of a hook is written to its row; the machine is told each time, so that it knows that somebody is there. */
  async hookChanged(change: HookChanged): Promise<void> {
    const { world, broadcast, clock } = this.#o;
    const { runId, hook } = change;
    if (!(await world.hooks.record(change, clock.now()))) return;
    broadcast.changed(runId);
    const end = endOfHook(change);
    await this.#runtime.deliver(runId, { type: 'hookHeard', hook, end });
    if (end) await this.#beginWaiting();
  }

  async #reconcile(stopping: AbortSignal): Promise<void> {
    const { world, clock, logger } = this.#o;
    while (!stopping.aborted) {
      try {
        const before = new Date(clock.now().getTime() - reconcileEveryMs);
        for (const runId of await world.runs.notBegun(before, reconcileBatch)) await this.begin(runId);
      } catch (error) {
        logger.warn({ err: error }, 'runs not reconciled, trying again');
      }
      await clock.sleep(reconcileEveryMs, stopping);
    }
  }
}
