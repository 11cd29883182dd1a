import {
  isTransferOver,
  nextWriter,
  newId,
  removePoints,
  replaceOpening,
  startTransfer,
  stopTransfer,
  type RunItemId,
  type TransferId,
} from '@casvault/contracts';
import { until } from '@casvault/testkit';
import { backupSpec, pool, restoreSpec, RunningController } from './running-controller.js';

const lost = { code: 'LEASE_LOST' };

describe('the data-mover’s controller over NATS and Postgres', () => {
  let controller: RunningController;
  beforeAll(async () => {
    controller = await RunningController.start();
  });
  afterAll(() => controller.stop());

  it('rings, grants, and tells capture, progress and end', async () => {
    const transferId = await controller.transfer();
    const worker = controller.worker();
    const claim = await worker.claim(transferId);
    expect(claim).toMatchObject({ outcome: 'claimed', epoch: 1, leaseSeconds: 15, earlierWriters: [] });
    const capturedAt = '2026-01-01T00:00:00.000Z';
    expect(await worker.renew(transferId, 1, 0, capturedAt)).toMatchObject({ verdict: 'go on' });
    await until(() => controller.of(transferId).some((change) => change.capturedAt === capturedAt));
    expect(await controller.worker().claim(transferId)).toEqual({ outcome: 'declined', state: 'running' });
    const isOver = (id: TransferId) => controller.client.request(isTransferOver, { transferId: id });
    expect(await isOver(transferId)).toEqual({ isOver: false });
    await worker.finish(transferId, 1);
    await worker.finish(transferId, 1);
    expect(await isOver(transferId)).toEqual({ isOver: true });
    expect(await isOver(newId<TransferId>())).toEqual({ isOver: false });
    expect(await controller.reaches(transferId, 'succeeded')).toMatchObject({ epoch: 1, kind: 'restore' });
    expect(await worker.claim(transferId)).toEqual({ outcome: 'declined', state: 'succeeded' });
  });

  it('H4: tells what waits, since when, and nothing of it once it is gone', async () => {
    const age = async () => {
      const { samples } = await controller.scrape();
      return samples.find(({ name }) => name === 'casvault_transfer_queue_age_seconds');
    };
    const transferId = await controller.transfer();
    const waiting = await until(age, 60_000);
    expect(waiting.labels).toMatchObject({ group: 'default' });
    expect(waiting.value).toBeGreaterThanOrEqual(0);
    expect((await controller.scrape()).sum('casvault_transfers', { state: 'queued' })).toBe(1);
    const worker = controller.worker();
    await worker.finish(transferId, await worker.take(transferId));
    await controller.reaches(transferId, 'succeeded');
    expect(await age()).toBeUndefined();
    expect((await controller.scrape()).sum('casvault_transfers', { state: 'queued' })).toBe(0);
  });

  it('gives a lost worker’s transfer to another, and refuses the zombie everything', async () => {
    const transferId = await controller.transfer();
    const [zombie, heir] = [controller.worker(), controller.worker()];
    const first = await zombie.claim(transferId);
    await zombie.renew(transferId, 1, 10);
    await controller.reaches(transferId, 'running');
    const before = controller.nudges.length;
    expect((await controller.reaches(transferId, 'queued')).reasons).toContain('WORKER_LOST');
    await until(() => controller.nudges.slice(before).includes(transferId));
    const second = await heir.claim(transferId);
    if (first.outcome !== 'claimed' || second.outcome !== 'claimed') throw new Error('declined');
    expect(second).toMatchObject({ epoch: 2, openingId: first.openingId });
    expect(second.writerId).not.toBe(first.writerId);
    expect(second.earlierWriters).toEqual([{ writerId: first.writerId, openingId: first.openingId }]);
    await expect(zombie.renew(transferId, 1)).rejects.toMatchObject(lost);
    await expect(zombie.finish(transferId, 1)).rejects.toMatchObject(lost);
    const zombies = { transferId, epoch: 1 };
    await expect(controller.client.request(nextWriter, zombies)).rejects.toMatchObject(lost);
    const replacing = { ...zombies, lostOpeningId: first.openingId };
    await expect(controller.client.request(replaceOpening, replacing)).rejects.toMatchObject(lost);
    await heir.finish(transferId, 2);
    await controller.reaches(transferId, 'succeeded');
  });

  it('keeps claims over its own death, and those of NATS and Postgres', async () => {
    const transferId = await controller.transfer();
    const worker = controller.worker();
    const epoch = await worker.take(transferId);
    await controller.service.kill9();
    await controller.boot();
    expect(await worker.renew(transferId, epoch, 1)).toMatchObject({ verdict: 'go on' });
    await controller.postgres.kill();
    await controller.nats.kill();
    await controller.nats.start();
    await controller.postgres.start();
    await until(() => worker.renew(transferId, epoch, 2));
    await worker.finish(transferId, epoch);
    await controller.reaches(transferId, 'succeeded');
  });

  it('goes on at once with what a draining worker hands back', async () => {
    const transferId = await controller.transfer();
    const worker = controller.worker();
    const before = controller.nudges.length;
    await worker.finish(transferId, await worker.take(transferId), 'released');
    await until(() => controller.nudges.slice(before).includes(transferId));
    expect(await controller.worker().take(transferId)).toBe(2);
  });

  it('replaces a lost capture, and gives every attempt a writer of its own', async () => {
    const transferId = await controller.transfer();
    const claim = await controller.worker().claim(transferId);
    if (claim.outcome !== 'claimed') throw new Error('declined');
    const { epoch, openingId, writerId } = claim;
    const lostOpeningId = openingId;
    const replaced = await controller.client.request(replaceOpening, { transferId, epoch, lostOpeningId });
    expect(replaced.openingId).not.toBe(openingId);
    expect(await controller.client.request(replaceOpening, { transferId, epoch, lostOpeningId })).toEqual(
      replaced,
    );
    const next = await controller.client.request(nextWriter, { transferId, epoch });
    expect(next.earlierWriters).toEqual([
      { writerId, openingId },
      { writerId: replaced.writerId, openingId: replaced.openingId },
    ]);
    expect(new Set([writerId, replaced.writerId, next.writerId]).size).toBe(3);
    const change = await until(() => controller.of(transferId).find(({ reasons }) => reasons.length > 0));
    expect(change.reasons).toEqual(['CAPTURE_LOST_RESTARTED']);
  });

  it('stops through the worker, and fails with the worker’s fault', async () => {
    const stopping = await controller.transfer();
    const failing = await controller.transfer();
    const worker = controller.worker();
    const epoch = await worker.take(stopping);
    await controller.client.send(stopTransfer, { transferId: stopping }, { messageId: newId() });
    await until(async () => (await worker.renew(stopping, epoch)).verdict === 'stop');
    await worker.finish(stopping, epoch, 'stopped');
    await controller.reaches(stopping, 'stopped');
    await worker.finish(failing, await worker.take(failing), 'failed');
    expect((await controller.reaches(failing, 'failed')).fault).toMatchObject({ code: 'POOL_FULL' });
  });

  it('tells the present state to whoever asks again', async () => {
    const spec = restoreSpec();
    const transferId = await controller.transfer(spec);
    const ownerId = newId<RunItemId>();
    const before = controller.of(transferId).length;
    const request = { transferId, ownerId, group: 'default', spec };
    await controller.client.send(startTransfer, request, { messageId: newId() });
    await until(() => controller.of(transferId).length > before);
    const times = controller.of(transferId).map(({ at }) => at);
    expect(new Set(times).size).toBe(times.length);
    expect(controller.of(transferId).at(-1)?.epoch).toBe(0);
  });

  it('lets a point’s data be removed by a worker once nobody uses the point', async () => {
    const spec = backupSpec();
    const { pointId, chainId } = spec;
    const writing = await controller.transfer(spec);
    const worker = controller.worker();
    const written = await worker.claim(writing);
    if (written.outcome !== 'claimed') throw new Error('declined');
    const { epoch, writerId } = written;
    const removal = newId<TransferId>();
    const command = {
      transferId: removal,
      ownerId: newId<RunItemId>(),
      poolId: pool.id,
      chainId,
      pointIds: [pointId],
    };
    await controller.client.send(removePoints, command, { messageId: newId() });
    await worker.renew(writing, epoch, 5);
    expect(controller.nudges).not.toContain(removal);
    await worker.finish(writing, epoch, 'failed');
    await until(() => controller.nudges.includes(removal));
    const claim = await worker.claim(removal);
    const removing = { kind: 'removal', pointIds: [pointId], chainId, pool, writers: [writerId] };
    expect(claim).toMatchObject({ outcome: 'claimed', spec: removing });
    await worker.finish(removal, 1);
    expect((await controller.reaches(removal, 'succeeded')).kind).toBe('removal');
  });

  it('knows what it does not have', async () => {
    const unknown = newId<TransferId>();
    await expect(controller.worker().claim(unknown)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});
