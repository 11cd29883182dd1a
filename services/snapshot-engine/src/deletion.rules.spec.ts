import {
  newId,
  type ChainId,
  type DeletionId,
  type PointId,
  type PoolId,
  type VmId,
} from '@casvault/contracts';
import fc from 'fast-check';
import { type ChainFacts, type ChainPoint } from './deletion.js';
import { listDeletion, newParents, refuseChanged, refuseDeletion } from './deletion.rules.js';

const vmId = newId<VmId>();
const hold = { reason: 'audit', by: 'ann', at: '2026-01-02T00:00:00.000Z' };
const me = newId<DeletionId>();

/** Points by number, each with the number of its parent (null: a full). */
const chainOf = (
  parents: readonly (number | null)[],
  change: (n: number) => Partial<ChainPoint> = () => ({}),
): ChainFacts => {
  const ids = parents.map(() => newId<PointId>());
  return {
    chainId: newId<ChainId>(),
    vmId,
    vmName: 'db',
    poolId: newId<PoolId>(),
    group: 'default',
    hold: null,
    uses: [],
    deletingId: null,
    points: parents.map((parent, n) => ({
      id: ids[n] as PointId,
      parentPointId: parent === null ? null : (ids[parent] ?? null),
      vmId,
      vmName: 'db',
      kind: parent === null ? 'full' : 'incremental',
      state: 'available',
      capturedAt: null,
      createdAt: '2026-01-01T00:00:00.000Z',
      poolBytes: 1,
      runId: newId(),
      hold: null,
      deletionId: null,
      ...change(n),
    })),
  };
};
const at = ({ points }: ChainFacts, ...numbers: number[]): PointId[] =>
  numbers.map((n) => points[n]?.id as PointId);
const idsOf = (points: readonly { id: PointId }[]): PointId[] => points.map(({ id }) => id);
const line = [null, 0, 1, 2];

/** Trees: every point but the first stands on an earlier one. */
const trees = fc
  .array(fc.nat(), { minLength: 1, maxLength: 14 })
  .map((picks) => picks.map((pick, n) => (n === 0 ? null : pick % n)));

describe('what a deletion takes', () => {
  it('G1: deleting the full takes its chain', () => {
    const facts = chainOf(line);
    const list = listDeletion(facts, at(facts, 0), 'cascade');
    expect(idsOf(list.points)).toEqual(idsOf(facts.points));
    expect(list).toMatchObject({ chainGoes: true, newestGoes: true, successorIds: [], newHeadPointId: null });
  });

  it('G1: deleting an incremental takes what depends on it, and nothing before it', () => {
    const facts = chainOf(line);
    const list = listDeletion(facts, at(facts, 2), 'cascade');
    expect(idsOf(list.points)).toEqual(at(facts, 2, 3));
    expect(list).toMatchObject({ chainGoes: false, newestGoes: true, successorIds: [] });
  });

  it('G3: a point goes from the middle alone; its successor stands on the one before', () => {
    const facts = chainOf(line);
    const list = listDeletion(facts, at(facts, 1), 'single');
    expect(idsOf(list.points)).toEqual(at(facts, 1));
    expect(list).toMatchObject({ successorIds: at(facts, 2), newHeadPointId: null, newestGoes: false });
    expect([...newParents(facts.points, new Set(at(facts, 1)))]).toEqual([at(facts, 2, 0)]);
  });

  it('G3: without the first full the next is the head, and is named', () => {
    const facts = chainOf(line);
    const [next] = at(facts, 1);
    expect(listDeletion(facts, at(facts, 0), 'single')).toMatchObject({
      newHeadPointId: next,
      chainGoes: false,
    });
    expect(newParents(facts.points, new Set(at(facts, 0))).get(next as PointId)).toBeNull();
  });

  it('takes what failed attempts left along with the chain, and only then', () => {
    const facts = chainOf([null, 0, 0], (n) => (n === 2 ? { state: 'failed' } : {}));
    expect(listDeletion(facts, null, 'cascade')).toMatchObject({ chainGoes: true, remnantIds: at(facts, 2) });
    const part = listDeletion(facts, at(facts, 1), 'cascade');
    expect([idsOf(part.points), part.remnantIds]).toEqual([at(facts, 1), []]);
  });

  it('G1: of any tree takes exactly the descendants', () => {
    fc.assert(
      fc.property(trees, fc.nat(), (parents, pick) => {
        const facts = chainOf(parents);
        const asked = pick % parents.length;
        const depends = (n: number): boolean => n === asked || (parents[n] != null && depends(parents[n]));
        const list = listDeletion(facts, at(facts, asked), 'cascade');
        expect(idsOf(list.points)).toEqual(at(facts, ...parents.map((_, n) => n).filter(depends)));
        expect(list.successorIds).toEqual([]);
      }),
    );
  });

  it('G3: of any tree takes exactly those named, and leaves a forest without them in the same order', () => {
    fc.assert(
      fc.property(trees, fc.array(fc.nat(), { minLength: 1 }), (parents, picks) => {
        const facts = chainOf(parents);
        const numbers = [...new Set(picks.map((pick) => pick % parents.length))];
        const going = new Set<string>(at(facts, ...numbers));
        const list = listDeletion(facts, at(facts, ...numbers), 'single');
        expect(new Set<string>(idsOf(list.points))).toEqual(going);
        const moved = newParents(facts.points, going);
        expect(new Set([...moved.keys()])).toEqual(new Set(list.chainGoes ? [] : list.successorIds));
        const ancestors = (n: number): number[] =>
          parents[n] == null ? [] : [parents[n], ...ancestors(parents[n])];
        for (const [id, parent] of moved) {
          const n = facts.points.findIndex((point) => point.id === id);
          const nearest = ancestors(n).find((one) => !numbers.includes(one));
          expect(parent).toBe(nearest === undefined ? null : at(facts, nearest)[0]);
        }
      }),
    );
  });
});

