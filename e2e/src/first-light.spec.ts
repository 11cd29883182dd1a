import { allocatedBytes } from '@casvault/stack';
import { inspectWitnessFiles, startCephRgw, tempDir, type CephRgw, type TempDir } from '@casvault/testkit';
import {
  expectNothingLeft,
  expectRestoredEqual,
  expectSucceeded,
  MiB,
  pointOf,
  startWorld,
  type World,
} from './world.js';

const GiB = 1024 * MiB;
const sectors = 512;

/** D2, D3, F4, E1, E3 over all services, against real QEMU, real S3 and an independent copy of the captured instant. */
describe('first light', () => {
  let world: World;
  let rgwDir: TempDir;
  let rgw: CephRgw;

  beforeAll(async () => {
    rgwDir = await tempDir('e2e-rgw');
    rgw = await startCephRgw({ dir: rgwDir.path });
    world = await startWorld('first-light', {
      vms: [
        {
          name: 'busy',
          host: 1,
          disks: [
            { sizeBytes: GiB, dataBytes: 200 * MiB },
            { sizeBytes: GiB, dataBytes: 100 * MiB },
          ],
          workload: {},
        },
        {
          name: 'shapes',
          host: 1,
          guest: 'idle',
          disks: [
            { sizeBytes: GiB, format: 'qcow2', dataBytes: 64 * MiB, seed: 1 },
            { sizeBytes: 96 * MiB, format: 'raw', dataBytes: 48 * MiB, seed: 2 },
            {
              sizeBytes: 50 * MiB + 7 * sectors,
              format: 'qcow2',
              dataBytes: 50 * MiB + 7 * sectors,
              seed: 3,
            },
            { sizeBytes: 256 * MiB, format: 'qcow2', dataBytes: 0 },
            { sizeBytes: 64 * GiB, format: 'qcow2', dataBytes: 200 * MiB, seed: 4 },
          ],
        },
      ],
    });
  });
  afterAll(async () => {
    await world[Symbol.asyncDispose]();
    await rgw.stop();
    await rgwDir.remove();
  });

  const objectPool = async (name: string): Promise<string> => {
    const { endpoint, accessKeyId, secretKey } = rgw;
    await rgw.createBucket(`e2e-${name}`);
    const pool = await world.trial.api.createPool({
      name,
      type: 'object',
      endpoint,
      bucket: `e2e-${name}`,
      accessKeyId,
      secretKey,
    });
    return pool.id;
  };

  it('D3: two disks of a VM that writes are restored as of one instant, from a standard pool', async () => {
    const vm = await world.trial.vm(world.platform, 'busy');
    const pool = await world.trial.standardPool('standard');
    const labVm = world.trial.lab.vms.find((one) => one.name === 'busy');
    const before = await world.trial.lab.admin.workload(labVm?.id ?? 0);
    const run = expectSucceeded(await world.trial.backUp(vm, pool.id));
    const after = await world.trial.lab.admin.workload(labVm?.id ?? 0);
    const point = await pointOf(world, run);
    expect(point).toMatchObject({ state: 'available', kind: 'full', method: 'live' });
    expect(after.number).toBeGreaterThan(before.number);
    expect(after.errors).toBe(0);

    const restored = await expectRestoredEqual(world, point);
    const reference = await world.trial.referenceOf(point);
    const witness = await inspectWitnessFiles(reference.get('vda') ?? '', reference.get('vdb') ?? '');
    expect(witness.verdict).toMatch(/one instant/);
    expect(witness.a.last).toBeGreaterThan(0);
    expect(restored.powerState).toBe('stopped');
    await expectNothingLeft(world);
  });

  it('E3: the same VM, into an object pool on a real S3 server', async () => {
    const vm = await world.trial.vm(world.platform, 'busy');
    const run = expectSucceeded(await world.trial.backUp(vm, await objectPool('object')));
    await expectRestoredEqual(world, await pointOf(world, run));
    await expectNothingLeft(world);
  });

  it.each(['standard', 'object'])(
    'D2: qcow2 with holes, raw, a size that is no multiple of the block, an empty disk and 64 GiB of sparse disk, in a %s pool',
    async (type) => {
      const vm = await world.trial.vm(world.platform, 'shapes');
      const poolId =
        type === 'object'
          ? await objectPool('shapes')
          : (await world.trial.standardPool('shapes-standard')).id;
      const run = expectSucceeded(await world.trial.backUp(vm, poolId));
      const point = await pointOf(world, run);
      const sparse = point.disks.find((disk) => disk.sizeBytes === 64 * GiB);
      const empty = point.disks.find((disk) => disk.sizeBytes === 256 * MiB);
      // In proportion to the data: clusters of 256 KiB round the 200 MiB up.
      expect(sparse?.readBytes).toBeLessThan(300 * MiB);
      expect(sparse?.storedBytes).toBeLessThan(300 * MiB);
      expect(empty).toMatchObject({ readBytes: 0, storedBytes: 0 });

      const restored = await expectRestoredEqual(world, point);
      const restoredSparse = restored.disks.find((disk) => disk.sizeBytes === 64 * GiB);
      expect(await allocatedBytes(restoredSparse?.path ?? '')).toBeLessThan(400 * MiB);
    },
  );
});
