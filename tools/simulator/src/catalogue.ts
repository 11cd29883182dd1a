import {
  checkpointName,
  Fault,
  type ChainId,
  type Deletion,
  type DeletionId,
  type Hold,
  type Point,
  type PointId,
  type VmId,
} from '@casvault/contracts';
import {
  listDeletion,
  mayHaveWritten,
  writtenUntil,
  newParents,
  pointOf,
  refuseChanged,
  refuseDeletion,
  removedIds,
  type ChainFacts,
  type DeletionsOptions,
  type DeletionState,
  type ItemsOptions,
  type PointUse,
  type ProtectionState,
  type RollbackState,
  type VerificationsOptions,
} from '@casvault/snapshot-engine/machine';
import { type Edge, type SimProcess } from './process.js';

type PointRows = ItemsOptions['world']['points'] & VerificationsOptions['world']['points'];
type HistoryRows = ItemsOptions['world']['history'];
type History = Awaited<ReturnType<HistoryRows['of']>>;
type DeletionRows = DeletionsOptions['world']['deletions'];

const edge: Edge = { name: 'rows', fault: 'store', code: 'DEPENDENCY_UNAVAILABLE' };

interface PointRow {
  readonly point: Point;
  readonly made: ProtectionState;
  readonly deletionId: DeletionId | null;
}

/** The catalogue's tables, and the statements that its stores make of them. */
export class CatalogueRows {
  /** In the order in which they were begun. */
  readonly points = new Map<string, PointRow>();
  /** The VMs of points that were deleted. */
  readonly #deleted = new Map<string, VmId>();
  /** When which item wrote a VM, by VM and item. */
  readonly marks = new Map<string, Map<string, Date>>();
  readonly #uses = new Map<string, PointUse>();
  readonly #deletions = new Map<string, DeletionState>();

  /** `isOver`: whether the machine of an item has ended. */
  constructor(private readonly isOver: (kind: string, itemId: string) => boolean) {}

  // ---- in the transactions of steps

  protectionStepped(before: ProtectionState | null, made: ProtectionState): void {
    const point = pointOf(made);
    if (!point || JSON.stringify(point) === JSON.stringify(before && pointOf(before))) return;
    const present = this.points.get(point.id);
    const { hold = null } = present?.point ?? {};
    this.points.set(point.id, { point: { ...point, hold }, made, deletionId: present?.deletionId ?? null });
  }

  rollbackStepped(before: RollbackState | null, after: RollbackState, now: Date): void {
    const was = before !== null && mayHaveWritten(before);
    const is = mayHaveWritten(after);
    const isNews = was !== is || (is && before?.phase !== after.phase);
    if (!isNews || after.vmId === null) return;
    const marks = this.marks.get(after.vmId) ?? new Map<string, Date>();
    this.marks.set(after.vmId, marks);
    if (is) marks.set(after.request.itemId, writtenUntil(after, now));
    else marks.delete(after.request.itemId);
  }

  /** Throws, and so undoes the step, when the points may not be taken. */
  deletionStepped(before: DeletionState | null, after: DeletionState): void {
    const { deletionId, list } = after.request;
    if (after.phase === 'deleting' && before && before.phase !== 'deleting') this.#take(before, after);
    if (after.phase === 'deleted' && before?.phase !== 'deleted')
      for (const id of removedIds(list)) this.#forget(id);
    this.#deletions.set(deletionId, after);
  }

