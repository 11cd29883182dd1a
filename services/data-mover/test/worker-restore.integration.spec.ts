import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { type BackupSpec } from '@casvault/contracts';
import { until, type RunningProcess } from '@casvault/testkit';
import { mib, WorkerWorld } from './worker-world.js';

const sizeBytes = 96 * mib;
const dataBytes = 40 * mib;
/** Ten seconds for all of the data; progress is told every four. */
const slow = 4 * mib;

describe('a restore', () => {
  let world: WorkerWorld;
  let image: string;
  let point: BackupSpec;
  let worker: RunningProcess;
  beforeAll(async () => {
    world = await WorkerWorld.start();
    image = await world.image(sizeBytes, dataBytes);
    point = world.backupSpec([image]);
    await world.worker('mover-1');
    await world.controller.reaches(world.controller.begin(point), 'succeeded');
  });
  beforeEach(async () => {
    for (const running of world.workers) await running.stop();
    worker = await world.worker('mover-1');
  });
  afterAll(() => world.stop());

  /** A slow restore, some MiB behind it. */
  const underWay = async (volume: string) => {
    world.disks.bytesPerSecond = slow;
    const transferId = world.controller.begin(world.restoreSpec(point, [{ path: volume, sizeBytes }]));
    await until(() => world.controller.moved(transferId) >= 8 * mib);
    world.disks.bytesPerSecond = 0;
    return transferId;
  };

  it('is taken over from a killed worker, through the opening that stands', async () => {
    const volume = await world.volume(sizeBytes);
    const transferId = await underWay(volume);
    const [openingId] = world.disks.openings.keys();
    await worker.kill9();
    await world.worker('mover-2');
    await world.controller.reaches(transferId, 'succeeded', 90_000);
    expect(world.controller.state(transferId).epoch).toBe(2);
    expect(world.disks.closed.filter((id) => id === openingId)).toHaveLength(1);
    expect(world.disks.openings.size).toBe(0);
    expect(await world.compare(image, volume)).toBe('');
  });

  it('opens anew a volume whose opening its host lost', async () => {
    const volume = await world.volume(sizeBytes);
    const transferId = await underWay(volume);
    for (const id of world.disks.openings.keys()) await world.disks.lose(id);
    await world.controller.reaches(transferId, 'succeeded', 90_000);
    expect(world.controller.state(transferId)).toMatchObject({ epoch: 1, recaptures: 0 });
    expect(world.disks.openings.size).toBe(0);
    expect(await world.compare(image, volume)).toBe('');
  });

  it('that is stopped leaves its volumes free', async () => {
    const transferId = await underWay(await world.volume(sizeBytes));
    world.controller.deliver(transferId, { type: 'stop' });
    await world.controller.reaches(transferId, 'stopped', 8_000);
    expect(world.disks.openings.size).toBe(0);
  });

  it('writes zeros over what a volume held before', async () => {
    const volume = await world.volume(sizeBytes, 'raw');
    await promisify(execFile)('qemu-io', ['-f', 'raw', '-c', `write -P 170 0 ${sizeBytes}`, volume]);
    const transferId = world.controller.begin(world.restoreSpec(point, [{ path: volume, sizeBytes }]));
    await world.controller.reaches(transferId, 'succeeded');
    expect(await world.compare(image, volume)).toBe('');
  });

  it('into a volume that is too small is refused', async () => {
    const path = await world.volume(sizeBytes - 2 * mib);
    const spec = world.restoreSpec(point, [{ path, sizeBytes: sizeBytes - 2 * mib }]);
    const { fault } = await world.controller.reaches(world.controller.begin(spec), 'failed');
    expect(fault).toMatchObject({ code: 'INPUT_INVALID', details: { target: 'vda', diskBytes: sizeBytes } });
  });
});
