import { Fault, type TransferId } from '@casvault/contracts';
import { until, type RunningProcess } from '@casvault/testkit';
import { mib, WorkerWorld } from './worker-world.js';

const sizeBytes = 160 * mib;
const dataBytes = 72 * mib;
/** Nine seconds for all of the data. */
const slow = 8 * mib;

describe('a backup that is interrupted', () => {
  let world: WorkerWorld;
  let image: string;
  let worker: RunningProcess;
  beforeAll(async () => {
    world = await WorkerWorld.start();
    image = await world.image(sizeBytes, dataBytes);
  });
  beforeEach(async () => {
    world.disks.bytesPerSecond = slow;
    worker = await world.worker('mover-1');
  });
  afterEach(async () => {
    world.controller.onRenew = () => undefined;
    for (const running of world.workers) await running.stop();
  });
  afterAll(() => world.stop());

  /** A slow backup, some packs behind it. */
  const underWay = async () => {
    const spec = world.backupSpec([image]);
    const transferId = world.controller.begin(spec);
    await until(() => world.controller.moved(transferId) >= 24 * mib);
    return { spec, transferId };
  };
  const resultOf = async (transferId: TransferId) => {
    const { result } = await world.controller.reaches(transferId, 'succeeded', 90_000);
    return result!.disks[0]!;
  };

  it('by kill -9 goes on in another worker with the packs that are there', async () => {
    const { spec, transferId } = await underWay();
    await worker.kill9();
    await world.worker('mover-2');
    const { doneBytes, resumedBytes } = await resultOf(transferId);
    expect(resumedBytes).toBeGreaterThan(8 * mib);
    expect(doneBytes + resumedBytes).toBe(dataBytes);
    const { reasons, epoch } = world.controller.state(transferId);
    expect({ reasons, epoch }).toEqual({
      reasons: expect.arrayContaining(['WORKER_LOST']) as string[],
      epoch: 2,
    });
    expect(await world.restored(spec, image, sizeBytes)).toBe('');
    await until(() => world.disks.openings.size === 0);
  });

  it('by the end of its process is handed back at once, its capture left standing', async () => {
    const { spec, transferId } = await underWay();
    const { openingId } = world.controller.state(transferId);
    const began = performance.now();
    expect(await worker.stop()).toBe(0);
    expect(performance.now() - began).toBeLessThan(10_000);
    expect(world.controller.state(transferId).state).toBe('queued');
    expect([...world.disks.openings.keys()]).toEqual([openingId]);
    await world.worker('mover-2');
    const { resumedBytes } = await resultOf(transferId);
    expect(resumedBytes).toBeGreaterThan(8 * mib);
    expect(world.controller.state(transferId).reasons).not.toContain('WORKER_LOST');
    expect(await world.restored(spec, image, sizeBytes)).toBe('');
  });

  it('by a stop ends at a block and leaves nothing open', async () => {
    const { spec, transferId } = await underWay();
    const openingId = world.controller.state(transferId).openingId;
    world.controller.deliver(transferId, { type: 'stop' });
    await world.controller.reaches(transferId, 'stopped', 8_000);
    await until(() => world.disks.openings.size === 0);
    expect(world.disks.closed).toContain(openingId);
    expect(await world.objects(`points/${spec.chainId}`)).toEqual([]);
  });

  it('by a successor is not committed, and its capture not closed', async () => {
    world.disks.bytesPerSecond = 0;
    const spec = world.backupSpec([await world.image(8 * mib, 2 * mib)]);
    let isTaken = false;
    // The one that asks whether to commit, or one before it that tells of what is stored.
    world.controller.onRenew = async (transferId, epoch) => {
      if (isTaken || (await world.objects(`packs/${spec.chainId}`)).length === 0) return;
      isTaken = true;
      const state = world.controller.state(transferId);
      world.controller.transfers.set(transferId, { ...state, epoch: epoch + 1 });
    };
    const transferId = world.controller.begin(spec);
    await worker.sees(/"outcome":"lost"/);
    expect(await world.objects(`packs/${spec.chainId}`)).not.toEqual([]);
    expect(await world.objects(`points/${spec.chainId}`)).toEqual([]);
    const { openingId } = world.controller.state(transferId);
    expect(world.disks.openings.has(openingId!)).toBe(true);
    expect(world.disks.closed).not.toContain(openingId);
    await world.disks.lose(openingId!);
    world.disks.openings.delete(openingId!);
    world.controller.transfers.delete(transferId);
  });

  it('by the loss of its capture begins anew with another', async () => {
    const { spec, transferId } = await underWay();
    const before = world.controller.state(transferId);
    world.disks.bytesPerSecond = 0;
    await world.disks.lose(before.openingId!);
    const { doneBytes, resumedBytes } = await resultOf(transferId);
    expect({ doneBytes, resumedBytes }).toEqual({ doneBytes: dataBytes, resumedBytes: 0 });
    const after = world.controller.state(transferId);
    expect(after.openingId).not.toBe(before.openingId);
    expect(Date.parse(after.capturedAt!)).toBeGreaterThan(Date.parse(before.capturedAt!));
    expect(after.result?.reasons).toEqual(['CAPTURE_LOST_RESTARTED']);
    expect(await world.restored(spec, image, sizeBytes)).toBe('');
  });

  it('by a host that is away for a while goes on where it stopped', async () => {
    const { spec, transferId } = await underWay();
    await world.disks.down();
    await worker.sees(/transfer interrupted/);
    await world.disks.up();
    const { doneBytes, resumedBytes } = await resultOf(transferId);
    expect(resumedBytes).toBeGreaterThan(8 * mib);
    expect(doneBytes + resumedBytes).toBe(dataBytes);
    expect(world.controller.state(transferId)).toMatchObject({ epoch: 1, recaptures: 0 });
    expect(await world.restored(spec, image, sizeBytes)).toBe('');
  });

  it('by a pool that is away for a while goes on where it stopped', async () => {
    const { spec, transferId } = await underWay();
    const away = await world.movePoolAway();
    await worker.sees(/transfer interrupted/);
    await away.back();
    const { doneBytes, resumedBytes } = await resultOf(transferId);
    expect(resumedBytes).toBeGreaterThan(8 * mib);
    expect(doneBytes + resumedBytes).toBe(dataBytes);
    expect(world.controller.state(transferId).epoch).toBe(1);
    expect(await world.restored(spec, image, sizeBytes)).toBe('');
  });

  it('by the silence of the controller goes on, and commits when it is back', async () => {
    const { spec, transferId } = await underWay();
    await world.controller.down();
    await worker.sees(/lease not renewed/);
    await world.controller.up(world.nats.url);
    expect(await resultOf(transferId)).toMatchObject({ doneBytes: dataBytes, resumedBytes: 0 });
    expect(world.controller.state(transferId).epoch).toBe(1);
    expect(await world.restored(spec, image, sizeBytes)).toBe('');
  });

  it('by the silence of the controller at its very end is reported when that is back', async () => {
    world.disks.bytesPerSecond = 0;
    const spec = world.backupSpec([await world.image(8 * mib, 2 * mib)]);
    let down = Promise.resolve();
    // Whether to commit is still answered, the end is not taken.
    world.controller.onFinish = () => {
      down = world.controller.down();
      throw new Fault('DEPENDENCY_UNAVAILABLE', 'the controller goes down');
    };
    const transferId = world.controller.begin(spec);
    await worker.sees(/end not reported/);
    world.controller.onFinish = () => undefined;
    await down;
    expect(world.controller.state(transferId).state).toBe('running');
    await world.controller.up(world.nats.url);
    await resultOf(transferId);
    expect(world.controller.state(transferId).epoch).toBe(1);
  });

  it('tells none of its secrets', () => {
    for (const secret of [world.disks.token, world.sealingKey, 'sealed:v1:'])
      expect(world.output).not.toContain(secret);
    expect(world.output).not.toContain('Warning');
  });
});
