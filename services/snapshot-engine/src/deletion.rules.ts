import { Fault, type Deletion, type PointId } from '@casvault/contracts';
import { type ChainFacts, type ChainPoint, type DeletionList, type PointUse } from './deletion.js';

const pending: readonly ChainPoint['state'][] = ['pending', 'capturing', 'captured', 'transferring'];
const isPending = ({ state }: ChainPoint): boolean => pending.includes(state);

/** The points asked for and, with `cascade`, all that depend on them, directly or not. Failed points depend on nobody. */
const closure = (
  points: readonly ChainPoint[],
  asked: readonly PointId[],
  mode: Deletion['mode'],
): ReadonlySet<PointId> => {
  const going = new Set(asked);
  if (mode === 'single') return going;
  const children = new Map<PointId, PointId[]>();
  for (const { id, parentPointId, state } of points)
    if (parentPointId !== null && state !== 'failed')
      children.set(parentPointId, [...(children.get(parentPointId) ?? []), id]);
  const queue = [...asked];
  for (let id = queue.pop(); id !== undefined; id = queue.pop())
    for (const child of children.get(id) ?? [])
      if (!going.has(child)) {
        going.add(child);
        queue.push(child);
      }
  return going;
};

/**
 * Where the successors of removed points stand: on the nearest ancestor that stays, null for none. `going` are the points
 * that go; only points whose parent goes are named.
 */
export const newParents = (
  points: readonly Pick<ChainPoint, 'id' | 'parentPointId'>[],
  going: ReadonlySet<string>,
): Map<PointId, PointId | null> => {
  const parentOf = new Map(points.map(({ id, parentPointId }) => [id, parentPointId]));
  const moved = new Map<PointId, PointId | null>();
  for (const { id, parentPointId } of points) {
    if (going.has(id) || parentPointId === null || !going.has(parentPointId)) continue;
    let parent: PointId | null = parentPointId;
    while (parent !== null && going.has(parent)) parent = parentOf.get(parent) ?? null;
    moved.set(id, parent);
  }
  return moved;
};

const shown = ({
  id,
  vmId,
  vmName,
  capturedAt,
  kind,
  poolBytes,
}: ChainPoint): Deletion['points'][number] => ({
  id,
  vmId,
  vmName,
  capturedAt,
  kind,
  poolBytes,
});

/**
 * G1, G3: exactly what goes when these points (null: the whole chain) are deleted. Successors are complete by themselves: every
 * point is a whole map, so none needs more than a new place in the catalogue.
 */
export const listDeletion = (
  { points }: ChainFacts,
  pointIds: readonly PointId[] | null,
  mode: Deletion['mode'],
): DeletionList => {
  const whole = points.filter(({ state }) => state !== 'failed').map(({ id }) => id);
  const going = closure(points, pointIds ?? whole, mode);
  const staying = points.filter(({ id, state }) => !going.has(id) && state !== 'failed');
  const moved = newParents(staying.length === 0 ? [] : points, going);
  const chainGoes = staying.length === 0;
  const successors = staying.filter(({ id }) => moved.has(id));
  const newest = points.findLast(({ state }) => state !== 'failed');
  return {
    points: points.filter(({ id }) => going.has(id)).map(shown),
    remnantIds: chainGoes ? points.filter(({ id }) => !going.has(id)).map(({ id }) => id) : [],
    successorIds: successors.map(({ id }) => id),
    newHeadPointId: successors.find(({ id }) => moved.get(id) === null)?.id ?? null,
    chainGoes,
    newestGoes: newest !== undefined && going.has(newest.id),
  };
};

/** The list is still what was shown: the same points, the same successors. */
export const refuseChanged = (shownList: DeletionList, present: DeletionList): Fault | null => {
  const before = new Set([...shownList.points.map(({ id }) => id), ...shownList.successorIds]);
  const now = [...present.points.map(({ id }) => id), ...present.successorIds];
  const isSame =
    now.length === before.size &&
    shownList.points.length === present.points.length &&
    now.every((id) => before.has(id));
  if (isSame) return null;
  const added = now.find((id) => !before.has(id));
  const what = added ? `point ${added} depends on it since` : 'points of it are gone since';
  return new Fault('CONFLICT', `the deletion is not what was previewed: ${what}; preview it anew`, {
    details: { pointId: added ?? null },
  });
};

const heldFault = (facts: ChainFacts, going: ReadonlySet<PointId>): Fault | null => {
  const { hold, chainId, vmName } = facts;
  if (hold)
    return new Fault(
      'POINT_HELD',
      `chain ${chainId} of VM '${vmName}' is held by ${hold.by}: ${hold.reason}`,
      {
        details: { chainId, by: hold.by, reason: hold.reason, at: hold.at },
      },
    );
  const held = facts.points.find((point) => point.hold && going.has(point.id));
  if (!held?.hold) return null;
  const { by, reason, at } = held.hold;
  return new Fault('POINT_HELD', `point ${held.id} of VM '${vmName}' is held by ${by}: ${reason}`, {
    details: { pointId: held.id, by, reason, at },
  });
};

const usedFault = (vmName: string, { kind, itemId, runId, pointId }: PointUse): Fault => {
  const what = kind === 'protection' ? 'extended by the backup' : `read by the ${kind}`;
  return new Fault('POINT_IN_USE', `point ${pointId} of VM '${vmName}' is ${what} ${itemId}`, {
    details: { pointId, itemId, runId, use: kind },
  });
};

const inUseFault = ({ points, uses, vmName }: ChainFacts): Fault | null => {
  const use = uses[0];
  if (use) return usedFault(vmName, use);
  const made = points.find(isPending);
  if (!made) return null;
  return new Fault('POINT_IN_USE', `point ${made.id} of VM '${vmName}' is being made by run ${made.runId}`, {
    details: { pointId: made.id, runId: made.runId, use: 'protection' },
  });
};

/**
 * G2: nothing of a chain is deleted while a run reads or extends it, while another deletion works in it, or under a hold. Points
 * that a failed deletion left may be deleted by another one.
 */
export const refuseDeletion = (
  facts: ChainFacts,
  list: DeletionList,
  deletionId: Deletion['id'],
): Fault | null => {
  const { chainId, deletingId, vmName } = facts;
  const held = heldFault(facts, new Set(list.points.map(({ id }) => id)));
  if (held) return held;
  const used = inUseFault(facts);
  if (used) return used;
  if (deletingId === null || deletingId === deletionId) return null;
  return new Fault(
    'POINT_IN_USE',
    `deletion ${deletingId} is under way in chain ${chainId} of VM '${vmName}'`,
    {
      details: { chainId, deletionId: deletingId, use: 'deletion' },
    },
  );
};
