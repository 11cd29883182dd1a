import { createServer } from 'node:net';
import {
  deregisterPlatform,
  getPlatform,
  getVm,
  getVmFacts,
  type Host,
  listHosts,
  listPlatforms,
  listProfiles,
  listStorages,
  listSwitches,
  listVms,
  newId,
  type PlatformId,
  registerPlatform,
  syncPlatform,
  type Vm,
  type VmId,
} from '@casvault/contracts';
import { freePort, type Lab, startLab, tempDir, until } from '@casvault/testkit';
import { faultOf, registrationOf, type RunningInventory, startInventory } from './running-inventory.js';

const MiB = 1024 * 1024;
const deadlineMs = 60_000;
let lab: Lab;
let inventory: RunningInventory;
let httpPort: number;

beforeAll(async () => {
  const { path } = await tempDir('inventory');
  const vm = (name: string, host: number, disks: object[]) => ({ name, host, running: false, disks });
  lab = await startLab({
    dir: path,
    diskService: false,
    vms: [
      vm('web-01', 1, [{ sizeBytes: 16 * MiB }, { sizeBytes: 8 * MiB, format: 'raw' }]),
      vm('db_01', 1, [{ sizeBytes: 8 * MiB }]),
      vm('web-02', 2, [{ sizeBytes: 8 * MiB }]),
    ] as Parameters<typeof startLab>[0]['vms'] & object,
  });
  httpPort = await freePort();
  inventory = await startInventory({ CASVAULT_SYNC_SECONDS: '3600', CASVAULT_HTTP_PORT: String(httpPort) });
});
afterAll(async () => {
  await inventory.stop();
  await lab.remove();
});

const register = (fields: Parameters<typeof registrationOf>[2] = {}) =>
  inventory.client.request(registerPlatform, registrationOf(lab, inventory.sealer, fields), { deadlineMs });
const sync = (platformId: PlatformId) =>
  inventory.client.request(syncPlatform, { platformId }, { deadlineMs });
const allVms = async (request: object = {}): Promise<Vm[]> => {
  const vms: Vm[] = [];
  let cursor: string | undefined;
  do {
    const page = await inventory.client.request(listVms, { limit: 2, cursor, ...request });
    vms.push(...page.items);
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined);
  return vms;
};
const registered = async (name: string): Promise<PlatformId> => {
  const { id } = await register({ name });
  await sync(id);
  return id;
};
/** Deregisters everything, so that a test has its own platforms. */
afterEach(async () => {
  const { items } = await inventory.client.request(listPlatforms, {});
  for (const { id } of items) await inventory.client.request(deregisterPlatform, { platformId: id });
  await lab.admin.configure({ release: 'E0780', cpuModel: null, wrongShape: null });
});

