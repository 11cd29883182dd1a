import {
  cancelDeletion,
  checkpointName,
  confirmDeletion,
  createDeletion,
  createVerification,
  Fault,
  getDeletion,
  getPoint,
  getPointVerification,
  getVerification,
  holdChain,
  holdPoint,
  listChains,
  listDeletions,
  listNeededCheckpoints,
  listPoints,
  listPointsToVerify,
  listProtectedVms,
  newId,
  protectVm,
  restoreVm,
  verifyPoint,
  type BackupSpec,
  type Deletion,
  type DeletionId,
  type Point,
  type PointId,
  type RunId,
  type RunItemId,
  type VerificationId,
  type Verified,
} from '@casvault/contracts';
import { until } from '@casvault/testkit';
import { type ProtectVm } from '../src/protection.js';
import { sampleFacts, sampleProtectVm, sampleRestoreVm } from '../src/testing/samples.js';
import { RunningEngine } from './running-engine.js';

describe('deletions over NATS and Postgres', () => {
  let engine: RunningEngine;
  beforeAll(async () => {
    engine = await RunningEngine.start();
  });
  afterAll(() => engine.stop());
  beforeEach(() => {
    engine.peers.facts = sampleFacts();
    engine.peers.isPoolBusy = false;
    engine.peers.hostAway = null;
  });

  const actor = 'ann';
  const send = (request: ProtectVm) => engine.client.send(protectVm, request, { messageId: newId() });
  const pointsOf = async (vmId: ProtectVm['vmId']): Promise<Point[]> =>
    (await engine.client.request(listPoints, { vmId })).items.reverse();
  const finished = async ({ itemId }: ProtectVm): Promise<void> => {
    const transfer = await engine.peers.transferOf(itemId);
    for (let i = 0; i < 4; i++) await engine.peers.act(transfer);
    await engine.peers.reaches(itemId, 'succeeded');
  };
  const next = ({ vmId, poolId }: ProtectVm): ProtectVm => ({
    ...sampleProtectVm(),
    vmId,
    poolId,
    pointKind: 'incremental',
  });
  /** A chain of a full and `length - 1` incrementals, oldest first. */
  const chain = async (length: number): Promise<{ request: ProtectVm; points: Point[] }> => {
    const request = { ...sampleProtectVm(), vmId: engine.peers.facts.vm.id };
    for (let n = 0; n < length; n++) {
      const one = n === 0 ? request : next(request);
      await send(one);
      await finished(one);
    }
    const points = await pointsOf(request.vmId);
    expect(points.map(({ parentPointId }) => parentPointId)).toEqual([
      null,
      ...points.slice(0, -1).map(({ id }) => id),
    ]);
    return { request, points };
  };
  const ids = (points: readonly { id: string }[]): string[] => points.map(({ id }) => id);

  const preview = (
    what: { pointIds: PointId[] } | { chainId: Point['chainId'] },
    mode: Deletion['mode'] = 'cascade',
  ): Promise<Deletion> =>
    engine.client.request(createDeletion, { deletionId: newId<DeletionId>(), mode, ...what }, { actor });
  const reaches = (deletionId: DeletionId, state: Deletion['state']): Promise<Deletion> =>
    until(async () => {
      const deletion = await engine.client.request(getDeletion, { deletionId });
      return deletion.state === state ? deletion : null;
    });
  const ready = async (...args: Parameters<typeof preview>): Promise<Deletion> =>
    reaches((await preview(...args)).id, 'ready');
  const confirm = ({ id: deletionId }: Deletion): Promise<Deletion> =>
    engine.client.request(confirmDeletion, { deletionId }, { actor: 'bob' });
  const pick = (points: readonly Point[], n: number): PointId[] => [points[n]?.id as PointId];

  it('G1: takes an incremental with all that depends on it, exactly as shown, and its bitmap', async () => {
    const { request, points } = await chain(4);
    const shown = await ready({ pointIds: pick(points, 2) });
    expect(ids(shown.points)).toEqual(ids(points.slice(2)));
    expect(shown).toMatchObject({ freedBytes: 8_192, requestedBy: 'ann', chainGoes: false });
    expect(ids(await pointsOf(request.vmId))).toEqual(ids(points));
    expect(await confirm(shown)).toMatchObject({ state: 'deleting', confirmedBy: 'bob' });
    await reaches(shown.id, 'deleted');
    expect(ids(await pointsOf(request.vmId))).toEqual(ids(points.slice(0, 2)));
    const { pointIds } = await engine.peers.removalOf(shown.id, false);
    expect(pointIds).toEqual(ids(points.slice(2)));
    const asked = await until(() => engine.peers.checkpoints.find(({ vmId }) => vmId === request.vmId));
    expect(asked.keep).toEqual(points.slice(1, 2).map(({ id }) => checkpointName(id)));
    const again = next(request);
    await send(again);
    await finished(again);
    expect((await pointsOf(request.vmId)).at(-1)?.parentPointId).toBe(points[1]?.id);
  });

  it('D6: tells of each checkpoint whether a next run needs it, also of points that are deleted', async () => {
    const { request, points } = await chain(2);
    const judged = async (...ids: string[]) => {
      const names = ids.map(checkpointName);
      const { needed, unknown } = await engine.client.request(listNeededCheckpoints, { names });
      return ids.map((id) => {
        if (needed.includes(checkpointName(id))) return 'needed';
        return unknown.includes(checkpointName(id)) ? 'unknown' : 'not needed';
      });
    };
    const backupOf = async ({ itemId }: ProtectVm): Promise<BackupSpec> => {
      const { spec } = await engine.peers.transferOf(itemId);
      if (spec?.kind !== 'backup') throw new TypeError('no backup');
      return spec;
    };
    const [full = '', incremental = ''] = ids(points);
    expect(await judged(full, incremental, newId())).toEqual(['not needed', 'needed', 'unknown']);
    // One that waits and one that overtakes it: a commit takes away what was begun before.
    const waiting = { ...next(request), pointKind: 'full' as const };
    await send(waiting);
    const before = await backupOf(waiting);
    const overtaking = { ...next(request), pointKind: 'full' as const };
    await send(overtaking);
    const after = await backupOf(overtaking);
    const supersedes = [before.pointId, incremental, full].map(checkpointName);
    expect(after.tracking.supersedes).toEqual(supersedes);
    expect(await judged(before.pointId, after.pointId, incremental)).toEqual(['needed', 'needed', 'needed']);
    await finished(overtaking);
    await finished(waiting);
    // Runs that name no chain go on with the newest one, whichever point came last.
    const present = [before.pointId, after.pointId, incremental];
    expect(await judged(...present)).toEqual(['not needed', 'needed', 'not needed']);
    const named = { ...next(request), chainId: points[0]?.chainId };
    await send(named);
    await finished(named);
    const newest = (await pointsOf(request.vmId)).at(-1)?.id ?? '';
    expect(await judged(newest, ...present)).toEqual(['needed', 'not needed', 'needed', 'not needed']);
    for (const chainId of new Set((await pointsOf(request.vmId)).map((point) => point.chainId))) {
      const shown = await ready({ chainId });
      await confirm(shown);
      await reaches(shown.id, 'deleted');
    }
    expect(await judged(newest, after.pointId)).toEqual(['not needed', 'not needed']);
    const { vmIds } = await engine.client.request(listProtectedVms, { vmIds: [request.vmId, newId()] });
    expect(vmIds).toEqual([request.vmId]);
  });

  it('E8: a point bears the verdict of its verification, is not deleted meanwhile, nor extended after damage', async () => {
    const { request, points } = await chain(1);
    const [pointId] = pick(points, 0);
    if (pointId === undefined) throw new Error('no point');
    const verificationId = newId<VerificationId>();
    const asked = await engine.client.request(createVerification, { verificationId, pointId }, { actor });
    expect(asked).toMatchObject({ state: 'running', requestedBy: 'ann', depth: 'stored' });
    const transfer = await engine.peers.transferOf(verificationId);
    await expect(preview({ pointIds: [pointId] })).rejects.toMatchObject({ code: 'POINT_IN_USE' });
    const fault = { code: 'POOL_OBJECT_MISSING' as const, message: 'it is gone', details: {} };
    await engine.peers.verified(transfer, {
      checkedBytes: 7,
      disks: [],
      objects: [{ key: 'packs/a', fault }],
    });
    const ended = await until(async () => {
      const now = await engine.client.request(getPointVerification, { pointId });
      return now.state === 'running' ? null : now;
    });
    expect(ended).toMatchObject({ id: verificationId, state: 'damaged', checkedBytes: 7 });
    expect(ended.objects).toEqual([{ key: 'packs/a', fault }]);
    const point = await engine.client.request(getPoint, { pointId });
    expect(point.verification).toMatchObject({ id: verificationId, state: 'damaged' });
    const scrape = await engine.scrape();
    const available = scrape.sum('casvault_points', { state: 'available' });
    expect(scrape.sum('casvault_points_by_verification')).toBe(available);
    expect(scrape.sum('casvault_points_by_verification', { found: 'damaged' })).toBe(1);
    expect(scrape.sum('casvault_points_verified_by_age', { up_to_seconds: '86400' })).toBeGreaterThan(0);
    const healing = next(request);
    await send(healing);
    await finished(healing);
    const newest = (await pointsOf(request.vmId)).at(-1);
    expect(newest).toMatchObject({ kind: 'full', parentPointId: null, verification: null });
    expect(newest?.chainId).not.toBe(point.chainId);
    expect(newest?.reasons).toContain('CHAIN_DAMAGED');
    expect((await ready({ pointIds: [pointId] })).state).toBe('ready');
  });

  it('E8: verifications of one point run beside each other; one that began before damage was found does not deny it', async () => {
    const { points } = await chain(1);
    const [pointId] = pick(points, 0);
    if (pointId === undefined) throw new Error('no point');
    const begin = async (depth: 'stored' | 'content') => {
      const verificationId = newId<VerificationId>();
      await engine.client.request(createVerification, { verificationId, pointId, depth }, { actor });
      return { verificationId, transfer: await engine.peers.transferOf(verificationId) };
    };
    type Begun = Awaited<ReturnType<typeof begin>>;
    /** Of the verification, and of the point after it. */
    const verdicts = async ({ verificationId, transfer }: Begun, found: Verified) => {
      await engine.peers.verified(transfer, found);
      const { state } = await until(async () => {
        const now = await engine.client.request(getVerification, { verificationId });
        return now.state === 'running' ? null : now;
      });
      return [state, (await engine.client.request(getPoint, { pointId })).verification?.state];
    };
    const [deep, quick] = [await begin('content'), await begin('stored')];
    const fault = { code: 'POOL_OBJECT_MISSING' as const, message: 'it is gone', details: {} };
    const sound = { checkedBytes: 7, disks: [], objects: [] };
    const damaged = { ...sound, objects: [{ key: 'packs/a', fault }] };
    expect(await verdicts(quick, damaged)).toEqual(['damaged', 'damaged']);
    expect(await verdicts(deep, sound)).toEqual(['sound', 'damaged']);
    expect(await verdicts(await begin('content'), sound)).toEqual(['sound', 'sound']);
  });

  it('E8: lists the points of a pool, those first that were verified longest ago, and verifies them for a run', async () => {
    const { request, points } = await chain(3);
    const ids = points.map(({ id }) => id);
    const toVerify = async (newestOnly: boolean, limit: number, cursor?: string) =>
      engine.client.request(listPointsToVerify, {
        poolId: request.poolId,
        vmIds: [request.vmId],
        newestOnly,
        limit,
        ...(cursor === undefined ? {} : { cursor }),
      });
    const listed = async (): Promise<PointId[]> => {
      const first = await toVerify(false, 2);
      const second = await toVerify(false, 2, first.nextCursor ?? '');
      expect(second.nextCursor).toBeNull();
      return [...first.items, ...second.items].map(({ pointId }) => pointId);
    };
    const [verified, ...others] = await listed();
    expect([verified, ...others].toSorted()).toEqual(ids.toSorted());
    expect((await toVerify(true, 9)).items).toMatchObject([{ pointId: ids.at(-1), vmId: request.vmId }]);
    const item = {
      itemId: newId<RunItemId>(),
      runId: newId<RunId>(),
      depth: 'stored',
      group: 'default',
    } as const;
    const ask = async () =>
      engine.client.send(verifyPoint, { ...item, pointId: verified as PointId }, { messageId: newId() });
    await ask();
    await engine.peers.verified(await engine.peers.transferOf(item.itemId), {
      checkedBytes: 7,
      disks: [],
      objects: [],
    });
    await engine.peers.reaches(item.itemId, 'succeeded');
    expect(await listed()).toEqual([...others, verified]);
    // A run that asks again for what has ended is told so again, and nothing is checked twice.
    const told = engine.peers.items.length;
    await ask();
    await until(() => engine.peers.items.slice(told).some(({ itemId }) => itemId === item.itemId));
    const gone = { ...item, itemId: newId<RunItemId>(), pointId: newId<PointId>() };
    await engine.client.send(verifyPoint, gone, { messageId: newId() });
    await engine.peers.reaches(gone.itemId, 'failed');
  });

  it('G1: the chain goes with its full', async () => {
    const { request, points } = await chain(2);
    const shown = await ready({ pointIds: pick(points, 0) });
    expect(shown).toMatchObject({ chainGoes: true });
    await confirm(shown);
    await reaches(shown.id, 'deleted');
    expect(await pointsOf(request.vmId)).toEqual([]);
    expect((await engine.client.request(listChains, { vmId: request.vmId })).items).toEqual([]);
    const { items } = await engine.client.request(listDeletions, { chainId: shown.chainId });
    expect(items).toMatchObject([{ id: shown.id, state: 'deleted' }]);
  });

  it('G3: from the middle and from the front alone; the rest stands where it should', async () => {
    const { request, points } = await chain(4);
    const middle = await ready({ pointIds: pick(points, 1) }, 'single');
    expect(middle).toMatchObject({ successorIds: pick(points, 2), newHeadPointId: null });
    await confirm(middle);
    await reaches(middle.id, 'deleted');
    const [full, second, third] = await pointsOf(request.vmId);
    expect([full?.id, second?.parentPointId, third?.parentPointId]).toEqual([
      points[0]?.id,
      points[0]?.id,
      points[2]?.id,
    ]);
    const front = await ready({ pointIds: pick(points, 0) }, 'single');
    expect(front.newHeadPointId).toBe(points[2]?.id);
    await confirm(front);
    await reaches(front.id, 'deleted');
    const [head] = await pointsOf(request.vmId);
    expect(head).toMatchObject({ id: points[2]?.id, parentPointId: null, state: 'available' });
    expect(head?.reasons).toContain('HEAD_OF_CHAIN');
  });

  it('G1: a point that came since the preview refuses it for good', async () => {
    const { request, points } = await chain(2);
    const shown = await ready({ pointIds: pick(points, 1) });
    const more = next(request);
    await send(more);
    await finished(more);
    await expect(confirm(shown)).rejects.toMatchObject({ code: 'CONFLICT' });
    expect(await reaches(shown.id, 'refused')).toMatchObject({ fault: { code: 'CONFLICT' } });
    expect(await pointsOf(request.vmId)).toHaveLength(3);
  });

  it('G2: refuses what a restore reads or a backup extends, and names it; afterwards it may go', async () => {
    const { request, points } = await chain(2);
    const shown = await ready({ pointIds: pick(points, 1) });
    const restore = sampleRestoreVm(points[0]?.id as PointId);
    await engine.client.send(restoreVm, restore, { messageId: newId() });
    const reading = await engine.peers.transferOf(restore.itemId);
    await expect(confirm(shown)).rejects.toMatchObject({
      code: 'POINT_IN_USE',
      details: { itemId: restore.itemId, runId: restore.runId, use: 'restore' },
    });
    await expect(preview({ chainId: shown.chainId })).rejects.toMatchObject({ code: 'POINT_IN_USE' });
    for (let i = 0; i < 4; i++) await engine.peers.act(reading);
    await engine.peers.reaches(restore.itemId, 'succeeded');
    const backup = next(request);
    await send(backup);
    await engine.peers.transferOf(backup.itemId);
    await expect(confirm(shown)).rejects.toMatchObject({
      code: 'POINT_IN_USE',
      details: { runId: backup.runId, use: 'protection' },
    });
    expect((await engine.client.request(getDeletion, { deletionId: shown.id })).state).toBe('ready');
    await finished(backup);
    const anew = await ready({ pointIds: pick(points, 1) });
    await confirm(anew);
    await reaches(anew.id, 'deleted');
  });

  it('G2: nothing under a hold goes, not by a cascade either; who holds it is told', async () => {
    const { points } = await chain(2);
    const [pointId] = pick(points, 1);
    const shown = await ready({ pointIds: pick(points, 0) });
    const held = await engine.client.request(
      holdPoint,
      { pointId: pointId as PointId, reason: 'audit 17' },
      { actor: 'carl' },
    );
    expect(held.hold).toMatchObject({ reason: 'audit 17', by: 'carl' });
    await expect(confirm(shown)).rejects.toMatchObject({
      code: 'POINT_HELD',
      details: { pointId, by: 'carl', reason: 'audit 17' },
    });
    await engine.client.request(holdPoint, { pointId: pointId as PointId, reason: null }, { actor });
    const { chainId } = shown;
    await engine.client.request(holdChain, { chainId, reason: 'suit' }, { actor });
    await expect(preview({ chainId })).rejects.toMatchObject({ code: 'POINT_HELD', details: { chainId } });
    expect((await engine.client.request(listChains, { vmId: shown.vmId })).items).toMatchObject([
      { hold: { reason: 'suit' } },
    ]);
    await engine.client.request(holdChain, { chainId, reason: null }, { actor });
    await confirm(shown);
    await reaches(shown.id, 'deleted');
  });

  it('G2: points that are being deleted are no parents, not restorable, not held', async () => {
    const { request, points } = await chain(2);
    const shown = await ready({ pointIds: pick(points, 1) });
    engine.peers.isPoolBusy = true;
    await confirm(shown);
    const [pointId] = pick(points, 1);
    const deleting = await engine.client.request(getPoint, { pointId: pointId as PointId });
    expect(deleting.state).toBe('deleting');
    const restore = sampleRestoreVm(pointId as PointId);
    await engine.client.send(restoreVm, restore, { messageId: newId() });
    expect(await engine.peers.reaches(restore.itemId, 'failed')).toMatchObject({
      fault: { code: 'CONFLICT' },
    });
    const hold = engine.client.request(holdPoint, { pointId: pointId as PointId, reason: 'late' });
    await expect(hold).rejects.toMatchObject({ code: 'CONFLICT' });
    const cancel = engine.client.request(cancelDeletion, { deletionId: shown.id });
    await expect(cancel).rejects.toMatchObject({ code: 'CONFLICT' });
    const backup = next(request);
    await send(backup);
    await engine.peers.freePool();
    await reaches(shown.id, 'deleted');
    await finished(backup);
    expect((await pointsOf(request.vmId)).at(-1)?.parentPointId).toBe(points[0]?.id);
  });

  it('G2: of a deletion and a backup that begin at once, each knows of the other', async () => {
    for (let round = 0; round < 4; round++) {
      engine.peers.facts = sampleFacts();
      const { request, points } = await chain(1);
      const shown = await ready({ pointIds: pick(points, 0) });
      const backup = next(request);
      const [, confirmed] = await Promise.allSettled([send(backup), confirm(shown)]);
      await finished(backup);
      const made = (await pointsOf(request.vmId)).at(-1);
      if (confirmed.status === 'fulfilled') {
        await reaches(shown.id, 'deleted');
        expect(made).toMatchObject({ kind: 'full', parentPointId: null, state: 'available' });
      } else {
        expect(['POINT_IN_USE', 'CONFLICT']).toContain(Fault.from(confirmed.reason).code);
        expect((await pointsOf(request.vmId)).map(({ state }) => state)).toEqual(['available', 'available']);
        expect(made?.parentPointId).toBe(points[0]?.id);
      }
    }
  });

  it('goes on after it was killed between the confirmation and the end', async () => {
    const { request, points } = await chain(1);
    const shown = await ready({ pointIds: pick(points, 0) });
    engine.peers.isPoolBusy = true;
    await confirm(shown);
    await engine.peers.removalOf(shown.id, false);
    await engine.service.kill9();
    await engine.peers.freePool();
    await engine.boot();
    await reaches(shown.id, 'deleted');
    expect(await pointsOf(request.vmId)).toEqual([]);
  });

  it('is idempotent, can be cancelled, and refuses what is of two chains or unknown', async () => {
    const { points } = await chain(1);
    engine.peers.facts = sampleFacts();
    const other = await chain(1);
    const deletionId = newId<DeletionId>();
    const request = { deletionId, pointIds: pick(points, 0) };
    await engine.client.request(createDeletion, request);
    expect((await engine.client.request(createDeletion, request)).id).toBe(deletionId);
    expect(await engine.client.request(cancelDeletion, { deletionId })).toMatchObject({ state: 'cancelled' });
    await expect(engine.client.request(confirmDeletion, { deletionId })).rejects.toMatchObject({
      code: 'CONFLICT',
    });
    const both = preview({ pointIds: [...pick(points, 0), ...pick(other.points, 0)] });
    await expect(both).rejects.toMatchObject({ code: 'INPUT_INVALID' });
    await expect(preview({ pointIds: [newId<PointId>()] })).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});
