import { Fault, type FaultCode } from '@casvault/contracts';
import { type Lab, startLab, tempDir } from '@casvault/testkit';
import { CasClient, type CasClientOptions, type NewVm } from '../src/index.js';

const MiB = 1024 * 1024;
let lab: Lab;
const open: CasClient[] = [];

const connect = (options: Partial<CasClientOptions> = {}): CasClient => {
  const client = new CasClient({
    address: lab.cvm.address,
    port: lab.cvm.port,
    ssl: false,
    sslIgnoreErrors: false,
    userName: lab.cvm.user,
    password: lab.cvm.password,
    timing: { pollMs: 100, busyDelayMs: 100 },
    ...options,
  });
  open.push(client);
  return client;
};
const codeOf = async (work: Promise<unknown>): Promise<FaultCode> => {
  const error: unknown = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (!Fault.is(error)) throw new TypeError(`no fault: ${String(error)}`);
  return error.code;
};
const newVm = (fields: Partial<NewVm> = {}): NewVm => ({
  name: 'made',
  title: 'made',
  description: 'made by a test',
  hostExternalId: '1',
  cpuCount: 2,
  memoryMiB: 128,
  disks: [
    { sizeMiB: 8, format: 'qcow2', bus: 'virtio', storageName: 'defaultpool' },
    { sizeMiB: 16, format: 'raw', bus: 'virtio', storageName: 'defaultpool' },
  ],
  nics: [{ switchExternalId: '10', switchName: 'vswitch0', profileExternalId: '2', model: 'virtio' }],
  system: '1',
  osVersion: 'Linux',
  architecture: 'x86_64',
  ...fields,
});

beforeAll(async () => {
  const { path } = await tempDir('cas-client');
  const disks = [{ sizeBytes: 16 * MiB }, { sizeBytes: 8 * MiB, format: 'raw' as const }];
  const vms = [{ name: 'first', title: '第一台', host: 1, running: false, disks }];
  lab = await startLab({ dir: path, vms, diskService: false });
});
afterEach(async () => {
  for (const client of open.splice(0)) client.close();
  await lab.admin.configure({
    release: 'E0780',
    singleAsObject: true,
    digestQop: true,
    wrongShape: null,
    cpuModel: null,
    templatesInVmList: false,
  });
});
afterAll(async () => lab.remove());

