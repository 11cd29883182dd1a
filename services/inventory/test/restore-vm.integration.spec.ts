import { readFile, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import {
  createRestoreVm,
  finishRestoreVm,
  getVm,
  type HostId,
  judgeRestoreVms,
  listHosts,
  listVms,
  newId,
  type PlatformId,
  registerPlatform,
  removeRestoreVm,
  type RunItemId,
  syncPlatform,
} from '@casvault/contracts';
import { CasClient } from '@casvault/cas-client';
import { type Lab, startLab, tempDir } from '@casvault/testkit';
import { type z } from 'zod';
import { faultOf, registrationOf, type RunningInventory, startInventory } from './running-inventory.js';

const MiB = 1024 * 1024;
const deadlineMs = 60_000;
let lab: Lab;
let inventory: RunningInventory;
let platformId: PlatformId;
let hostIds: HostId[];

beforeAll(async () => {
  const { path } = await tempDir('restore-vm');
  const existing = { name: 'existing', host: 1, running: false, disks: [{ sizeBytes: 8 * MiB }] };
  lab = await startLab({ dir: path, vms: [existing] });
  inventory = await startInventory({ CASVAULT_SYNC_SECONDS: '3600' });
  const registration = registrationOf(lab, inventory.sealer);
  platformId = (await inventory.client.request(registerPlatform, registration, { deadlineMs })).id;
  await inventory.client.request(syncPlatform, { platformId }, { deadlineMs });
  hostIds = (await inventory.client.request(listHosts, { platformId })).items.map((host) => host.id);
});
afterAll(async () => {
  await inventory.stop();
  await lab.remove();
});

type Request = z.input<typeof createRestoreVm.request> & { readonly restoreId: RunItemId };
const requestOf = (fields: object = {}): Request => ({
  restoreId: newId<RunItemId>(),
  platformId,
  hostId: hostIds[1] ?? newId<HostId>(),
  storageName: 'defaultpool',
  vmName: 'restored',
  cpuCount: 1,
  memoryMiB: 128,
  disks: [
    { target: 'vdb', sizeBytes: 8 * MiB + 512, format: 'qcow2', bus: 'virtio' },
    { target: 'sda', sizeBytes: 4 * MiB, format: 'raw', bus: 'scsi' },
    { target: 'vda', sizeBytes: 16 * MiB, format: 'qcow2', bus: 'virtio' },
  ],
  nics: [{ switchName: 'vswitch0', profileName: 'vlan100', model: 'virtio' }],
  configuration: { basic: { osVersion: 'Debian 12' } },
  ...fields,
});
const create = (request: Request) => inventory.client.request(createRestoreVm, request, { deadlineMs });
const finish = (restoreId: RunItemId, powerOn = false) =>
  inventory.client.request(finishRestoreVm, { restoreId, platformId, powerOn }, { deadlineMs });
const remove = (restoreId: RunItemId) =>
  inventory.client.request(removeRestoreVm, { restoreId, platformId }, { deadlineMs });
const cvm = async <T>(work: (client: CasClient) => Promise<T>): Promise<T> => {
  const { address, port, user: userName, password } = lab.cvm;
  const client = new CasClient({ address, port, userName, password, ssl: false, sslIgnoreErrors: false });
  try {
    return await work(client);
  } finally {
    client.close();
  }
};
const inLab = async (name: string) => (await lab.admin.vms()).find((vm) => vm.name === name);
const removeFromLab = async (name: string) => {
  const vm = await inLab(name);
  if (vm !== undefined) await lab.admin.deleteVm(vm.id);
};

describe('F4: the VM of a restore', () => {
  it('is made once, powered off, with empty volumes of the right sizes, and removed with them', async () => {
    const request = requestOf();
    const made = await create(request);
    const vm = await inLab('restored');
    expect(vm).toMatchObject({ uuid: made.uuid, hostId: 2, state: 'shutOff' });
    expect(made.diskService.url).toBe(`http://${lab.hosts[1]?.address}:8192`);
    expect(made.disks.map(({ target, format, sizeBytes }) => [target, format, sizeBytes])).toEqual([
      ['vdb', 'qcow2', 9 * MiB],
      ['sda', 'raw', 4 * MiB],
      ['vda', 'qcow2', 16 * MiB],
    ]);
    for (const disk of made.disks) {
      const real = vm?.disks.find((one) => one.path === disk.path);
      expect(real).toMatchObject({ format: disk.format, sizeBytes: disk.sizeBytes });
    }
    expect(await create(request)).toEqual(made);
    expect((await lab.admin.vms()).filter((one) => one.name === 'restored')).toHaveLength(1);
    await remove(request.restoreId);
    expect(await inLab('restored')).toBeUndefined();
    for (const disk of made.disks) await expect(stat(disk.path)).rejects.toThrow(/ENOENT/);
    expect((await lab.admin.leftovers(2)).looseVolumes).toEqual([]);
    await remove(request.restoreId);
  });

  it('F4: has the cores a socket and the room for its disks that were asked for', async () => {
    const allocated: number[] = [];
    for (const preallocation of ['thin', 'lazy-zeroed', 'eager-zeroed'] as const) {
      const vmName = `laid-${preallocation}`;
      const request = requestOf({ vmName, cpuCount: 2, coresPerSocket: 2, preallocation });
      const made = await create(request);
      const detail = await cvm((client) => client.vm(made.externalId));
      expect(detail.configuration).toMatchObject({ cpu: { cpuSockets: 1, cpuCores: 2 } });
      let bytes = 0;
      for (const { path } of made.disks) bytes += (await stat(path)).blocks * 512;
      allocated.push(bytes);
      await remove(request.restoreId);
    }
    const [thin = 0, lazy = 0, eager = 0] = allocated;
    expect(thin).toBeLessThan(4 * MiB);
    expect(Math.min(lazy, eager)).toBeGreaterThanOrEqual(29 * MiB);
  });

  it('F4: is judged beforehand by the same rules, all of them at once, and nothing is made', async () => {
    const before = await lab.admin.vms();
    const [existing] = (await inventory.client.request(listVms, { platformId, search: 'existing' })).items;
    const wrong = { vmName: 'existing', cpuCount: 1024, storageName: 'nowhere', sourceVmId: existing?.id };
    const asked = [requestOf({ vmName: 'good' }), requestOf(wrong), requestOf({ hostId: newId<HostId>() })];
    const requests = asked.map(({ restoreId: _, ...request }) => request);
    const { verdicts } = await inventory.client.request(judgeRestoreVms, { requests }, { deadlineMs });
    expect(verdicts.map(({ refusals }) => refusals.map(({ details }) => details['field']))).toEqual([
      [],
      ['vmName', 'cpuCount', 'storageName'],
      ['hostId'],
    ]);
    expect(verdicts.map(({ notices }) => notices)).toEqual([[], ['MAY_CLASH'], []]);
    expect(verdicts[1]?.refusals[0]?.message).toMatch(/\(S8\)/);
    const [, { restoreId: _, ...taken }] = asked as [Request, Request];
    const { refusals } = verdicts[1] ?? { refusals: [] };
    // What is told beforehand is what hinders the restore.
    expect(await faultOf(create({ ...taken, restoreId: newId<RunItemId>() }))).toMatchObject({
      message: refusals[0]?.message,
    });
    expect(await lab.admin.vms()).toEqual(before);
  });

  it('S4: has dependent disks, whatever the disks of the source were', async () => {
    const request = requestOf({
      vmName: 'dependent',
      configuration: { storage: [{ deviceName: 'vda', diskMode: 'independent_persistent' }] },
    });
    await create(request);
    const { vmId } = await finish(request.restoreId);
    const { disks } = await inventory.client.request(getVm, { vmId });
    expect(disks.map(({ mode }) => mode)).toEqual(['dependent', 'dependent', 'dependent']);
    await removeFromLab('dependent');
  });

  it('S3: takes a volume that is named, and leaves it there when the VM is removed', async () => {
    const volume = 'kept-volume';
    const spare = requestOf({
      vmName: 'spare',
      disks: [{ target: 'vda', sizeBytes: MiB, format: 'raw', bus: 'virtio' }],
    });
    const pool = dirname((await create(spare)).disks[0]?.path ?? '');
    const path = join(pool, volume);
    await remove(spare.restoreId);
    await writeFile(path, Buffer.alloc(8 * MiB, 7));
    const asking = () =>
      requestOf({
        vmName: 'on-volume',
        disks: [{ target: 'vda', sizeBytes: 6 * MiB, format: 'raw', bus: 'virtio' }],
        volumes: [{ target: 'vda', volume }],
      });
    const request = asking();
    const made = await create(request);
    const other = { ...asking(), vmName: 'on-the-same' };
    expect(await faultOf(create(other))).toMatchObject({
      code: 'CONFLICT',
      details: { volume, users: 'on-volume' },
    });
    expect(made.disks).toEqual([{ target: 'vda', path, format: 'raw', sizeBytes: 8 * MiB }]);
    await remove(request.restoreId);
    expect(await inLab('on-volume')).toBeUndefined();
    expect((await readFile(path)).equals(Buffer.alloc(8 * MiB, 7))).toBe(true);
    await rm(path);
  });

  it('S6: tells that the source VM still exists, unless the networks are left disconnected', async () => {
    const { items } = await inventory.client.request(listVms, { platformId, search: 'existing' });
    for (const [nics, reasons] of [
      [undefined, ['MAY_CLASH']],
      [[], []],
    ] as const) {
      const request = requestOf({
        vmName: 'beside',
        ...(nics && { nics }),
        sourceVmId: items[0]?.id,
      });
      expect((await create(request)).reasons).toEqual(reasons);
      await remove(request.restoreId);
    }
  });

  it('is found again after the service was killed; a request that comes after its removal makes none', async () => {
    const request = requestOf({ vmName: 'twice' });
    const made = await create(request);
    await inventory.restart();
    expect((await create(request)).uuid).toBe(made.uuid);
    await remove(request.restoreId);
    expect(await faultOf(create(request))).toMatchObject({ code: 'CONFLICT' });
    expect(await inLab('twice')).toBeUndefined();
  });

  it('is found when nothing is remembered of how its making ended', async () => {
    const request = requestOf({ vmName: 'forgotten' });
    const made = await create(request);
    await inventory.query('UPDATE inventory.restore_vm SET vm_uuid = NULL WHERE restore_id = $1', [
      request.restoreId,
    ]);
    expect((await create(request)).uuid).toBe(made.uuid);
    await inventory.query('UPDATE inventory.restore_vm SET vm_uuid = NULL WHERE restore_id = $1', [
      request.restoreId,
    ]);
    await remove(request.restoreId);
    expect(await inLab('forgotten')).toBeUndefined();
  });

  it('is the user’s once it is handed over: powered on, without the marker, in the inventory, never removed', async () => {
    const request = requestOf({ vmName: 'handed-over' });
    const made = await create(request);
    const { vmId } = await finish(request.restoreId, true);
    expect((await inLab('handed-over'))?.state).toBe('running');
    const { items } = await inventory.client.request(listVms, { platformId, search: 'handed-over' });
    expect(items).toEqual([expect.objectContaining({ id: vmId, uuid: made.uuid, powerState: 'running' })]);
    expect((await finish(request.restoreId, true)).vmId).toBe(vmId);
    await remove(request.restoreId);
    expect(await inLab('handed-over')).toBeDefined();
    expect(await faultOf(create(request))).toMatchObject({ code: 'CONFLICT' });
    await removeFromLab('handed-over');
  });

  it('is the user’s once it is handed over, though the databases were set back', async () => {
    const request = requestOf({ vmName: 'set-back' });
    await create(request);
    const { vmId } = await finish(request.restoreId);
    const setBack = `UPDATE inventory.restore_vm SET state = 'making' WHERE restore_id = $1`;
    await inventory.query(setBack, [request.restoreId]);
    expect(await faultOf(create(request))).toMatchObject({ code: 'ITEM_ENDED' });
    expect(await finish(request.restoreId)).toEqual({ vmId });
    await inventory.query(setBack, [request.restoreId]);
    await remove(request.restoreId);
    expect(await inLab('set-back')).toBeDefined();
    await removeFromLab('set-back');
    await inventory.query('DELETE FROM inventory.restore_vm WHERE restore_id = $1', [request.restoreId]);
    expect(await faultOf(create(request))).toMatchObject({ code: 'ITEM_ENDED' });
    expect(await inLab('set-back')).toBeUndefined();
  });

  it('nothing that a restore did not make is removed, whatever its name', async () => {
    const request = requestOf({ vmName: 'swapped' });
    await create(request);
    await removeFromLab('swapped');
    await lab.admin.createVm({ name: 'swapped', host: 2, running: false, disks: [{ sizeBytes: MiB }] });
    await remove(request.restoreId);
    expect(await inLab('swapped')).toBeDefined();
    await removeFromLab('swapped');
  });

  it.each([
    [
      'S8: a name that is taken',
      { vmName: 'existing' },
      'ALREADY_EXISTS',
      /has a VM or template "existing" already/,
    ],
    ['no such storage', { storageName: 'nowhere' }, 'INPUT_INVALID', /no storage pool "nowhere"/],
    [
      'no such switch',
      { nics: [{ switchName: 'vswitch9', profileName: null, model: 'virtio' }] },
      'INPUT_INVALID',
      /no virtual switch "vswitch9"/,
    ],
    ['S7: more CPUs than the host has', { cpuCount: 1024 }, 'INPUT_INVALID', /\(S7\)/],
    ['S7: more memory than the host has', { memoryMiB: 10_000_000 }, 'INPUT_INVALID', /\(S7\)/],
  ])('is refused before anything is made: %s', async (_, fields, code, message) => {
    const before = await lab.admin.vms();
    const request = requestOf({ vmName: 'refused', ...fields });
    const fault = await faultOf(create(request));
    expect(fault.code).toBe(code);
    expect(fault.message).toMatch(message);
    expect(await lab.admin.vms()).toEqual(before);
    await remove(request.restoreId);
    expect(await lab.admin.vms()).toEqual(before);
  });

  it('is refused on a store without room for its raw disks', async () => {
    await lab.admin.limitPool(2, 'defaultpool', 20 * MiB);
    try {
      const disks = [{ target: 'vda', sizeBytes: 32 * MiB, format: 'raw', bus: 'virtio' }];
      const fault = await faultOf(create(requestOf({ vmName: 'too-big', disks })));
      expect(fault).toMatchObject({ code: 'INPUT_INVALID', details: { neededBytes: 32 * MiB } });
    } finally {
      await lab.admin.limitPool(2, 'defaultpool', null);
    }
  });

  it('waits for a busy host', async () => {
    await lab.admin.failAsBusy(1);
    const request = requestOf({ vmName: 'busy' });
    await create(request);
    await remove(request.restoreId);
    expect(await inLab('busy')).toBeUndefined();
  });
});
