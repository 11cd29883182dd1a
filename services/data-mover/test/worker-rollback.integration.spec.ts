import { execFile } from 'node:child_process';
import { copyFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { type BackupSpec } from '@casvault/contracts';
import { until, type RunningProcess } from '@casvault/testkit';
import { mib, WorkerWorld } from './worker-world.js';

const run = promisify(execFile);
const sizeBytes = 32 * mib;
const dataBytes = 12 * mib;
/** 3 MiB of other data, 2 MiB over zeros, and zeros over 1 MiB of data. */
const differingBytes = 6 * mib;
/** Some seconds for all of the data; progress is told every two. */
const slow = 2 * mib;

describe('F8: a roll-back in place', () => {
  let world: WorkerWorld;
  let images: string[];
  let copies: string[];
  let point: BackupSpec;
  let worker: RunningProcess;
  beforeAll(async () => {
    world = await WorkerWorld.start();
    images = [await world.image(sizeBytes, dataBytes), await world.image(sizeBytes, dataBytes)];
    copies = images.map((path) => path.replace('.qcow2', '-at-the-point.qcow2'));
    for (const [i, path] of images.entries()) await copyFile(path, copies[i]!);
    point = world.backupSpec(images);
    await world.worker('mover-1');
    await world.controller.reaches(world.controller.begin(point), 'succeeded');
  });
  beforeEach(async () => {
    world.disks.bytesPerSecond = 0;
    for (const running of world.workers) await running.stop();
    worker = await world.worker('mover-1');
    // Over data, over zeros, and zeros over data.
    for (const path of images)
      await run('qemu-io', [
        '-c',
        'write -P 7 1M 3M',
        '-c',
        'write -P 9 28M 2M',
        '-c',
        'write -z 4M 2M',
        path,
      ]);
  });
  afterAll(() => world.stop());

  const begin = () =>
    world.controller.begin(
      world.rollbackSpec(
        point,
        images.map((path) => ({ path, sizeBytes })),
      ),
    );
  const expectRolledBack = async () => {
    for (const [i, path] of images.entries()) expect(await world.compare(copies[i]!, path)).toBe('');
  };
  const underWay = async () => {
    world.disks.bytesPerSecond = slow;
    const transferId = begin();
    await until(() => world.controller.moved(transferId) >= mib);
    world.disks.bytesPerSecond = 0;
    return transferId;
  };

  it('writes what differs and nothing else, and the volumes are free afterwards', async () => {
    const { progress, capturedAt } = await world.controller.reaches(begin(), 'succeeded');
    expect(progress).toMatchObject([
      { target: 'vda', durable: true, writtenBytes: differingBytes },
      { target: 'vdb', durable: true, writtenBytes: differingBytes },
    ]);
    expect(capturedAt).not.toBeNull();
    expect(world.disks.openings.size).toBe(0);
    await expectRolledBack();
  });

  it('is taken over from a worker that was killed in the middle, to the same bytes', async () => {
    const transferId = await underWay();
    await worker.kill9();
    await world.worker('mover-2');
    await world.controller.reaches(transferId, 'succeeded', 90_000);
    expect(world.controller.state(transferId).epoch).toBe(2);
    await expectRolledBack();
  });

  it('that is stopped says which disk was touched, and done again ends it', async () => {
    const transferId = await underWay();
    world.controller.deliver(transferId, { type: 'stop' });
    const { progress, capturedAt } = await world.controller.reaches(transferId, 'stopped', 20_000);
    expect(capturedAt).not.toBeNull();
    expect(progress[0]?.target).toBe('vda');
    expect(progress.every(({ durable }) => durable === true)).toBe(false);
    expect(world.disks.openings.size).toBe(0);
    await world.controller.reaches(begin(), 'succeeded');
    await expectRolledBack();
  });

  it('that finds a disk of another size writes nothing', async () => {
    const short = images.map((path, i) => ({ path, sizeBytes: i === 0 ? sizeBytes : sizeBytes - mib }));
    await run('qemu-img', ['resize', '-q', '--shrink', images[1]!, String(sizeBytes - mib)]);
    const before = await world.compare(copies[0]!, images[0]!);
    const transferId = world.controller.begin(world.rollbackSpec(point, short));
    const { progress, fault } = await world.controller.reaches(transferId, 'failed');
    expect(fault?.message).toMatch(/size|bytes/);
    expect(progress).toEqual([]);
    expect(await world.compare(copies[0]!, images[0]!)).toBe(before);
  });
});