describe('every release in both formats', () => {
  const releases = ['E0710', 'E0730', 'E0760', 'E0780'] as const;
  const formats = ['json', 'xml'] as const;
  const shapes = [
    { singleAsObject: true, digestQop: true },
    { singleAsObject: false, digestQop: false },
  ];
  const cases = releases.flatMap((release) =>
    formats.flatMap((format) => shapes.map((shape) => ({ release, format, ...shape }))),
  );

  it.each(cases)('%j: the same inventory', async ({ format, ...settings }) => {
    await lab.admin.configure(settings);
    const client = connect({ format });
    expect(await client.probe()).toMatchObject({ release: settings.release, architecture: 'x86_64' });
    const hosts = await client.hosts();
    expect(hosts.map((host) => host.id)).toEqual(['1', '2']);
    expect(await client.host('1')).toMatchObject({ name: 'cvk01', status: 'normal' });
    const pools = await client.storagePools('1');
    expect(pools.map((pool) => [pool.name, pool.active])).toContainEqual(['defaultpool', true]);
    expect(await client.virtualSwitches('1')).toEqual([
      expect.objectContaining({ externalId: '10', name: 'vswitch0', networkType: 'management' }),
    ]);
    expect((await client.networkProfiles()).map((profile) => profile.name)).toEqual(['Default', 'vlan100']);
    const first = await client.vmByName('first');
    expect(first).toMatchObject({
      title: '第一台',
      powerState: 'stopped',
      hostExternalId: '1',
      memoryMiB: 160,
    });
    const { detail } = await client.vm(first?.externalId ?? '');
    expect(detail.disks.map(({ target, format: image, sizeBytes }) => [target, image, sizeBytes])).toEqual([
      ['vda', 'qcow2', 16 * MiB],
      ['vdb', 'raw', 8 * MiB],
    ]);
    expect((await client.storageVolumes('1', 'defaultpool')).map((volume) => volume.sizeBytes)).toContain(
      8 * MiB,
    );
  });

  it.each([
    ['E0710', 'json'],
    ['E0780', 'json'],
    ['E0760', 'xml'],
  ] as const)(
    '%s in %s: makes a VM with empty disks, describes, starts and deletes it',
    async (release, format) => {
      await lab.admin.configure({ release });
      const client = connect({ format });
      const id = await client.addVm(newVm());
      const row = await client.vmByName('made');
      expect(row).toMatchObject({ externalId: id, powerState: 'stopped', cpuCount: 2, memoryMiB: 128 });
      if (row === null) return;
      expect(await client.vmByUuid(row.uuid)).toEqual(row);
      const { detail } = await client.vm(row.externalId);
      expect(detail.description).toBe('made by a test');
      expect(detail.disks.map((disk) => [disk.target, disk.format, disk.sizeBytes])).toEqual([
        ['vda', 'qcow2', 8 * MiB],
        ['vdb', 'raw', 16 * MiB],
      ]);
      expect(detail.nics).toEqual([
        expect.objectContaining({ switchName: 'vswitch0', profileExternalId: '2' }),
      ]);
      await client.describeVm(row.externalId, '');
      expect((await client.describedVm(row.externalId)).detail.description).toBe('');
      await client.startVm(row.externalId);
      expect((await client.vmByName('made'))?.powerState).toBe('running');
      await client.powerOffVm(row.externalId);
      await client.deleteVm(row.externalId, { keepDisks: false });
      expect(await client.vmByName('made')).toBeNull();
      expect(
        (await client.storageVolumes('1', 'defaultpool')).filter((volume) => volume.name.startsWith('made')),
      ).toEqual([]);
    },
  );

  it.each([
    ['E0710', 'json', false],
    ['E0780', 'json', true],
    ['E0760', 'xml', false],
  ] as const)(
    'F9: %s in %s: makes a template of a VM and deploys from it (templates among the VMs: %j)',
    async (release, format, templatesInVmList) => {
      await lab.admin.configure({ release, templatesInVmList });
      const client = connect({ format });
      const id = (await client.addVm(newVm({ name: 'golden' }))) ?? '';
      await client.convertToTemplate({ id, name: 'golden' }, 'made by 测试 & <co>');
      const template = await client.templateByName('golden');
      expect(template).toMatchObject({ externalId: id, hostExternalId: '1', cpuCount: 2, memoryMiB: 128 });
      expect((await client.describedVm(id)).detail.description).toBe('made by 测试 & <co>');
      expect((await client.vms()).map((vm) => vm.name)).not.toContain('golden');
      expect((await client.vmByName('golden'))?.powerState).toBe(templatesInVmList ? 'template' : undefined);
      expect(await codeOf(client.startVm(id))).toBe('PLATFORM_REFUSED');
      expect(await codeOf(client.deleteVm(id, { keepDisks: false }))).toBe('PLATFORM_REFUSED');
      expect(await codeOf(client.addVm(newVm({ name: 'golden' })))).toBe('PLATFORM_REFUSED');
      const place = { templateId: id, hostId: '1', storageName: 'defaultpool' };
      const linked = (await client.deployVm({ ...place, name: 'linked', linked: true })) ?? '';
      const copied = (await client.deployVm({ ...place, name: 'copied', linked: false })) ?? '';
      const layersOf = async (vmId: string) =>
        (await client.vm(vmId)).detail.disks.map((disk) => [disk.target, disk.sizeBytes, disk.backingFile]);
      const own = (await client.vm(id)).detail.disks.map((disk) => disk.path);
      expect(await layersOf(linked)).toEqual([
        ['vda', 8 * MiB, own[0]],
        ['vdb', 16 * MiB, own[1]],
      ]);
      expect(await layersOf(copied)).toEqual([
        ['vda', 8 * MiB, null],
        ['vdb', 16 * MiB, null],
      ]);
      expect((await client.vm(copied)).detail.nics).toEqual([
        expect.objectContaining({ switchName: 'vswitch0', profileExternalId: '2' }),
      ]);
      expect(await codeOf(client.deleteTemplate(id))).toBe('PLATFORM_REFUSED');
      for (const vm of [linked, copied]) await client.deleteVm(vm, { keepDisks: false });
      await client.deleteTemplate(id);
      expect(await client.templates()).toEqual([]);
      expect((await lab.admin.leftovers(1)).looseVolumes).toEqual([]);
    },
  );

  it('makes and deletes volumes', async () => {
    const client = connect();
    await client.addVolume({
      hostId: '2',
      poolName: 'defaultpool',
      name: 'loose',
      sizeMiB: 5,
      format: 'qcow2',
    });
    expect(await client.storageVolumes('2', 'defaultpool')).toEqual([
      expect.objectContaining({ name: 'loose', sizeBytes: 5 * MiB, format: 'qcow2' }),
    ]);
    await client.deleteVolume('2', 'defaultpool', 'loose');
    expect(await client.storageVolumes('2', 'defaultpool')).toEqual([]);
  });
});