describe('what is not deleted', () => {
  const refusal = (facts: ChainFacts, ids: PointId[], mode: 'cascade' | 'single' = 'cascade') =>
    refuseDeletion(facts, listDeletion(facts, ids, mode), me)?.toJSON();

  it('G2: what a run reads or extends, anywhere in the chain; it is named', () => {
    const facts = chainOf(line);
    const [pointId] = at(facts, 0);
    for (const kind of ['restore', 'protection', 'rollback']) {
      const used = {
        ...facts,
        uses: [{ pointId: pointId as PointId, kind, itemId: 'item-1', runId: 'run-1' }],
      };
      const fault = refusal(used, at(facts, 3));
      expect(fault).toMatchObject({
        code: 'POINT_IN_USE',
        details: { itemId: 'item-1', runId: 'run-1', use: kind },
      });
      expect(fault?.message).toContain(pointId);
    }
    const making = chainOf(line, (n) => (n === 3 ? { state: 'transferring' } : {}));
    expect(refusal(making, at(making, 1))).toMatchObject({ code: 'POINT_IN_USE' });
    expect(refusal(facts, at(facts, 3))).toBeUndefined();
  });

  it('G2: what is under a hold, also when a cascade would take it; it and the holder are named', () => {
    const facts = chainOf(line, (n) => (n === 3 ? { hold } : {}));
    const [held] = at(facts, 3);
    expect(refusal(facts, at(facts, 0))).toMatchObject({
      code: 'POINT_HELD',
      details: { pointId: held, by: 'ann', reason: 'audit' },
    });
    expect(refusal(facts, at(facts, 1), 'single')).toBeUndefined();
    expect(refusal({ ...chainOf(line), hold }, at(facts, 1))).toMatchObject({ code: 'POINT_HELD' });
  });

  it('G2: what another deletion works in; what a failed one left may go', () => {
    const facts = chainOf(line, (n) => (n > 1 ? { state: 'deleting', deletionId: newId<DeletionId>() } : {}));
    expect(refusal(facts, at(facts, 2))).toBeUndefined();
    const busy = { ...facts, deletingId: newId<DeletionId>() };
    expect(refusal(busy, at(facts, 1))).toMatchObject({ code: 'POINT_IN_USE', details: { use: 'deletion' } });
    expect(refusal({ ...facts, deletingId: me }, at(facts, 1))).toBeUndefined();
  });

  it('G1: anything but what was shown: a point more, a point less, another successor', () => {
    const facts = chainOf(line);
    const shown = listDeletion(facts, at(facts, 2), 'cascade');
    expect(refuseChanged(shown, shown)).toBeNull();
    const grown = chainOf([null, 0, 1, 2, 3]);
    const more = listDeletion(grown, at(grown, 2), 'cascade');
    const less = { ...more, points: more.points.slice(0, -1) };
    expect(refuseChanged(less, more)?.toJSON()).toMatchObject({
      code: 'CONFLICT',
      details: { pointId: at(grown, 4)[0] },
    });
    expect(refuseChanged(more, less)?.code).toBe('CONFLICT');
    expect(refuseChanged(shown, { ...shown, successorIds: at(facts, 0) })?.code).toBe('CONFLICT');
  });
});
