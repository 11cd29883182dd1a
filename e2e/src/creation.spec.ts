import { CasClient } from '@casvault/cas-client';
import { type Disk, type NewImageBody, type Point, type RunDetail, type Vm } from '@casvault/contracts';
import { labBackup, sameDisk } from '@casvault/stack';
import { writeAsGuest } from './history/guest-io.js';
import { expectSucceeded, MiB, pointOf, startWorld, type World } from './world.js';

/** F9 over all services: a disk of a point as a new volume, its system disk as an image that VMs are deployed from. */
describe('F9: disks and images created from a point', () => {
  let world: World;
  let vm: Vm;
  let point: Point;
  let poolId: string;

  beforeAll(async () => {
    world = await startWorld('creation', {
      vms: [
        { name: 'source', host: 1, guest: 'idle', disks: [{ sizeBytes: 32 * MiB }, { sizeBytes: 48 * MiB }] },
      ],
    });
    vm = await world.trial.vm(world.platform, 'source');
    // Not while its kernel still looks for the device.
    for (const { id } of await world.trial.lab.admin.vms()) await world.trial.lab.admin.workload(id);
    await writeAsGuest(labHost(), vm.uuid, 1, [
      { offset: 512, length: 3 * MiB, pattern: 0xa5 },
      { offset: 40 * MiB, length: 64 * 1024, pattern: 0x3c },
    ]);
    ({ id: poolId } = await world.trial.standardPool('creation'));
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
  const expectAtThePoint = async (disk: Pick<Disk, 'path' | 'format'>, target = 'vdb'): Promise<void> => {
    const reference = (await world.trial.referenceOf(point)).get(target) ?? '';
    expect(await sameDisk({ path: reference, format: 'raw' }, disk)).toBe(true);
  };
  const createImage = async (fields: Partial<NewImageBody>, from = point): Promise<RunDetail> => {
    const place = { platformId: world.platform.id, hostId: vm.hostId, storageName: 'defaultpool' };
    const run = await world.trial.api.createImage(from.id, { ...place, name: 'golden', ...fields });
    return world.trial.api.watchRun(run.id, () => undefined);
  };
  const connect = (): CasClient => {
    const { address, port, user: userName, password } = world.trial.lab.cvm;
    return new CasClient({ address, port, userName, password, ssl: false, sslIgnoreErrors: false });
  };
  const inLab = async (name: string) => {
    const found = (await world.trial.lab.admin.vms()).find((one) => one.name === name);
    if (found === undefined) throw new Error(`the lab has no VM ${name}`);
    return found;
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

  it('F9: an image of the system disk, from which the platform deploys VMs that hold the bytes of the point', async () => {
    const before = await loose();
    const run = expectSucceeded(await createImage({ description: 'as of yesterday', cpuCount: 2 }));
    expect(run.kind).toBe('restore');
    const [item] = run.items;
    expect(item).toMatchObject({ imageName: 'golden', volumeName: null, restoredVmId: null });
    const client = connect();
    try {
      const image = await client.templateByName('golden');
      expect(image).toMatchObject({ externalId: item?.imageId, cpuCount: 2, memoryMiB: vm.memoryMiB });
      expect((await client.describedVm(image?.externalId ?? '')).detail.description).toMatch(
        /^as of yesterday \[casvault-/,
      );
      const place = { templateId: image?.externalId ?? '', hostId: '1', storageName: 'defaultpool' };
      await client.deployVm({ ...place, name: 'copied', linked: false });
      await client.deployVm({ ...place, name: 'linked', linked: true });
    } finally {
      client.close();
    }
    for (const name of ['golden', 'copied', 'linked']) {
      const { disks, state } = await inLab(name);
      expect([state, disks.map(({ target }) => target)]).toEqual(['shutOff', ['vda']]);
      for (const disk of disks) await expectAtThePoint(disk, 'vda');
    }
    expect(await loose()).toEqual(before);
    const { id } = await inLab('linked');
    expect((await world.trial.lab.admin.power(id, 'start')).state).toBe('running');
    // The platform's own disk is that of the template still.
    await expectAtThePoint((await inLab('golden')).disks[0] ?? { path: '', format: 'raw' }, 'vda');
  });

  it('F9: images stand apart from the VMs that can be protected', async () => {
    await world.trial.api.syncPlatform(world.platform.id);
    expect(await world.trial.api.listImages(world.platform.id)).toEqual([
      expect.objectContaining({ name: 'golden', hostId: vm.hostId, cpuCount: 2 }),
    ]);
    const vms = await world.trial.api.listVms({ platformId: world.platform.id });
    expect(vms.map(({ name }) => name).sort()).toEqual(['copied', 'linked', 'source']);
  });

  it('F9, S8: a name that is taken, and a point without a system disk, make no image and leave nothing', async () => {
    const before = await loose();
    const taken = await createImage({});
    expect(taken).toMatchObject({ state: 'failed', items: [{ fault: { code: 'ALREADY_EXISTS' } }] });
    const data = vm.disks.filter(({ target }) => target === 'vdb').map(({ id }) => id);
    const definition = { ...labBackup, vmIds: [vm.id], poolId, diskIds: data } as const;
    const ofData = await pointOf(
      world,
      expectSucceeded(await world.trial.runJob(definition, 'data alone', () => undefined)),
    );
    await expect(createImage({ name: 'other' }, ofData)).rejects.toMatchObject({
      problem: { code: 'INPUT_INVALID', errors: [{ field: 'pointId' }] },
    });
    expect(await loose()).toEqual(before);
  });
});
