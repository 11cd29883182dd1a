import {
  copyPoint,
  createDeletion,
  createFromPoint,
  listPointsToCopy,
  type CopySpec,
  type DeletionId,
  type PoolId,
  type RunId,
  Fault,
  getPoint,
  listChains,
  listPoints,
  newId,
  protectVm,
  restoreVm,
  stopItem,
  type Point,
  type PointId,
  type RunItemId,
} from '@casvault/contracts';
import { until } from '@casvault/testkit';
import { type ProtectVm } from '../src/protection.js';
import { sampleFacts, sampleImage, sampleProtectVm, sampleRestoreVm } from '../src/testing/samples.js';
import { RunningEngine } from './running-engine.js';

describe('snapshot-engine over NATS and Postgres', () => {
  let engine: RunningEngine;
  beforeAll(async () => {
    engine = await RunningEngine.start();
  });
  afterAll(() => engine.stop());
  beforeEach(() => {
    engine.peers.refusal = null;
    engine.peers.facts = sampleFacts();
  });

  const protect = async (): Promise<ProtectVm> => {
    const request = sampleProtectVm();
    await engine.client.send(protectVm, request, { messageId: newId() });
    return request;
  };
  const again = (request: ProtectVm) => engine.client.send(protectVm, request, { messageId: newId() });
  const pointOf = async ({ vmId }: ProtectVm): Promise<Point | undefined> =>
    (await engine.client.request(listPoints, { vmId })).items[0];
  const reachesState = (request: ProtectVm, state: Point['state']) =>
    until(async () => {
      const point = await pointOf(request);
      return point?.state === state ? point : null;
    });
  /** A point, made by a transfer that goes as it should. */
  const available = async (): Promise<Point> => {
    const request = await protect();
    const transfer = await engine.peers.transferOf(request.itemId);
    for (let i = 0; i < 4; i++) await engine.peers.act(transfer);
    return reachesState(request, 'available');
  };

  it('takes a point through every state of D5 and announces captured and available', async () => {
    const request = await protect();
    const { peers } = engine;
    const transfer = await peers.transferOf(request.itemId);
    await reachesState(request, 'pending');
    for (const state of ['capturing', 'captured', 'transferring'] as const) {
      await peers.act(transfer);
      await reachesState(request, state);
    }
    await until(() => peers.captured.length === 1);
    await peers.act(transfer);
    const point = await reachesState(request, 'available');
    expect(point).toMatchObject({
      kind: 'full',
      method: 'live',
      reasons: ['CAPTURE_LIVE', 'FULL_FIRST_POINT'],
    });
    expect(point.disks[0]).toMatchObject({ target: 'vda', mapRoot: 'cd' });
    expect(await peers.reaches(request.itemId, 'succeeded')).toMatchObject({
      pointId: point.id,
      fault: null,
    });
    await until(() => peers.available.includes(point.id));
    const chains = await engine.client.request(listChains, { vmId: request.vmId });
    expect(chains.items).toMatchObject([{ id: point.chainId, poolId: request.poolId }]);
  });

  it('is idempotent: the same request again tells the present state and starts nothing', async () => {
    const request = await protect();
    const transfer = await engine.peers.transferOf(request.itemId);
    const before = engine.peers.items.length;
    await again(request);
    await until(() => engine.peers.items.length > before);
    for (let i = 0; i < 4; i++) await engine.peers.act(transfer);
    await engine.peers.reaches(request.itemId, 'succeeded');
    const known = engine.peers.items.length;
    await again(request);
    await until(() => engine.peers.items.length > known);
    expect((await engine.client.request(listPoints, { vmId: request.vmId })).items).toHaveLength(1);
  });

  it('tells the reason of a refused VM and makes no point', async () => {
    engine.peers.facts = sampleFacts({ powerState: 'migrating' });
    const request = await protect();
    expect(await engine.peers.reaches(request.itemId, 'failed')).toMatchObject({
      reasons: ['VM_MIGRATING'],
      fault: { code: 'PLATFORM_BUSY' },
      pointId: null,
    });
    expect(await pointOf(request)).toBeUndefined();
  });

  it('fails with the platform’s own message', async () => {
    engine.peers.refusal = new Fault('PLATFORM_LOGIN_REFUSED', 'the CVM does not take the password');
    const request = await protect();
    const { fault } = await engine.peers.reaches(request.itemId, 'failed');
    expect(fault).toMatchObject({
      code: 'PLATFORM_LOGIN_REFUSED',
      message: 'the CVM does not take the password',
    });
  });

  it('removes what a failed transfer left and marks the point failed', async () => {
    const request = await protect();
    const { peers } = engine;
    const transfer = await peers.transferOf(request.itemId);
    for (let i = 0; i < 3; i++) await peers.act(transfer);
    await peers.act(transfer, 2);
    await peers.reaches(request.itemId, 'failed');
    const point = await pointOf(request);
    expect(point).toMatchObject({ state: 'failed', fault: { code: 'POOL_FULL' } });
    expect(peers.removed).toContain(point?.id);
    expect((await engine.client.request(listChains, { vmId: request.vmId })).items).toEqual([]);
  });

  it('goes on where it was after it was killed, whatever came meanwhile', async () => {
    const request = await protect();
    const { peers } = engine;
    const transfer = await peers.transferOf(request.itemId);
    await peers.act(transfer);
    await engine.service.kill9();
    for (let i = 0; i < 3; i++) await peers.act(transfer);
    await engine.boot();
    await reachesState(request, 'available');
    await peers.reaches(request.itemId, 'succeeded');
  });

  it('outlives NATS and Postgres', async () => {
    const request = await protect();
    const { peers } = engine;
    const transfer = await peers.transferOf(request.itemId);
    await engine.nats.kill();
    await engine.postgres.kill();
    await engine.postgres.start();
    await engine.nats.start();
    await until(() => engine.client.connected);
    for (let i = 0; i < 4; i++) await peers.act(transfer);
    await peers.reaches(request.itemId, 'succeeded');
    await reachesState(request, 'available');
  });

  it('restores a point to a new VM, and hands it over', async () => {
    const point = await available();
    const request = sampleRestoreVm(point.id);
    await engine.client.send(restoreVm, request, { messageId: newId() });
    const transfer = await engine.peers.transferOf(request.itemId);
    for (let i = 0; i < 4; i++) await engine.peers.act(transfer);
    expect(await engine.peers.reaches(request.itemId, 'succeeded')).toMatchObject({
      restoredVmId: engine.peers.facts.vm.id,
      pointId: point.id,
    });
    expect(engine.peers.vms.get(request.itemId)).toBe('finished');
  });

  it('F3, R14: restores over the original path, after which the next backup is a new full', async () => {
    const { peers } = engine;
    const { vm } = peers.facts;
    const nics = [
      { mac: '0c:da:41:1d:00:01', switchName: 'vswitch0', profileName: 'Default', model: 'virtio' },
    ];
    peers.facts = { ...peers.facts, vm: { ...vm, nics } };
    const vmId = vm.id;
    const first = sampleProtectVm();
    const again = { ...first, vmId, pointKind: 'incremental' as const };
    const succeed = async (itemId: string): Promise<void> => {
      const transfer = await peers.transferOf(itemId);
      for (let i = 0; i < 4; i++) await peers.act(transfer);
      await peers.reaches(itemId, 'succeeded');
    };
    await engine.client.send(protectVm, { ...first, vmId }, { messageId: newId() });
    await succeed(first.itemId);
    const [point] = (await engine.client.request(listPoints, { vmId })).items;
    const restore = sampleRestoreVm(point?.id ?? newId<PointId>());
    const target = { ...restore.target, platformId: vm.platformId, path: 'original' as const, keepMac: true };
    await engine.client.send(restoreVm, { ...restore, target }, { messageId: newId() });
    await succeed(restore.itemId);
    expect(peers.made.get(restore.itemId)).toMatchObject({
      sourceVmId: vmId,
      original: { leftOut: [] },
      nics: [{ mac: '0c:da:41:1d:00:01' }],
    });
    const next = { ...again, itemId: newId<RunItemId>() };
    await engine.client.send(protectVm, next, { messageId: newId() });
    await succeed(next.itemId);
    const [newest] = (await engine.client.request(listPoints, { vmId })).items;
    expect(newest).toMatchObject({ kind: 'full' });
    expect(newest?.reasons).toContain('RESTORED_SINCE');
    expect(newest?.chainId).not.toBe(point?.chainId);
  });

  it('F9: makes an image of a point, over a kill, and tells its id', async () => {
    const point = await available();
    const request = sampleImage(point.id);
    await engine.client.send(createFromPoint, request, { messageId: newId() });
    const transfer = await engine.peers.transferOf(request.itemId);
    expect(engine.peers.vms.get(request.itemId)).toBe('half');
    await engine.service.kill9();
    for (let i = 0; i < 4; i++) await engine.peers.act(transfer);
    await engine.boot();
    expect(await engine.peers.reaches(request.itemId, 'succeeded')).toMatchObject({
      restoredVmId: null,
      imageId: '131',
      pointId: point.id,
    });
    expect(engine.peers.vms.get(request.itemId)).toBe('finished');
  });

  it('leaves no half VM when a restore is stopped', async () => {
    const point = await available();
    const request = sampleRestoreVm(point.id);
    await engine.client.send(restoreVm, request, { messageId: newId() });
    const transfer = await engine.peers.transferOf(request.itemId);
    await engine.peers.act(transfer);
    expect(engine.peers.vms.get(request.itemId)).toBe('half');
    await engine.client.send(stopItem, { itemId: request.itemId }, { messageId: newId() });
    await engine.peers.reaches(request.itemId, 'stopped');
    expect(engine.peers.vms.has(request.itemId)).toBe(false);
  });

  it('pages through points, newest first, and knows what it does not have', async () => {
    const made = [await available(), await available(), await available()];
    const first = await engine.client.request(listPoints, { limit: 2 });
    expect(first.items.map(({ id }) => id)).toEqual([made[2]?.id, made[1]?.id]);
    const cursor = first.nextCursor ?? '';
    const second = await engine.client.request(listPoints, { limit: 1, cursor });
    expect(second.items.map(({ id }) => id)).toEqual([made[0]?.id]);
    const missing = engine.client.request(getPoint, { pointId: newId<PointId>() });
    await expect(missing).rejects.toMatchObject({ code: 'NOT_FOUND' });
    const foreign = engine.client.request(listPoints, { cursor: 'x' });
    await expect(foreign).rejects.toMatchObject({ code: 'INPUT_INVALID' });
  });

  it('E7: copies points to another pool, each once and on the copy before it; backups and deletions heed them', async () => {
    const request = await protect();
    const next = {
      ...sampleProtectVm(),
      vmId: request.vmId,
      poolId: request.poolId,
      pointKind: 'incremental',
    };
    const finish = async ({ itemId }: { itemId: RunItemId }) => {
      const transfer = await engine.peers.transferOf(itemId);
      for (let i = 0; i < 4; i++) await engine.peers.act(transfer);
      return engine.peers.reaches(itemId, 'succeeded');
    };
    const full = (await finish(request)).pointId as PointId;
    await again(next as ProtectVm);
    const second = (await finish(next)).pointId as PointId;
    const poolId = newId<PoolId>();
    const toCopy = async (newestOnly = false) => {
      const { vmId, poolId: from } = request;
      const asked = { poolId: from, targetPoolId: poolId, vmIds: [vmId], newestOnly };
      return (await engine.client.request(listPointsToCopy, asked)).items.map(({ pointId }) => pointId);
    };
    expect([await toCopy(), await toCopy(true)]).toEqual([[full, second], [second]]);
    const copy = async (pointId: PointId, into = poolId) => {
      const itemId = newId<RunItemId>();
      const { options } = request;
      const payload = { itemId, runId: newId<RunId>(), pointId, poolId: into, group: 'default', options };
      await engine.client.send(copyPoint, payload, { messageId: newId() });
      return { itemId };
    };
    const first = await copy(full);
    await engine.peers.transferOf(first.itemId);
    const deletion = { deletionId: newId<DeletionId>(), pointIds: [second] };
    await expect(engine.client.request(createDeletion, deletion, { actor: 'ann' })).rejects.toMatchObject({
      code: 'POINT_IN_USE',
    });
    const copyId = (await finish(first)).pointId as PointId;
    const incremental = await copy(second);
    const { spec } = await engine.peers.transferOf(incremental.itemId);
    expect(spec).toMatchObject({ kind: 'copy', parentPointId: copyId, source: { sincePointId: full } });
    await finish(incremental);
    expect(await toCopy()).toEqual([]);
    const there = await engine.client.request(getPoint, { pointId: second, poolId });
    expect(there).toMatchObject({
      copyOf: second,
      parentPointId: copyId,
      kind: 'incremental',
      state: 'available',
    });
    expect(there.disks[0]).toMatchObject({ target: 'vda', mapRoot: 'cd' });
    const back = await engine.client.request(getPoint, { pointId: there.id, poolId: request.poolId });
    expect(back.id).toBe(second);
    const twice = await copy(full);
    expect((await engine.peers.reaches(twice.itemId, 'succeeded')).pointId).toBe(copyId);
    expect(
      [...engine.peers.transfers.values()].some(({ present }) => present?.ownerId === twice.itemId),
    ).toBe(false);
    const failing = await copy(full, newId<PoolId>());
    const transfer = await engine.peers.transferOf(failing.itemId);
    for (const pick of [3, 3, 3, 2]) await engine.peers.act(transfer, pick);
    await engine.peers.reaches(failing.itemId, 'failed');
    expect(engine.peers.removed).toContain(transfer.present && (transfer.spec as CopySpec).pointId);
    const other = { ...sampleProtectVm(), vmId: request.vmId, poolId, pointKind: 'incremental' } as ProtectVm;
    await again(other);
    await finish(other);
    const made = (await engine.client.request(listPoints, { vmId: request.vmId, limit: 1 })).items[0];
    expect(made).toMatchObject({ poolId, kind: 'full', parentPointId: null, copyOf: null });
  });
});
