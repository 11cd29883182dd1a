import {
  runKindOf,
  Fault,
  type ItemChanged,
  type JobId,
  type PointId,
  type RunDetail,
  type RunId,
  type RunItemId,
} from '@casvault/contracts';
import { type TransferState, type TransfersOptions } from '@casvault/data-mover/machine';
import {
  attemptIdOf,
  attemptOf,
  endOf,
  itemSteps,
  knownOf,
  parallelOf,
  type AskedItem,
  type RunsOptions,
  type RunState,
} from '@casvault/scheduler/machine';
import { type Edge, type SimProcess } from './process.js';

type RunWorld = RunsOptions['world'];
type ItemRow = AskedItem['row'];
type EndItems = Parameters<RunWorld['items']['end']>[0];

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
    const { retried, admitted } = itemSteps(before, after);
    for (const item of retried) this.#tryAgain(item.itemId, attemptOf(item));
    for (const itemId of admitted) {
      const row = this.items.get(itemId);
      if (row?.state !== 'queued') continue;
      row.state = 'running';
      row.startedAt ??= now;
    }
  }

  #tryAgain(itemId: RunItemId, attempt: number): void {
    const row = this.items.get(itemId);
    if (!row || row.attempt >= attempt) return;
    const fresh = { state: 'queued', phase: null, pointId: null, reasons: [], fault: null } as const;
    const unheard = { toldAt: null, heardAt: null, finishedAt: null };
    const attemptId = attemptIdOf(itemId, attempt);
    Object.assign(row, { ...fresh, ...unheard, earlierFault: row.fault, attempt, attemptId });
  }

  of(process: SimProcess): RunWorld['runs'] & RunWorld['items'] {
    const reach = <T>(deed: () => T): Promise<T> => process.call(edge, deed);
    return {
      news: (id) => reach(() => this.#detail(id)),
      beginning: (id) => reach(() => this.#beginning(id)),
      queue: (id) => reach(() => ({ group: this.#run(id).definition.group, olderRuns: 0 })),
      notBegun: (before) => reach(() => this.#notBegun(before)),
      asked: (id) => reach(() => this.#asked(id)),
      record: (change, now) => reach(() => this.#record(change, now)),
      end: (ends, now) => reach(() => this.#end(ends, now)),
    };
  }

  #run(id: string): RunRow {
    const run = this.runs.get(id);
    if (!run) throw new Fault('NOT_FOUND', `there is no run ${id}`);
    return run;
  }

  #beginning(id: string): Awaited<ReturnType<RunWorld['runs']['beginning']>> {
    const { definition, state } = this.#run(id);
    if (state !== 'queued') return null;
    return {
      items: this.itemsOf(id).map((row) => ({ itemId: row.id as RunItemId, host: row.host })),
      failed: 0,
      parallel: parallelOf(definition),
      retry: definition.kind === 'backup' ? definition.retry : null,
    };
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
    const row = this.itemsOf(change.runId).find(({ attemptId }) => attemptId === change.itemId);
    if (!row) return null;
    const end = endOf(change.phase);
    const isNews = row.toldAt === null || row.toldAt < new Date(change.at);
    const isLeft = row.state === 'stopped' && row.phase === 'cleaning';
    if ((endOf(row.state) === null || isLeft) && isNews) {
      row.pointId = change.pointId ?? row.pointId;
      row.restoredVmId = change.restoredVmId;
      row.reasons = change.reasons;
      row.toldAt = new Date(change.at);
      if (isLeft) Object.assign(row, end && { phase: change.phase, fault: change.fault ?? row.fault });
      else this.#go(row, change, now);
    }
    row.heardAt = now;
    return knownOf(row);
  }

  #go(row: ItemRow, { phase, fault }: ItemChanged, now: Date): void {
    const end = endOf(phase);
    Object.assign(row, { state: end ?? 'running', phase, fault, finishedAt: end ? now : null });
  }

  #end({ itemIds, end, phase, fault }: EndItems, now: Date): void {
    for (const id of itemIds) {
      const row = this.items.get(id);
      if (row && !endOf(row.state)) Object.assign(row, { state: end, phase, fault, finishedAt: now });
    }
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
      etaSeconds: null,
      items: [],
      hooks: [],
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
      writingOf: (pointIds) =>
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
        'pointId' in spec && spec.pointId === pointId && (state === 'queued' || state === 'running'),
    );
  }
}
