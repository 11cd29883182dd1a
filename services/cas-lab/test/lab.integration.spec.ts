import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  inspectWitnessFiles,
  startLab,
  tempDir,
  until,
  type Lab,
  type LabVm,
  type TempDir,
  type WitnessReport,
} from '@casvault/testkit';
import { RawCas } from './raw-cas.js';

const MiB = 1_048_576;
const run = promisify(execFile);
const emptyLeftovers = {
  jobs: [],
  checkpoints: [],
  bitmaps: [],
  scratchFiles: [],
  listeningPorts: [],
  processes: [],
  looseVolumes: [],
};

/** Processes whose command line names something of this lab. */
async function processesOf(lab: Lab): Promise<string[]> {
  const found: string[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '');
    const isOurs = lab.hosts.some(
      (host) => line.includes(host.root) || environment.includes(`HOME=${host.root}`),
    );
    if (isOurs && Number(pid) !== process.pid) found.push(line.replaceAll('\0', ' ').slice(0, 120));
  }
  return found;
}

describe('the lab', () => {
  let dir: TempDir;
  let lab: Lab;
  let cas: RawCas;

  beforeAll(async () => {
    dir = await tempDir('lab');
    lab = await startLab({
      dir: dir.path,
      vms: [
        {
          name: 'busy',
          disks: [{ sizeBytes: 128 * MiB, dataBytes: 8 * MiB }, { sizeBytes: 64 * MiB + 512 }],
          workload: { pairsPerSecond: 100, bulkKiBPerSecond: 512 },
        },
        { name: 'off', host: 2, running: false, disks: [{ sizeBytes: 32 * MiB, format: 'raw' }] },
      ],
    });
    cas = new RawCas(lab.cvm.address, lab.cvm.port, lab.cvm.user, lab.cvm.password);
  });

  afterAll(async () => {
    await lab.remove();
    await dir.remove();
    expect(await processesOf(lab)).toEqual([]);
  });

  const busy = async (): Promise<LabVm> => lab.admin.vm(lab.vms.find((vm) => vm.name === 'busy')?.id ?? 0);

  describe('the CVM', () => {
    it('asks for digest authentication with the realm of a CVM and refuses a wrong password', async () => {
      const reply = await cas.exchange('/cas/casrs/host');
      expect(reply.status).toBe(401);
      expect(reply.headers['www-authenticate']).toContain('Digest realm="VMC RESTful Web Services"');
      const wrong = new RawCas(lab.cvm.address, lab.cvm.port, lab.cvm.user, 'wrong');
      expect((await wrong.call('/host')).status).toBe(401);
      expect((await cas.call('/operator/test')).status).toBe(204);
    });

    it('answers to digest without a quality of protection, and to the cookie of a session', async () => {
      await lab.admin.configure({ digestQop: false });
      expect((await cas.call('/operator/test')).status).toBe(204);
      await lab.admin.configure({ digestQop: true });
      const query = new URLSearchParams({ name: lab.cvm.user, password: lab.cvm.password, encrypt: 'false' });
      const login = await cas.exchange(`/cas/spring_check?${query.toString()}`, { method: 'POST' });
      expect(JSON.parse(login.text)).toMatchObject({ loginFailErrorCode: 0, userName: lab.cvm.user });
      const cookie = String(login.headers['set-cookie']).split(';')[0] ?? '';
      expect((await cas.exchange('/cas/casrs/host', { cookie })).status).toBe(200);
      const refused = await cas.exchange('/cas/spring_check?name=admin&password=no', { method: 'POST' });
      expect(JSON.parse(refused.text)).toMatchObject({ loginFailErrorCode: 1 });
    });

    it('lets an operator who is no administrator sign in, and nothing more', async () => {
      const viewer = new RawCas(lab.cvm.address, lab.cvm.port, lab.viewer.name, lab.viewer.password);
      expect((await viewer.call('/operator/test')).status).toBe(204);
      const reply = await viewer.call('/hostpool/all');
      expect(reply.status).toBe(409);
      const words = Buffer.from(String(reply.headers['error-message']), 'latin1');
      expect(new TextDecoder('gb18030').decode(words)).toContain('权限');
    });

    it('tells its release, and sends every value as a string in an old one', async () => {
      expect(await cas.json('/version')).toEqual({ casVersion: 'V7.0 (E0780)' });
      expect(await cas.json('/cluster/clusters')).toMatchObject({ cluster: { id: 2 } });
      await lab.admin.configure({ release: 'E0710' });
      expect(await cas.json('/version')).toEqual({ casVersion: 'V7.0 (E0710)' });
      expect(await cas.json('/cluster/clusters')).toMatchObject({ cluster: { id: '2' } });
      await lab.admin.configure({ release: 'E0780' });
    });

    it('sends XML to those who ask for it', async () => {
      const { text, headers } = await cas.call('/host', { accept: 'application/xml' });
      expect(headers['content-type']).toContain('application/xml');
      expect(text).toContain('<list><host type="kvm"><id>1</id>');
      expect((await cas.call('/vm/snapshot/101', { accept: 'application/xml' })).text).toContain('<list/>');
    });

    it('shows hosts, pools, switches, templates and machines', async () => {
      const { host } = (await cas.json('/host')) as { host: { id: number; ip: string }[] };
      expect(host.map((one) => one.ip)).toEqual(lab.hosts.map((one) => one.address));
      expect(await cas.json('/host/id/1')).toMatchObject({ name: 'cvk01', status: 1 });
      const { storagePool } = (await cas.json('/storage/pool?hostId=1')) as {
        storagePool: { name: string; totalSize: number; freeSize: number }[];
      };
      expect(storagePool.map((pool) => pool.name)).toEqual(['defaultpool', 'isopool']);
      expect(storagePool[0]?.totalSize).toBeGreaterThan(storagePool[0]?.freeSize ?? 0);
      expect(await cas.json('/host/id/2/vswitch')).toMatchObject({
        vSwitch: { name: 'vswitch0', hostId: 2 },
      });
      expect(await cas.json('/profile')).toMatchObject({
        portProfile: [{ id: 1, name: 'Default' }, { id: 2 }],
      });
      const { domain } = (await cas.json('/vm/vmList?offset=0&limit=100')) as {
        domain: { name: string; status: number; vmStatus: string }[];
      };
      expect(domain.map(({ name, status, vmStatus }) => [name, status, vmStatus])).toEqual([
        ['busy', 2, 'running'],
        ['off', 3, 'shutOff'],
      ]);
    });

    it('pages the list of machines', async () => {
      expect(await cas.json('/vm/vmList?offset=1&limit=1')).toMatchObject({ domain: { name: 'off' } });
      expect(await cas.json('/vm/vmList?offset=2&limit=1')).toEqual({});
      expect(await cas.json('/vm/vmList?domainName=of')).toMatchObject({ domain: { name: 'off' } });
    });

    it('describes a machine flat and in sections, with the traps of both', async () => {
      const { id } = await busy();
      const flat = (await cas.json(`/vm/${String(id)}`)) as { storage: Record<string, unknown>[] };
      expect(flat.storage[0]).toMatchObject({ device: 'vda', diskDevice: 'disk', format: 'Read-Write' });
      const detail = (await cas.json(`/vm/detail/${String(id)}`)) as { storage: Record<string, unknown>[] };
      expect(detail.storage[0]).toMatchObject({
        device: 'disk',
        deviceName: 'vda',
        format: 'qcow2',
        size: 128,
      });
    });

    it('refuses with 409, a number, and words in GBK', async () => {
      const reply = await cas.call('/vm/4711');
      expect(reply.status).toBe(409);
      expect(reply.headers['error-code']).toBe('1001');
      const words = Buffer.from(String(reply.headers['error-message']), 'latin1');
      expect(new TextDecoder('gb18030').decode(words)).toBe('虚拟机不存在。');
      expect((await cas.call('/message/1')).status).toBe(404);
    });

    it('can be slow, wrong, busy and gone', async () => {
      await lab.admin.configure({ wrongShape: 'web-page' });
      expect((await cas.call('/host')).text).toContain('<html>');
      await lab.admin.configure({ wrongShape: null, latencyMs: 300 });
      const begun = performance.now();
      await cas.call('/host');
      expect(performance.now() - begun).toBeGreaterThan(590);
      await lab.admin.configure({ latencyMs: 0 });
      await lab.admin.failAsBusy(1);
      const failed = await cas.task('/vm/start/102', { method: 'PUT', body: {} });
      expect(failed).toMatchObject({
        result: '1',
        failMsg: expect.stringContaining('正在处理其它事务') as string,
      });
      await lab.admin.listen(false);
      await expect(cas.call('/host')).rejects.toThrow('ECONNREFUSED');
      await lab.admin.listen(true);
      expect((await cas.call('/host')).status).toBe(200);
    });
  });

  describe('machines made through the CVM', () => {
    const newVm = {
      name: 'made',
      title: '新建',
      hostId: 2,
      memory: 128,
      memoryInit: 128,
      memoryUnit: 'MB',
      cpuSockets: 1,
      cpuCores: 1,
      storage: [
        { device: 'disk', capacity: 32, poolName: 'defaultpool', driveType: 'qcow2', targetBus: 'virtio' },
        { device: 'disk', capacity: 16, poolName: 'defaultpool', driveType: 'raw', targetBus: 'scsi' },
      ],
      network: { vsId: 20, vsName: 'vswitch0', profileId: 1, deviceModel: 'virtio' },
    };
    let id = '';

    it('are made with empty disks, in JSON', async () => {
      const state = await cas.task('/vm/add', { method: 'POST', body: newVm });
      expect(state).toMatchObject({ completed: 'true', result: '0', progress: '100' });
      id = state['targetId'] ?? '';
      expect(await cas.json(`/vm/detail/${id}`)).toMatchObject({
        name: 'made',
        status: 'shutOff',
        memory: { size: 128 },
        network: { vsName: 'vswitch0', profileId: 1 },
        storage: [
          { deviceName: 'vda', format: 'qcow2', size: 32 },
          { deviceName: 'sda', format: 'raw', size: 16 },
        ],
      });
      const again = await cas.call('/vm/add', { method: 'POST', body: newVm });
      expect([again.status, again.headers['error-code']]).toEqual([409, '1002']);
    });

    it('go through all their states of power', async () => {
      const act = (verb: string) => cas.task(`/vm/${verb}/${id}`, { method: 'PUT', body: {} });
      const state = async () => (await cas.json(`/vm/detail/${id}`))['status'];
      expect(await act('start')).toMatchObject({ result: '0', eventType: '30' });
      expect(await state()).toBe('running');
      await act('pause');
      expect(await state()).toBe('paused');
      await act('restore');
      expect(await state()).toBe('running');
      expect(await act('start')).toMatchObject({ result: '1' });
      await lab.admin.workload(Number(id)); // the guest is up and sees its power button
      expect(await act('stop')).toMatchObject({ result: '0' });
      expect(await state()).toBe('shutOff');
      await act('start');
      expect(await cas.task(`/vm/deleteVm?id=${id}&type=1`, { method: 'DELETE' })).toMatchObject({
        result: '1',
      });
      await act('powerOff');
      expect(await state()).toBe('shutOff');
    });

    it('are changed, in XML', async () => {
      const body = `<domain><id>${id}</id><basic><desc>说明</desc></basic></domain>`;
      await cas.task('/vm/modify', { method: 'PUT', body, type: 'application/xml' });
      expect(await cas.json(`/vm/detail/${id}`)).toMatchObject({ basic: { desc: '说明' } });
      await cas.task('/vm/modify', { method: 'PUT', body: { id, memory: { size: 160 } } });
      expect(await cas.json(`/vm/detail/${id}`)).toMatchObject({ memory: { size: 160 } });
    });

    it('gain and lose disks; a volume in use is not deleted', async () => {
      const volume = { hostId: 2, spName: 'defaultpool', volName: 'extra', capacity: 24, format: 'qcow2' };
      expect((await cas.call('/storage/volume/add', { method: 'POST', body: volume })).status).toBe(204);
      const path = join(lab.hosts[1]?.vms ?? '', 'defaultpool/extra');
      const storage = { device: 'disk', path, format: 'qcow2', targetBus: 'virtio' };
      await cas.task('/vm/addDevice', { method: 'PUT', body: { id, storage } });
      expect(await cas.json(`/vm/detail/${id}`)).toMatchObject({
        storage: [{}, { deviceName: 'vdb', path }, {}],
      });
      const remove = () => cas.call('/storage/volume/delete/2/defaultpool/extra', { method: 'DELETE' });
      expect((await remove()).status).toBe(409);
      await cas.task('/vm/delDevice', { method: 'PUT', body: { id, storage: { deviceName: 'vdb' } } });
      expect((await remove()).status).toBe(204);
    });

    it('are refused where the pool is too full', async () => {
      await lab.admin.limitPool(2, 'defaultpool', 0);
      const state = await cas.task('/vm/add', { method: 'POST', body: { ...newVm, name: 'toobig' } });
      expect(state).toMatchObject({ result: '1', failMsg: expect.stringContaining('空间不足') as string });
      await lab.admin.limitPool(2, 'defaultpool', null);
    });

    it('are deleted with their disks', async () => {
      expect(await cas.task(`/vm/deleteVm?id=${id}&type=1`, { method: 'DELETE' })).toMatchObject({
        result: '0',
      });
      expect((await cas.call(`/vm/${id}`)).status).toBe(409);
      expect(await lab.admin.leftovers(2)).toEqual(emptyLeftovers);
    });
  });

  it('takes, shows, reverts and deletes internal snapshots of a running machine', async () => {
    const { id } = await lab.admin.createVm({
      name: 'snapped',
      host: 2,
      guest: 'idle',
      memoryMiB: 128,
      disks: [{ sizeBytes: 32 * MiB }],
    });
    await lab.admin.workload(id);
    const body = { vmId: id, name: 's1', snapshotTitle: '第一个', desc: '' };
    expect(await cas.task('/vm/snapshot', { method: 'POST', body })).toMatchObject({ result: '0' });
    await cas.task('/vm/snapshot', {
      method: 'POST',
      body: { ...body, name: 's2', snapshotTitle: '第二个' },
    });
    expect(await cas.json(`/vm/snapshot/${String(id)}`)).toMatchObject({
      snapshot: { name: 's1', snapshotTitle: '第一个', isCurr: 0, snapshots: { name: 's2', isCurr: 1 } },
    });
    expect(await cas.json(`/vm/detail/${String(id)}`)).toMatchObject({ storage: { snapShot: 1 } });
    expect(await cas.task('/vm/snapshot/resume', { method: 'PUT', body })).toMatchObject({ result: '0' });
    await cas.task(`/vm/snapshot/${String(id)}/s2`, { method: 'DELETE' });
    await cas.task(`/vm/snapshot/${String(id)}/s1`, { method: 'DELETE' });
    expect(await cas.json(`/vm/snapshot/${String(id)}`)).toEqual({});
    await lab.admin.deleteVm(id);
  });

  interface Opened {
    readonly disks: { readonly host: string; readonly port: number; readonly exportName: string }[];
    readonly close: () => Promise<Response>;
  }
  /** At the disk service of the first host. */
  const opened = async (request: object): Promise<Opened> => {
    const address = `${lab.hosts[0]?.address ?? ''}:${String(lab.diskService?.port)}`;
    const url = `http://${address}/v1/openings/${randomUUID()}`;
    const headers = { authorization: `Bearer ${lab.diskService?.token ?? ''}` };
    const reply = await fetch(url, {
      method: 'PUT',
      headers: { ...headers, 'content-type': 'application/json' },
      body: JSON.stringify(request),
    });
    expect(reply.status).toBe(201);
    const { disks } = (await reply.json()) as Pick<Opened, 'disks'>;
    return { disks, close: () => fetch(url, { method: 'DELETE', headers }) };
  };

  describe('the workload', () => {
    /** Copies the disks of an opening at the disk service, one after the other, and inspects them. */
    const captured = async (): Promise<WitnessReport> => {
      const vm = await busy();
      const disks = vm.disks.map(({ target, path }) => ({ target, path }));
      const vmNamed = { uuid: vm.uuid, name: vm.name };
      const opening = await opened({ kind: 'capture', vm: vmNamed, disks, leaseSeconds: 60 });
      const files = [join(dir.path, 'a.raw'), join(dir.path, 'b.raw')];
      for (const [index, disk] of opening.disks.entries()) {
        const source = `nbd://${disk.host}:${String(disk.port)}/${disk.exportName}`;
        await run('qemu-img', ['convert', '-O', 'raw', source, files[index] ?? '']);
        await sleep(300);
      }
      expect((await opening.close()).status).toBe(204);
      return await inspectWitnessFiles(files[0] ?? '', files[1] ?? '');
    };

    it('goes on, pair by pair, without errors', async () => {
      const { id } = await busy();
      const before = await lab.admin.workload(id);
      await sleep(2_500);
      const after = await lab.admin.workload(id);
      expect(after.number - before.number).toBeGreaterThan(50);
      expect(after.bulkBytes).toBeGreaterThan(before.bulkBytes);
      expect(after).toMatchObject({ errors: 0, disks: 2, running: true });
    });

    it('proves that a capture of the disk service is of one instant, though its disks are read one after the other', async () => {
      const first = await captured();
      const second = await captured();
      expect(first).toMatchObject({ oneInstant: true, a: { torn: 0 }, b: { torn: 0 } });
      expect(second.oneInstant).toBe(true);
      expect(second.a.last).toBeGreaterThan(first.a.last);
      expect(await lab.admin.leftovers(1)).toEqual(emptyLeftovers);
    });

    it('disproves copies of two instants', async () => {
      await captured();
      const [a, b] = [join(dir.path, 'a.raw'), join(dir.path, 'b.raw')];
      await run('cp', [a, `${a}.early`]);
      await captured();
      expect(await inspectWitnessFiles(`${a}.early`, b)).toMatchObject({ oneInstant: false });
    });

    it('stands still when it is stopped, and goes on from there after a power cut', async () => {
      const { id } = await busy();
      const stopped = await lab.admin.stopWorkload(id);
      await sleep(1_200);
      expect((await lab.admin.workload(id)).number).toBe(stopped.number);
      await lab.admin.startWorkload(id, { pairsPerSecond: 100, bulkKiBPerSecond: 256 });
      await lab.admin.power(id, 'powerOff');
      await lab.admin.power(id, 'start');
      const resumed = await until(async () => {
        const now = await lab.admin.workload(id);
        return now.pairs > 0 ? now : null;
      }, 60_000);
      expect(resumed.running).toBe(true);
      expect(resumed.number).toBeGreaterThan(stopped.number);
    });
  });

  it('keeps a killed disk service down, and brings a crashed one back', async () => {
    const health = async (): Promise<boolean> => {
      const url = `http://${lab.hosts[1]?.address ?? ''}:${String(lab.diskService?.port)}/v1/health`;
      return await fetch(url).then(
        (reply) => reply.ok,
        () => false,
      );
    };
    expect(await health()).toBe(true);
    await lab.admin.diskService(2, 'killed');
    await sleep(1_500);
    expect(await health()).toBe(false);
    await lab.admin.diskService(2, 'running');
    await until(health);
    await lab.admin.diskService(2, 'crashed');
    await until(async () => !(await health()));
    await until(health);
  });

  it('makes machines whose guest is up at once, writes nothing and hears its power button', async () => {
    const disks = [{ sizeBytes: 16 * MiB }];
    const made = await lab.admin.createVm({ name: 'idle', guest: 'idle', nics: 0, memoryMiB: 96, disks });
    expect(await lab.admin.workload(made.id)).toMatchObject({ running: false, pairs: 0, disks: 0 });
    expect((await lab.admin.power(made.id, 'shutDown')).state).toBe('shutOff');
    await lab.admin.deleteVm(made.id);
  });

  it('starts again with the same machines in the same states, and leaves nothing running between', async () => {
    const spare = { name: 'spare', host: 1, running: false, disks: [{ sizeBytes: 16 * MiB }] };
    const { id, disks } = await lab.admin.createVm(spare);
    const volume = { kind: 'volume', path: disks[0]?.path, format: 'qcow2', sizeBytes: 16 * MiB };
    await opened({ ...volume, leaseSeconds: 600 });
    expect((await processesOf(lab)).filter((line) => line.startsWith('qemu-nbd'))).toHaveLength(1);
    const before = await lab.admin.vms();
    await lab.stop();
    expect(await processesOf(lab)).toEqual([]);
    lab = await startLab({ dir: dir.path });
    expect(await lab.admin.vms()).toEqual(before);
    expect((await lab.admin.workload(before[0]?.id ?? 0)).running).toBe(true);
    await lab.admin.deleteVm(id);
  });

  it('that was killed is taken over: its daemons are replaced, its machines run on', async () => {
    // A virsh that is asked again and again comes with the first question, and may go.
    const lasting = async (): Promise<string[]> =>
      (await processesOf(lab)).filter((line) => !line.startsWith('virsh '));
    const machines = async (): Promise<string[]> =>
      (await processesOf(lab)).filter((line) => line.startsWith('/usr/bin/qemu-system'));
    const { id } = await busy();
    const { number } = await lab.admin.workload(id);
    const before = await lasting();
    await lab.process.kill9();
    expect(await machines()).toHaveLength(1);
    const { cvm } = lab;
    lab = await startLab({ dir: dir.path });
    expect(lab.cvm.address).toBe(cvm.address);
    expect(await lasting()).toHaveLength(before.length);
    const after = await lab.admin.workload(id);
    expect(after.number).toBeGreaterThan(number);
    expect(after.pairs).toBeGreaterThan(0);
  });
});