describe('C1, C2: a platform is tried before it is saved', () => {
  const saved = async () => (await inventory.client.request(listPlatforms, {})).items;

  it('registers a CAS, and gives the same reply to the same request', async () => {
    const id = newId<PlatformId>();
    const platform = await register({ id });
    expect(platform).toMatchObject({
      id,
      name: 'lab',
      type: 'h3c-cas',
      version: 'E0780',
      architecture: 'x86_64',
      state: 'online',
      stateMessage: null,
    });
    expect(await register({ id })).toMatchObject({ id, createdAt: platform.createdAt });
    expect(await saved()).toHaveLength(1);
    expect(await faultOf(register({ id, name: 'other' }))).toMatchObject({ code: 'ALREADY_EXISTS' });
    expect(await faultOf(register({ name: 'LAB' }))).toMatchObject({
      code: 'ALREADY_EXISTS',
      message: expect.stringContaining('"LAB" is registered already') as string,
    });
  });

  it('wrong password', async () => {
    expect(await faultOf(register({ password: 'not-it' }))).toMatchObject({
      code: 'PLATFORM_LOGIN_REFUSED',
      message: 'the CVM refuses the user name or the password',
    });
  });
  it('not a system administrator', async () => {
    const { name, password } = lab.viewer;
    const fault = await faultOf(register({ password, connection: { userName: name } }));
    expect(fault.code).toBe('PLATFORM_NOT_ADMINISTRATOR');
    expect(fault.message).toContain('a system administrator of the CVM is needed');
  });
  it('unreachable CVM: names address, port and the ports of a CVM', async () => {
    const port = await freePort(lab.cvm.address);
    const fault = await faultOf(register({ connection: { port } }));
    expect(fault.code).toBe('PLATFORM_UNREACHABLE');
    expect(fault.message).toContain(
      `${lab.cvm.address}:${port} cannot be reached: the connection was refused`,
    );
    expect(fault.message).toContain('8443, 8080, 443, 80');
  });
  it('a CVM that keeps silent', async () => {
    const silent = createServer(() => undefined);
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const { port } = silent.address() as { port: number };
    const fault = await faultOf(register({ connection: { address: '127.0.0.1', port } }));
    expect(fault.message).toContain('did not answer in time');
    silent.close();
  });
  it('bad certificate, and ignoring it', async () => {
    const connection = { ssl: true, port: lab.cvm.tlsPort };
    const fault = await faultOf(register({ connection }));
    expect(fault.code).toBe('PLATFORM_CERTIFICATE_INVALID');
    expect(fault.message).toContain('is not trusted');
    expect(await register({ connection: { ...connection, sslIgnoreErrors: true } })).toMatchObject({
      ssl: true,
    });
  });
  it('unsupported version: refused with the list', async () => {
    await lab.admin.configure({ release: 'E0306' });
    const fault = await faultOf(register());
    expect(fault.code).toBe('PLATFORM_VERSION_UNSUPPORTED');
    expect(fault.message).toContain(
      '"V3.0 (E0306)" is not supported on x86_64; supported there: H3C CAS E0710',
    );
  });
  it('unsupported architecture', async () => {
    await lab.admin.configure({ release: 'E0710', cpuModel: 'HiSilicon Kunpeng-920' });
    expect((await faultOf(register())).message).toContain('H3C CAS E0710 is not supported on arm');
  });
  it('no CVM at all: a web page', async () => {
    await lab.admin.configure({ wrongShape: 'web-page' });
    expect((await faultOf(register())).code).toBe('PLATFORM_PROTOCOL');
  });
  afterEach(async () => {
    const failed = (await saved()).filter((platform) => platform.state !== 'online');
    expect(failed).toEqual([]);
  });
});

