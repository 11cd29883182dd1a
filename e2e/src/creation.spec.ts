import { type Disk, type Point, type RunDetail, type Vm } from '@casvault/contracts';
import { sameDisk } from '@casvault/stack';
import { writeAsGuest } from './history/guest-io.js';
import { expectSucceeded, MiB, pointOf, startWorld, type World } from './world.js';

/** F9 over all services: a disk of a point as a new volume. */
describe('F9: disks created from a point', () => {
  let world: World;
  let vm: Vm;
  let point: Point;

  beforeAll(async () => {
    world = await startWorld('creation', {
      vms: [{ name: 'source', host: 1, disks: [{ sizeBytes: 32 * MiB }, { sizeBytes: 48 * MiB }] }],
    });
    vm = await world.trial.vm(world.platform, 'source');
    await writeAsGuest(labHost(), vm.uuid, 1, [
      { offset: 512, length: 3 * MiB, pattern: 0xa5 },
      { offset: 40 * MiB, length: 64 * 1024, pattern: 0x3c },
    ]);
    const { id: poolId } = await world.trial.standardPool('creation');
    point = await pointOf(world, expectSucceeded(await world.trial.backUp(vm, poolId)));
    // What is there now is not what the point has.
    await writeAsGuest(labHost(), vm.uuid, 1, [{ offset: MiB, length: MiB, pattern: 0x11 }]);
  });
  afterAll(() => world[Symbol.asyncDispose]());

  const labHost = () => {
    const [host] = world.trial.lab.hosts;
    if (host === undefined) throw new Error('the lab has no host');
    return host;
  };
  const create = async (fields: {
    target?: string;
    storageName?: string;
    attachTo?: Vm['id'];
  }): Promise<RunDetail> => {
    const { target = 'vdb', storageName = 'defaultpool', attachTo } = fields;
    const body = { platformId: world.platform.id, hostId: vm.hostId, storageName, name: 'yesterday' };
    const run = await world.trial.api.createVolume(point.id, target, {
      ...body,
      ...(attachTo === undefined ? {} : { attachTo }),
    });
    return world.trial.api.watchRun(run.id, () => undefined);
  };
  /** Compared with the independent copy of the captured instant. */
  const expectAtThePoint = async (disk: Pick<Disk, 'path' | 'format'>): Promise<void> => {
    const reference = (await world.trial.referenceOf(point)).get('vdb') ?? '';
    expect(await sameDisk({ path: reference, format: 'raw' }, disk)).toBe(true);
  };
  const loose = async () => (await world.trial.lab.admin.leftovers(1)).looseVolumes;

  it('F9: is attached to the running VM, and holds the bytes of the point', async () => {
    const run = expectSucceeded(await create({ attachTo: vm.id }));
    expect(run.kind).toBe('restore');
    expect(run.items[0]?.restoredVmId).toBe(vm.id);
    const volumeName = run.items[0]?.volumeName ?? 'none';
    const after = await world.trial.api.getVm(vm.id);
    expect(after.powerState).toBe('running');
    const disk = after.disks.find(({ path }) => path.endsWith(`/${volumeName}`));
    if (disk === undefined) throw new Error(`the VM has no disk ${volumeName}`);
    expect(disk).toMatchObject({ mode: 'dependent', role: 'data' });
    await expectAtThePoint(disk);
    expect(await loose()).toEqual([]);
  });

  it('F9: stays unattached, and holds the bytes of the point', async () => {
    const run = expectSucceeded(await create({}));
    expect(run.items[0]?.restoredVmId).toBeNull();
    const [path = ''] = await loose();
    expect(path.endsWith(`/${run.items[0]?.volumeName ?? 'none'}`)).toBe(true);
    await expectAtThePoint({ path, format: 'qcow2' });
  });

  it('F9: a run that cannot make it fails with the reason and leaves nothing', async () => {
    const before = await loose();
    const run = await create({ storageName: 'nowhere' });
    expect(run).toMatchObject({ state: 'failed', items: [{ fault: { code: 'INPUT_INVALID' } }] });
    await expect(create({ target: 'vdz' })).rejects.toMatchObject({ problem: { code: 'NOT_FOUND' } });
    expect(await loose()).toEqual(before);
  });
});
