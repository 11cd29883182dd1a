import {
  runKindOf,
  Fault,
  type FaultJson,
  type ItemChanged,
  type JobId,
  type PointId,
  type RunDetail,
  type RunId,
  type RunItemId,
} from '@casvault/contracts';
import { type TransferState, type TransfersOptions } from '@casvault/data-mover/machine';
import { endOf, type AskedItem, type RunsOptions, type RunState } from '@casvault/scheduler/machine';
import { type Edge, type SimProcess } from './process.js';

type RunWorld = RunsOptions['world'];
type ItemRow = AskedItem['row'];
type ItemEnd = NonNullable<ReturnType<typeof endOf>>;

const edge: Edge = { name: 'rows', fault: 'store', code: 'DEPENDENCY_UNAVAILABLE' };

export interface RunRow {
  readonly id: RunId;
  readonly jobId: JobId;
  readonly definition: AskedItem['definition'];
  readonly createdAt: number;
  state: RunState['state'];
}

/** What the scheduler's tables hold, and the statements that its stores make of them. */
export class SchedulerRows {
  readonly runs = new Map<string, RunRow>();
  readonly items: Map<string, ItemRow> = new Map();

  itemsOf(runId: string): ItemRow[] {
    return [...this.items.values()].filter((item) => item.runId === runId);
  }

  /** In the transaction of a step of the run's machine. */
  project(id: string, before: RunState | null, after: RunState, now: Date): void {
    const run = this.runs.get(id);
    if (run) run.state = after.state;
    const were = new Set(before?.running.map(({ itemId }) => itemId));
    for (const { itemId } of after.running) {
      const row = this.items.get(itemId);
      if (row?.state !== 'queued' || were.has(itemId)) continue;
      row.state = 'running';
      row.startedAt = now;
    }
  }

  of(process: SimProcess): RunWorld['runs'] & RunWorld['items'] {
    const reach = <T>(deed: () => T): Promise<T> => process.call(edge, deed);
    return {
      news: (id) => reach(() => this.#detail(id)),
      beginning: (id) =>
        reach(() => ({
          items: this.itemsOf(id).map((row) => ({ itemId: row.id as RunItemId, host: row.host })),
          parallel: this.#run(id).definition.parallel,
        })),
      queue: (id) => reach(() => ({ group: this.#run(id).definition.group, olderRuns: 0 })),
      notBegun: (before) => reach(() => this.#notBegun(before)),
      asked: (id) => reach(() => this.#asked(id)),
      record: (change, now) => reach(() => this.#record(change, now)),
      end: (ids, end, fault, now) => reach(() => ids.forEach((id) => this.#end(id, end, fault, now))),
    };
  }

  #run(id: string): RunRow {
    const run = this.runs.get(id);
    if (!run) throw new Fault('NOT_FOUND', `there is no run ${id}`);
    return run;
  }

  #notBegun(before: Date): RunId[] {
    const queued = [...this.runs.values()].filter(({ state }) => state === 'queued');
    return queued.filter(({ createdAt }) => createdAt < before.getTime()).map(({ id }) => id);
  }

  #asked(id: string): AskedItem {
    const row = this.items.get(id);
    if (!row) throw new Fault('BUG', `there is no item ${id}`);
    const { jobId, id: runId, definition } = this.#run(row.runId);
    return { row: { ...row }, jobId, runId, definition, choice: {} };
  }

  #record(change: ItemChanged, now: Date) {
    const row = this.items.get(change.itemId);
    if (!row) return undefined;
    const end = endOf(change.phase);
    const isNews = row.toldAt === null || row.toldAt < new Date(change.at);
    if (endOf(row.state) === null && isNews) {
      row.state = end ?? 'running';
      row.phase = change.phase;
      row.pointId = change.pointId ?? row.pointId;
      row.restoredVmId = change.restoredVmId;
      row.reasons = change.reasons;
      row.fault = change.fault;
      row.toldAt = new Date(change.at);
      row.finishedAt = end ? now : null;
    }
    row.heardAt = now;
    return endOf(row.state);
  }

  #end(id: string, end: ItemEnd, fault: FaultJson, now: Date): void {
    const row = this.items.get(id);
    if (!row || endOf(row.state)) return;
    Object.assign(row, { state: end, phase: end, fault, finishedAt: now });
  }

  #detail(id: string): RunDetail {
    const { jobId, definition, state } = this.#run(id);
    return {
      id: id as RunId,
      jobId,
      jobName: 'job',
      kind: runKindOf(definition),
      state,
      dueAt: null,
      reasons: [],
      fault: null,
      createdAt: new Date(0).toISOString(),
      startedAt: null,
      finishedAt: null,
      doneBytes: 0,
      storedBytes: 0,
      itemCount: this.itemsOf(id).length,
      items: [],
    };
  }
}

/** The controller's tables. */
export class TransferRows {
  readonly transfers = new Map<string, TransferState>();

  of(process: SimProcess): TransfersOptions['store'] & {
    inUse: (pointIds: readonly PointId[]) => Promise<PointId | null>;
  } {
    const reach = <T>(deed: () => T): Promise<T> => process.call(edge, deed);
    const backups = () =>
      [...this.transfers.values()].filter(({ request: { spec } }) => spec.kind === 'backup');
    return {
      backupsOf: (pointIds) =>
        reach(() =>
          backups()
            .filter(({ request: { spec } }) => spec.kind === 'backup' && pointIds.includes(spec.pointId))
            .map(({ request }) => request.transferId),
        ),
      inUse: (pointIds) => reach(() => pointIds.find((pointId) => this.#uses(pointId)) ?? null),
    };
  }

  #uses(pointId: PointId): boolean {
    return [...this.transfers.values()].some(
      ({ request: { spec }, state }) =>
        spec.kind !== 'removal' && spec.pointId === pointId && (state === 'queued' || state === 'running'),
    );
  }
}