describe('C4: the inventory', () => {
  it('holds hosts, VMs, disks, storages, switches and templates', async () => {
    const platformId = await registered('lab');
    const { items: hosts } = await inventory.client.request(listHosts, { platformId });
    expect(hosts.map((host: Host) => [host.name, host.ip, host.status, host.vmCount])).toEqual([
      ['cvk01', lab.hosts[0]?.address, 'normal', 2],
      ['cvk02', lab.hosts[1]?.address, 'normal', 1],
    ]);
    const vms = await allVms({ platformId });
    expect(vms.map((vm) => [vm.name, vm.hostName, vm.powerState])).toEqual([
      ['db_01', 'cvk01', 'stopped'],
      ['web-01', 'cvk01', 'stopped'],
      ['web-02', 'cvk02', 'stopped'],
    ]);
    expect(vms[1]?.disks).toEqual([
      expect.objectContaining({
        target: 'vda',
        format: 'qcow2',
        fileType: 'file',
        bus: 'virtio',
        role: 'system',
        mode: 'dependent',
        sizeBytes: 16 * MiB,
        storageName: 'defaultpool',
        cbtCapable: true,
        encrypted: false,
      }),
      expect.objectContaining({
        target: 'vdb',
        format: 'raw',
        role: 'data',
        cbtCapable: false,
        sizeBytes: 8 * MiB,
      }),
    ]);
    expect(vms[1]?.nics).toEqual([
      expect.objectContaining({ switchName: 'vswitch0', profileName: 'Default' }),
    ]);
    const { items: storages } = await inventory.client.request(listStorages, { platformId, limit: 3 });
    expect(storages.map((storage) => storage.name)).toEqual(['defaultpool', 'defaultpool', 'isopool']);
    expect(storages[0]?.freeBytes).toBeGreaterThan(0);
    const switches = await inventory.client.request(listSwitches, { platformId, limit: 1 });
    expect(switches.items).toEqual([
      expect.objectContaining({ name: 'vswitch0', networkType: 'management' }),
    ]);
    const cursor = switches.nextCursor ?? '';
    const rest = await inventory.client.request(listSwitches, { platformId, cursor, limit: 1 });
    expect(rest).toMatchObject({ items: [{ name: 'vswitch0' }], nextCursor: null });
    expect(rest.items[0]?.hostId).not.toBe(switches.items[0]?.hostId);
    const { items: profiles } = await inventory.client.request(listProfiles, { platformId });
    expect(profiles.map((profile) => profile.name)).toEqual(['Default', 'vlan100']);
  });

  it('keeps ids, and notices VMs that come and go', async () => {
    const platformId = await registered('lab');
    const before = await allVms({ platformId });
    const made = await lab.admin.createVm({
      name: 'short-lived',
      running: false,
      disks: [{ sizeBytes: MiB }],
    });
    await sync(platformId);
    const during = await allVms({ platformId });
    expect(during.map((vm) => vm.name)).toContain('short-lived');
    for (const vm of before) expect(during.find((one) => one.id === vm.id)).toEqual(vm);
    const vmId = during.find((vm) => vm.name === 'short-lived')?.id ?? newId<VmId>();
    await lab.admin.deleteVm(made.id);
    await sync(platformId);
    expect((await allVms({ platformId })).map((vm) => vm.name)).not.toContain('short-lived');
    expect(await faultOf(inventory.client.request(getVm, { vmId }))).toMatchObject({
      code: 'VM_NOT_FOUND',
      message: expect.stringContaining('VM short-lived is no longer on its platform') as string,
    });
    expect(await faultOf(inventory.client.request(getVmFacts, { vmId }))).toMatchObject({
      code: 'VM_NOT_FOUND',
    });
    expect(await faultOf(inventory.client.request(getVm, { vmId: newId<VmId>() }))).toMatchObject({
      code: 'VM_NOT_FOUND',
    });
  });

  it.each([
    ['WEB', ['web-01', 'web-02']],
    ['cvk01', ['db_01', 'web-01']],
    ['_0', ['db_01']],
    ['%', []],
  ])('C5: searches %j as a substring', async (search, names) => {
    const platformId = await registered('lab');
    expect((await allVms({ platformId, search })).map((vm) => vm.name)).toEqual(names);
  });
  it('C5: searches by the IP of a host', async () => {
    const platformId = await registered('lab');
    const search = lab.hosts[1]?.address ?? '';
    expect((await allVms({ platformId, search })).map((vm) => vm.name)).toEqual(['web-02']);
  });

  it('refuses a cursor that is none', async () => {
    expect(await faultOf(inventory.client.request(listVms, { cursor: 'x' }))).toMatchObject({
      code: 'INPUT_INVALID',
    });
  });

  it('an unreachable platform goes offline with its message, keeps its inventory, and comes back', async () => {
    const platformId = await registered('lab');
    await lab.admin.listen(false);
    try {
      expect(await faultOf(sync(platformId))).toMatchObject({ code: 'PLATFORM_UNREACHABLE' });
      expect(await inventory.client.request(getPlatform, { platformId })).toMatchObject({
        state: 'offline',
        stateMessage: expect.stringContaining('cannot be reached') as string,
      });
      expect(await allVms({ platformId })).toHaveLength(3);
    } finally {
      await lab.admin.listen(true);
    }
    expect(await sync(platformId)).toMatchObject({ state: 'online', stateMessage: null });
  });

  it('a reply that is not understood loses no VM', async () => {
    const platformId = await registered('lab');
    for (const wrongShape of ['other-object', 'cut-short', 'server-error'] as const) {
      await lab.admin.configure({ wrongShape });
      expect((await faultOf(sync(platformId))).code).toBe('PLATFORM_PROTOCOL');
    }
    expect(await allVms({ platformId })).toHaveLength(3);
  });

  it('a VM is told as the CVM tells it now, with its whole configuration', async () => {
    const platformId = await registered('lab');
    const vm = (await allVms({ platformId, search: 'web-01' }))[0];
    const labVm = lab.vms.find((one) => one.name === 'web-01');
    await lab.admin.power(labVm?.id ?? 0, 'start');
    try {
      const facts = await inventory.client.request(
        getVmFacts,
        { vmId: vm?.id ?? newId<VmId>(), withStorages: true },
        { deadlineMs },
      );
      const stores = [...new Set(vm?.disks.map(({ storageName }) => storageName))];
      expect(facts.storages.map(({ name }) => name)).toEqual(stores);
      expect(facts.storages.every(({ capacityBytes, freeBytes }) => capacityBytes >= freeBytes)).toBe(true);
      expect(facts).toMatchObject({ platformVersion: 'E0780', platformName: 'lab' });
      expect(facts.vm).toMatchObject({ id: vm?.id, powerState: 'running', disks: vm?.disks });
      expect(facts.diskService.url).toBe(`http://${lab.hosts[0]?.address}:8192`);
      expect(inventory.sealer.open(facts.diskService.token)).toBe('token-of-the-disk-service');
      expect(facts.configuration).toMatchObject({ basic: { machineVersion: '7.0' } });
    } finally {
      await lab.admin.power(labVm?.id ?? 0, 'powerOff');
    }
  });

  it('R16: a preferred network that the host lacks falls back, and the facts say so', async () => {
    const platformId = await registered('lab');
    const [vm] = await allVms({ platformId, search: 'web-01' });
    const factsBy = (network?: 'auto' | 'backup' | 'management') =>
      inventory.client.request(getVmFacts, { vmId: vm?.id ?? newId<VmId>(), network }, { deadlineMs });
    const preferring = await factsBy('backup');
    expect(preferring.diskService.url).toBe(`http://${lab.hosts[0]?.address}:8192`);
    expect(preferring.reasons).toEqual(['NETWORK_FALLBACK']);
    for (const network of ['auto', 'management', undefined] as const)
      expect((await factsBy(network)).reasons).toEqual([]);
  });

  it('C3: deregistering hides a platform, forgets its secrets and frees its name', async () => {
    const platformId = await registered('lab');
    await inventory.client.request(deregisterPlatform, { platformId });
    await inventory.client.request(deregisterPlatform, { platformId });
    expect(await faultOf(inventory.client.request(getPlatform, { platformId }))).toMatchObject({
      code: 'NOT_FOUND',
    });
    expect(await allVms()).toEqual([]);
    const rows = await inventory.query<{ password: string; disk_service_token: string }>(
      'SELECT password, disk_service_token FROM inventory.platform WHERE id = $1',
      [platformId],
    );
    expect(rows).toEqual([{ password: '', disk_service_token: '' }]);
    await registered('lab');
  });

  it('R13: a host that was removed and added again is another host', async () => {
    const platformId = await registered('lab');
    const { items: before } = await inventory.client.request(listHosts, { platformId });
    // The CVM gives it a new id: here its old one is taken away from under the inventory.
    await inventory.query(
      "UPDATE inventory.host SET external_id = '999' WHERE platform_id = $1 AND name = 'cvk02'",
      [platformId],
    );
    await sync(platformId);
    const { items: after } = await inventory.client.request(listHosts, { platformId });
    expect(after[0]?.id).toBe(before[0]?.id);
    expect(after[1]?.id).not.toBe(before[1]?.id);
    expect((await allVms({ platformId, search: 'web-02' }))[0]?.hostId).toBe(after[1]?.id);
  });
});