  #forget(id: string): void {
    const vmId = this.points.get(id)?.point.vmId;
    if (vmId) this.#deleted.set(id, vmId);
    this.points.delete(id);
  }

  #take({ phase }: DeletionState, { request }: DeletionState): void {
    const { deletionId, chainId, mode, list } = request;
    const facts = this.#facts(chainId);
    const going = list.points.map(({ id }) => id);
    const refusal =
      refuseDeletion(facts, list, deletionId) ??
      (phase === 'failed' ? null : refuseChanged(list, presentList(facts, going, mode)));
    if (refusal) throw refusal;
    for (const id of going) this.#change(id, { state: 'deleting' }, deletionId);
    this.standAnew(facts, going);
  }

  /** Points whose parents go stand on what these stood on. */
  standAnew({ points }: ChainFacts, going: readonly PointId[]): void {
    for (const [id, parentPointId] of newParents(points, new Set(going))) this.#change(id, { parentPointId });
  }

  #change(id: string, change: Partial<Point>, deletionId?: DeletionId): void {
    const row = this.points.get(id);
    if (!row) return;
    const point = { ...row.point, ...change };
    this.points.set(id, { ...row, point, deletionId: deletionId ?? row.deletionId });
  }

  // ---- as processes reach them

  of(process: SimProcess): PointRows {
    const reach = <T>(deed: () => T): Promise<T> => process.call(edge, deed);
    return {
      newestAvailable: (vmId, poolId) => reach(() => this.#newestAvailable(vmId, poolId)),
      get: (id) => reach(() => this.#restorable(id).point),
      restorable: (id) => reach(() => this.#restorable(id)),
      use: (pointId, use) => reach(() => this.use({ pointId, ...use })),
    };
  }

  historyOf(process: SimProcess): HistoryRows {
    return { of: (asked) => process.call(edge, () => this.#history(asked)) };
  }

  deletionsOf(process: SimProcess): DeletionRows {
    const reach = <T>(deed: () => T): Promise<T> => process.call(edge, deed);
    return {
      facts: (chainId) => reach(() => this.#facts(chainId)),
      chainOf: (pointIds) => reach(() => this.#chainOf(pointIds)),
      get: () => Promise.reject(new TypeError('nobody looks at deletions here')),
      neededCheckpoints: (vmId) => reach(() => this.#neededCheckpoints(vmId)),
    };
  }

  /** Sets or clears the hold of a point, as `holdPoint` does. */
  hold(pointId: PointId, hold: Hold | null): void {
    if (this.points.get(pointId)?.point.state === 'available') this.#change(pointId, { hold });
  }

  get available(): readonly Point[] {
    return [...this.points.values()].map(({ point }) => point).filter(({ state }) => state === 'available');
  }

  #ofChain(chainId: string): PointRow[] {
    return [...this.points.values()].filter(({ point }) => point.chainId === chainId);
  }

  /** Counts until its machine is done; false when the point is not to be had. */
  use(use: PointUse): boolean {
    const { pointId, itemId, kind } = use;
    const point = this.points.get(pointId)?.point;
    if (point?.state !== 'available') return false;
    if (kind === 'protection' && this.#deletingIn(point.chainId) !== null) return false;
    this.#uses.set(`${itemId} ${pointId}`, use);
    return true;
  }

  #deletingIn(chainId: string): DeletionId | null {
    const all = [...this.#deletions.values()];
    const found = all.find(({ request, phase }) => request.chainId === chainId && phase === 'deleting');
    return found?.request.deletionId ?? null;
  }

  #facts(chainId: ChainId): ChainFacts {
    const rows = this.#ofChain(chainId);
    const newest = rows.at(-1);
    if (!newest) throw new Fault('NOT_FOUND', `there is no chain ${chainId}`);
    const ids = new Set<string>(rows.map(({ point }) => point.id));
    const { vmId, vmName, poolId } = newest.point;
    return {
      chainId,
      vmId,
      vmName,
      poolId,
      group: newest.made.request.group,
      hold: null,
      points: rows.map(({ point, deletionId }) => ({ ...point, deletionId })),
      uses: [...this.#uses.values()].filter(
        ({ pointId, kind, itemId }) => ids.has(pointId) && !this.isOver(kind, itemId),
      ),
      deletingId: this.#deletingIn(chainId),
    };
  }

  #chainOf(pointIds: readonly PointId[]): ChainId {
    const chains = new Set(pointIds.map((id) => this.points.get(id)?.point.chainId));
    const [chainId] = chains;
    if (chainId === undefined || chains.size !== 1) throw new Fault('NOT_FOUND', 'there are no such points');
    return chainId;
  }

  #neededCheckpoints(vmId: VmId): string[] {
    const ofVm = [...this.points.values()].filter(({ point }) => point.vmId === vmId);
    return ofVm.filter((row) => this.#isNeeded(row)).map(({ point }) => checkpointName(point.id));
  }

  /** As isNeededSql says; nobody names a chain here. */
  #isNeeded({ point }: PointRow): boolean {
    if (point.state !== 'available') return point.state !== 'failed' && point.state !== 'deleting';
    const series = [...this.points.values()].filter((row) => isSameSeries(row.point, point));
    return this.#newestOfNewestChain(series.map((row) => row.point))?.id === point.id;
  }

  isProtected(vmId: string): boolean {
    const points = [...this.points.values()];
    return (
      points.some(({ point }) => point.vmId === vmId) || [...this.#deleted.values()].some((id) => id === vmId)
    );
  }

  judgeCheckpoints(names: readonly string[]): { needed: string[]; unknown: string[] } {
    const rows = new Map([...this.points.values()].map((row) => [checkpointName(row.point.id), row]));
    const deleted = new Set([...this.#deleted.keys()].map(checkpointName));
    const isNeeded = (row: PointRow | undefined) => row !== undefined && this.#isNeeded(row);
    return {
      needed: names.filter((name) => isNeeded(rows.get(name))),
      unknown: names.filter((name) => !rows.has(name) && !deleted.has(name)),
    };
  }

  /** D6, R14. */
  #history({ vmId, poolId, pointKind }: Parameters<HistoryRows['of']>[0]): History {
    const mine = [...this.points.values()].map(({ point }) => point);
    const ofVm = mine.filter((point) => point.vmId === vmId && point.poolId === poolId);
    const supersedes = ofVm.map(({ id }) => checkpointName(id)).slice(-16);
    const parent = pointKind === 'full' ? undefined : this.#newestOfNewestChain(ofVm);
    if (!parent) return { parent: null, whyFull: null, supersedes };
    const marks = [...(this.marks.get(vmId)?.values() ?? [])];
    if (marks.some((at) => at >= new Date(parent.createdAt)))
      return { parent: null, whyFull: 'RESTORED_SINCE', supersedes };
    const { id: pointId, chainId, disks } = parent;
    const pointCount = ofVm.filter(
      (point) => point.chainId === chainId && point.state === 'available',
    ).length;
    return { parent: { pointId, chainId, disks, pointCount }, whyFull: null, supersedes };
  }

  #newestOfNewestChain(points: readonly Point[]): Point | undefined {
    const there = points.filter(({ state }) => state === 'available');
    const begun = new Map(points.map(({ chainId }, at) => [chainId, at] as const).toReversed());
    const newest = there.toSorted((a, b) => (begun.get(b.chainId) ?? 0) - (begun.get(a.chainId) ?? 0))[0];
    const ofChain = there.filter(({ chainId }) => chainId === newest?.chainId);
    return ofChain.toSorted((a, b) => Date.parse(b.capturedAt ?? '') - Date.parse(a.capturedAt ?? ''))[0];
  }

  #newestAvailable(vmId: string, poolId: string) {
    const there = this.available.filter((point) => point.vmId === vmId && point.poolId === poolId);
    const at = ({ availableAt }: Point) => Date.parse(availableAt ?? '');
    const [newest] = there.toSorted((a, b) => at(b) - at(a));
    return newest ? { pointId: newest.id, chainId: newest.chainId } : null;
  }

  #restorable(id: PointId) {
    const row = this.points.get(id);
    const plan = row?.made.plan;
    if (!row || !plan) throw new Fault('NOT_FOUND', `there is no point ${id}`);
    return { point: row.point, hardware: plan.hardware, configuration: plan.spec.configuration };
  }
}

const isSameSeries = (one: Point, other: Point): boolean =>
  one.vmId === other.vmId && one.poolId === other.poolId;

/** What the same request would list now; of what is gone nothing. */
const presentList = (facts: ChainFacts, going: readonly PointId[], mode: Deletion['mode']) => {
  const present = new Set(facts.points.map(({ id }) => id));
  const ids = going.filter((id) => present.has(id));
  return listDeletion(facts, ids, mode);
};