describe('C1, C2: each cause of failure is told apart', () => {
  it('wrong password', async () => {
    expect(await codeOf(connect({ password: 'wrong' }).probe())).toBe('PLATFORM_LOGIN_REFUSED');
  });
  it('not an administrator', async () => {
    const client = connect({ userName: lab.viewer.name, password: lab.viewer.password });
    expect(await codeOf(client.probe())).toBe('PLATFORM_NOT_ADMINISTRATOR');
  });
  it('unsupported version', async () => {
    await lab.admin.configure({ release: 'E0306' });
    expect(await codeOf(connect().probe())).toBe('PLATFORM_VERSION_UNSUPPORTED');
  });
  it('unsupported architecture', async () => {
    await lab.admin.configure({ release: 'E0730', cpuModel: 'Kunpeng-920' });
    expect(await codeOf(connect().probe())).toBe('PLATFORM_VERSION_UNSUPPORTED');
    await lab.admin.configure({ release: 'E0760' });
    expect(await connect().probe()).toMatchObject({ architecture: 'aarch64' });
  });
  it('a certificate that nobody signed, and ignoring it', async () => {
    const tls = { ssl: true, port: lab.cvm.tlsPort ?? 0 };
    expect(await codeOf(connect(tls).probe())).toBe('PLATFORM_CERTIFICATE_INVALID');
    expect(await connect({ ...tls, sslIgnoreErrors: true }).probe()).toMatchObject({ release: 'E0780' });
  });
  it('TLS where none is spoken, and none where TLS is', async () => {
    expect(await codeOf(connect({ ssl: true }).probe())).toBe('PLATFORM_UNREACHABLE');
    const plain = await codeOf(connect({ port: lab.cvm.tlsPort ?? 0 }).probe());
    expect(['PLATFORM_UNREACHABLE', 'PLATFORM_PROTOCOL', 'PLATFORM_LOGIN_REFUSED']).toContain(plain);
  });
  it('nobody listens', async () => {
    await lab.admin.listen(false);
    try {
      expect(await codeOf(connect().probe())).toBe('PLATFORM_UNREACHABLE');
    } finally {
      await lab.admin.listen(true);
    }
  });
  it.each(['web-page', 'cut-short', 'other-object', 'server-error'] as const)(
    'never takes a wrong reply for an empty inventory: %s',
    async (wrongShape) => {
      await lab.admin.configure({ wrongShape });
      expect(await codeOf(connect().vms())).toBe('PLATFORM_PROTOCOL');
    },
  );
});

describe('refusals of the platform', () => {
  it('a busy host is asked again', async () => {
    const client = connect();
    const first = await client.vmByName('first');
    await lab.admin.failAsBusy(2);
    await client.describeVm(first?.externalId ?? '', 'told in the end');
    expect((await client.describedVm(first?.externalId ?? '')).detail.description).toBe('told in the end');
  });
  it('a name that is taken is code 1002', async () => {
    const error: unknown = await connect()
      .addVm(newVm({ name: 'first' }))
      .catch((thrown: unknown) => thrown);
    expect(Fault.is(error) && [error.code, error.details['platformCode']]).toEqual([
      'PLATFORM_REFUSED',
      '1002',
    ]);
    expect(Fault.is(error) && error.message).toMatch(/[\u4e00-\u9fff]/);
  });
  it('a VM that is not there', async () => {
    expect(await codeOf(connect().vm('99999'))).toBe('VM_NOT_FOUND');
  });
  it('a store without room fails the task with its reason, and leaves no VM', async () => {
    await lab.admin.limitPool(1, 'defaultpool', 4 * MiB);
    const client = connect();
    const code = await codeOf(client.addVm(newVm()));
    expect(['PLATFORM_TASK_FAILED', 'PLATFORM_REFUSED']).toContain(code);
    await lab.admin.limitPool(1, 'defaultpool', null);
    expect(await client.vmByName('made')).toBeNull();
  });
});