describe('by itself', () => {
  it('synchronises a new platform without being asked, and goes on after being killed', async () => {
    const { id } = await register({ name: 'lab' });
    await until(async () => (await allVms({ platformId: id })).length === 3);
    await inventory.restart();
    expect(await allVms({ platformId: id })).toHaveLength(3);
    await inventory.query('UPDATE inventory.platform SET next_sync_at = now(), last_sync_at = NULL');
    await until(async () => {
      const platform = await inventory.client.request(getPlatform, { platformId: id });
      return platform.lastSyncAt !== null;
    });
  });
});

describe('H4: metrics', () => {
  it('count platforms and VMs, and time synchronisations', async () => {
    await registered('lab');
    const metrics = await (await fetch(`http://127.0.0.1:${httpPort}/metrics`)).text();
    expect(metrics).toMatch(/^casvault_platforms\{.*state="online".*\} 1/m);
    expect(metrics).toMatch(/^casvault_vms(\{.*\})? 3/m);
    expect(metrics).toMatch(/^casvault_platform_sync_seconds_count\{.*outcome="succeeded".*\} \d+/m);
  });
});

describe('C6: secrets', () => {
  it('are in no log, reply or row in clear', async () => {
    const token = 'the-very-secret-token';
    const platform = await register({ name: 'lab', token });
    await sync(platform.id);
    await faultOf(register({ name: 'other', password: 'a-wrong-password' }));
    const everything = [
      inventory.output,
      JSON.stringify(platform),
      JSON.stringify(await inventory.client.request(listPlatforms, {})),
      JSON.stringify(await inventory.query('SELECT * FROM inventory.platform')),
    ].join('\n');
    expect(everything).toContain('platform synchronised');
    for (const secret of [lab.cvm.password, lab.viewer.password, token, 'a-wrong-password'])
      expect(everything.includes(secret)).toBe(false);
    const views = JSON.stringify(await inventory.client.request(listPlatforms, {}));
    expect(views).not.toContain('sealed:');
  });
});
