import { stat } from 'node:fs/promises';
import { CasClient, type CasVmDetail } from '@casvault/cas-client';
import {
  createRestoreVm,
  findBackupJob,
  finishRestoreVm,
  getOriginalPlace,
  type HostId,
  type JobId,
  judgeRestoreVms,
  listHosts,
  listLiveItems,
  listNeededCheckpoints,
  listProtectedVms,
  listVms,
  newId,
  type PlatformId,
  reconcilePlatform,
  registerPlatform,
  removeRestoreVm,
  type RunItemId,
  syncPlatform,
  type Vm,
  type VmId,
} from '@casvault/contracts';
import { ScriptedService } from '@casvault/messaging/testing';
import { type Lab, type LabVm, startLab, tempDir, TestLogger, until } from '@casvault/testkit';
import { type z } from 'zod';
import { faultOf, registrationOf, type RunningInventory, startInventory } from './running-inventory.js';

const MiB = 1024 * 1024;
const deadlineMs = 60_000;
let lab: Lab;
let inventory: RunningInventory;
let engine: ScriptedService;
let scheduler: ScriptedService;
/** Backup jobs, by the VM that they protect. */
const jobs = new Map<VmId, { id: JobId; name: string }>();
const live = new Set<RunItemId>();
const protectedVms = new Set<VmId>();
let platformId: PlatformId;
let hostIds: HostId[];

beforeAll(async () => {
  const { path } = await tempDir('restore-overwrite');
  const disks = [{ sizeBytes: 8 * MiB }, { sizeBytes: 4 * MiB, format: 'raw' as const }];
  const off = { host: 1, running: false, disks };
  const vms = [
    { ...off, name: 'mine' },
    { ...off, name: 'other' },
    { name: 'up', host: 1, guest: 'idle' as const, disks: [{ sizeBytes: 4 * MiB }] },
  ];
  lab = await startLab({ dir: path, vms });
  inventory = await startInventory({ CASVAULT_SYNC_SECONDS: '3600' });
  const options = { url: inventory.natsUrl, service: 'snapshot-engine', logger: new TestLogger() };
  engine = await ScriptedService.start(options, ({ query }) => {
    query(listLiveItems, ({ itemIds }) => ({ itemIds: itemIds.filter((id) => live.has(id)) }));
    query(listProtectedVms, ({ vmIds }) => ({ vmIds: vmIds.filter((id) => protectedVms.has(id)) }));
    query(listNeededCheckpoints, () => ({ needed: [], unknown: [] }));
  });
  scheduler = await ScriptedService.start({ ...options, service: 'scheduler' }, ({ query }) => {
    query(findBackupJob, ({ vmId }) => ({ job: jobs.get(vmId) ?? null }));
  });
  const registration = registrationOf(lab, inventory.sealer);
  platformId = (await inventory.client.request(registerPlatform, registration, { deadlineMs })).id;
  await inventory.client.request(syncPlatform, { platformId }, { deadlineMs });
  hostIds = (await inventory.client.request(listHosts, { platformId })).items.map((host) => host.id);
});
afterAll(async () => {
  await scheduler.stop();
  await engine.stop();
  await inventory.stop();
  await lab.remove();
});

type Request = z.input<typeof createRestoreVm.request> & { readonly restoreId: RunItemId };
const requestOf = (vmName: string, fields: object = {}): Request => {
  const restoreId = newId<RunItemId>();
  live.add(restoreId);
  return {
    restoreId,
    platformId,
    hostId: hostIds[0] ?? newId<HostId>(),
    storageName: 'defaultpool',
    vmName,
    overwrite: true,
    cpuCount: 1,
    memoryMiB: 128,
    disks: [
      { target: 'vda', sizeBytes: 6 * MiB, format: 'qcow2', bus: 'virtio' },
      { target: 'vdb', sizeBytes: 2 * MiB, format: 'raw', bus: 'virtio' },
    ],
    nics: [],
    configuration: {},
    ...fields,
  };
};
const create = (request: Request) => inventory.client.request(createRestoreVm, request, { deadlineMs });
const finish = (restoreId: RunItemId) =>
  inventory.client.request(finishRestoreVm, { restoreId, platformId, powerOn: false }, { deadlineMs });
const remove = (restoreId: RunItemId) =>
  inventory.client.request(removeRestoreVm, { restoreId, platformId }, { deadlineMs });
const reconcile = async () =>
  (await inventory.client.request(reconcilePlatform, { platformId }, { deadlineMs })).findings;
const judge = async ({ restoreId: _, ...request }: Request) => {
  const asked = { requests: [request] };
  return (await inventory.client.request(judgeRestoreVms, asked, { deadlineMs })).verdicts[0];
};
const inLab = async (name: string): Promise<LabVm> => {
  const found = (await lab.admin.vms()).find((vm) => vm.name === name);
  if (found === undefined) throw new Error(`the lab has no VM ${name}`);
  return found;
};
const names = async (): Promise<string[]> => (await lab.admin.vms()).map(({ name }) => name).sort();
const loose = async (): Promise<string[]> => (await lab.admin.leftovers(1)).looseVolumes.sort();
const pathsOf = ({ disks }: { disks: readonly { path: string }[] }): string[] =>
  disks.map(({ path }) => path);
const hasSwap = async (restoreId: RunItemId): Promise<boolean> => {
  const sql = 'SELECT swap IS NOT NULL AS it FROM restore_vm WHERE restore_id = $1';
  return (await inventory.query<{ it: boolean }>(sql, [restoreId]))[0]?.it ?? false;
};

const all = ['mine', 'other', 'up'];

describe('S8: a VM of the restored name', () => {
  it('S8: gets the disks when all is written; its own are detached and kept', async () => {
    const before = await inLab('mine');
    const request = requestOf('mine');
    expect(await judge(request)).toEqual({ refusals: [], notices: ['OVERWRITES_VM'] });
    const made = await create(request);
    expect(made.reasons).toEqual(['OVERWRITES_VM']);
    expect(await inLab('mine')).toEqual(before);
    expect(await names()).toHaveLength(all.length + 1);
    expect(await create(request)).toEqual(made);
    const { vmId } = await finish(request.restoreId);
    const after = await inLab('mine');
    expect([after.uuid, after.state]).toEqual([before.uuid, 'shutOff']);
    expect(after.disks.map(({ target, path }) => [target, path])).toEqual(
      made.disks.map(({ target, path }) => [target, path]),
    );
    expect(await loose()).toEqual(pathsOf(before).sort());
    expect(await names()).toEqual(all);
    expect(await finish(request.restoreId)).toEqual({ vmId });
    live.delete(request.restoreId);
    expect(await reconcile()).toEqual([]);
    await remove(request.restoreId);
    expect(await inLab('mine')).toEqual(after);
    // As an older copy of the database has it, the disks are changing places.
    await inventory.query(`UPDATE restore_vm SET state = 'making' WHERE restore_id = $1`, [
      request.restoreId,
    ]);
    expect(await reconcile()).toEqual([]);
    expect(await inLab('mine')).toEqual(after);
    const { items } = await inventory.client.request(listVms, { platformId, search: 'mine' });
    expect(items[0]).toMatchObject({ id: vmId, uuid: before.uuid });
  });

  it('S8: is as it was when the restore ends before that', async () => {
    const before = await inLab('other');
    const lost = await loose();
    const request = requestOf('other');
    await create(request);
    await remove(request.restoreId);
    expect(await inLab('other')).toEqual(before);
    expect([await names(), await loose()]).toEqual([all, lost]);
  });

  it.each([1, 3])(
    'S8: gets its own disks back when the restore dies while they change places (after %i calls)',
    async (calls) => {
      const before = await inLab('other');
      const lost = await loose();
      const request = requestOf('other');
      const made = await create(request);
      await lab.admin.configure({ taskDelayMs: 1_500 });
      void finish(request.restoreId).catch(() => undefined);
      await until(() => hasSwap(request.restoreId));
      await new Promise((resolve) => setTimeout(resolve, calls * 1_500));
      await inventory.restart();
      await lab.admin.configure({ taskDelayMs: 0 });
      live.delete(request.restoreId);
      await until(async () => {
        await reconcile();
        return (await names()).length === all.length && (await loose()).length === lost.length;
      });
      expect(await inLab('other')).toEqual(before);
      for (const { path } of made.disks) await expect(stat(path)).rejects.toThrow(/ENOENT/);
      expect(await loose()).toEqual(lost);
    },
  );

  it('S8: is handed over by the next try when the service died meanwhile', async () => {
    const before = await inLab('other');
    const request = requestOf('other');
    const made = await create(request);
    await lab.admin.configure({ taskDelayMs: 1_000 });
    void finish(request.restoreId).catch(() => undefined);
    await until(() => hasSwap(request.restoreId));
    await inventory.restart();
    await lab.admin.configure({ taskDelayMs: 0 });
    await finish(request.restoreId);
    expect(pathsOf(await inLab('other'))).toEqual(pathsOf(made));
    expect(await names()).toEqual(all);
    expect((await loose()).filter((path) => pathsOf(before).includes(path))).toEqual(pathsOf(before).sort());
  });

  it('S8: is refused when it is protected or runs, before anything is made and beforehand alike', async () => {
    const idOf = async (search: string): Promise<VmId> => {
      const { items } = await inventory.client.request(listVms, { platformId, search });
      return items[0]?.id ?? newId<VmId>();
    };
    protectedVms.add(await idOf('mine'));
    jobs.set(await idOf('other'), { id: newId<JobId>(), name: 'nightly' });
    for (const [name, code, message] of [
      ['mine', 'CONFLICT', /has backup points.*\(S8\)/],
      ['other', 'CONFLICT', /is of backup job 'nightly'.*\(S8\)/],
      ['up', 'VM_STATE_REFUSED', /is running: it must be off/],
    ] as const) {
      const request = requestOf(name);
      const verdict = await judge(request);
      expect(verdict?.refusals).toEqual([expect.objectContaining({ code })]);
      expect(await faultOf(create(request))).toEqual(verdict?.refusals[0]);
      expect(verdict?.refusals[0]?.message).toMatch(message);
      await remove(request.restoreId);
    }
    expect(await names()).toEqual(all);
    protectedVms.clear();
  });

  it('S8: where nobody bears the name, a VM is made', async () => {
    const request = requestOf('fresh');
    expect((await create(request)).reasons).toEqual([]);
    await finish(request.restoreId);
    expect(await names()).toEqual([...all, 'fresh'].sort());
    await lab.admin.deleteVm((await inLab('fresh')).id);
  });
});

describe('F3: the VM of a point, on its original path', () => {
  const known = async (search: string): Promise<Vm> => {
    const { items } = await inventory.client.request(listVms, { platformId, search });
    const found = items.find(({ name }) => name === search);
    if (found === undefined) throw new Error(`VM ${search} is not known`);
    return found;
  };
  const originalOf = (
    { id, name, hostId }: Vm,
    macs: (string | undefined)[],
    fields: object = {},
  ): Request => {
    const card = { switchName: 'vswitch0', profileName: 'vlan100', model: 'e1000' };
    const nics = macs.map((mac) => ({ ...card, ...(mac !== undefined && { mac }) }));
    const original = { leftOut: [] };
    const path = { overwrite: false, sourceVmId: id, original, hostId, storageName: 'isopool', nics };
    return requestOf(name, { ...path, cpuCount: 2, memoryMiB: 192, ...fields });
  };
  const detailOf = async (name: string): Promise<CasVmDetail> => {
    const { address, port, user: userName, password } = lab.cvm;
    const client = new CasClient({ address, port, userName, password, ssl: false, sslIgnoreErrors: false });
    try {
      return (await client.vm(String((await inLab(name)).id))).detail;
    } finally {
      client.close();
    }
  };
  const hardware = ({ cpuCount, memoryMiB, nics }: CasVmDetail) => ({ cpuCount, memoryMiB, nics });
  const synchronise = () => inventory.client.request(syncPlatform, { platformId }, { deadlineMs });

  it('F3: gets disks, CPUs, memory and cards of the point; its disks are kept, its snapshots go', async () => {
    await synchronise();
    const [before, vm, lost] = [await inLab('other'), await known('other'), await loose()];
    await lab.admin.createSnapshot(before.id, { name: 'mine', kind: 'external' });
    const request = originalOf(vm, [undefined, undefined]);
    expect(await judge(request)).toEqual({ refusals: [], notices: ['OVERWRITES_ORIGINAL', 'MAC_NEW'] });
    const made = await create(request);
    expect(made.reasons).toEqual(['OVERWRITES_ORIGINAL', 'MAC_NEW']);
    expect(pathsOf(made).every((path) => path.includes('/defaultpool/'))).toBe(true);
    expect(await finish(request.restoreId)).toEqual({ vmId: vm.id });
    const [after, detail] = [await inLab('other'), await detailOf('other')];
    expect([after.uuid, after.state, pathsOf(after)]).toEqual([before.uuid, 'shutOff', pathsOf(made)]);
    expect(detail).toMatchObject({ cpuCount: 2, memoryMiB: 192 });
    expect(detail.nics.map(({ model }) => model)).toEqual(['e1000', 'e1000']);
    expect(detail.nics.map(({ mac }) => mac)).not.toContain(vm.nics[0]?.mac);
    expect(await lab.admin.snapshots(before.id)).toEqual([]);
    expect(await loose()).toEqual([...lost, ...pathsOf(before)].sort());
    expect(await finish(request.restoreId)).toEqual({ vmId: vm.id });
    expect(hardware(await detailOf('other'))).toEqual(hardware(detail));
  });

  it('F3: is as it was, hardware too, when the restore dies while all that changes', async () => {
    const [before, detail, lost] = [await inLab('other'), await detailOf('other'), await loose()];
    const request = originalOf(await known('other'), [undefined], { cpuCount: 1 });
    await create(request);
    await lab.admin.configure({ taskDelayMs: 1_500 });
    void finish(request.restoreId).catch(() => undefined);
    await until(async () => (await detailOf('other')).cpuCount === 1);
    await inventory.restart();
    await lab.admin.configure({ taskDelayMs: 0 });
    live.delete(request.restoreId);
    await until(async () => {
      await reconcile();
      const isBack = (await detailOf('other')).cpuCount === detail.cpuCount;
      return isBack && (await loose()).length === lost.length;
    });
    expect(await inLab('other')).toEqual(before);
    expect(hardware(await detailOf('other'))).toEqual(hardware(detail));
    expect(await loose()).toEqual(lost);
  });

  it('F3, keepMac: is made anew when it is gone, with its addresses, and stays the VM that its jobs know', async () => {
    await synchronise();
    const vm = await known('mine');
    const { uuid } = await inLab('mine');
    await lab.admin.deleteVm((await inLab('mine')).id);
    await synchronise();
    const place = await inventory.client.request(getOriginalPlace, { vmId: vm.id });
    expect(place).toEqual({ platformId, hostId: vm.hostId, storageName: 'defaultpool', vmName: 'mine' });
    const macs = vm.nics.map(({ mac }) => mac);
    const request = originalOf(vm, macs);
    expect(await judge(request)).toEqual({ refusals: [], notices: ['ORIGINAL_MADE_ANEW', 'MAC_KEPT'] });
    const made = await create(request);
    expect(made.uuid).not.toBe(uuid);
    // It is seen while it is being made.
    await synchronise();
    expect(await finish(request.restoreId)).toEqual({ vmId: vm.id });
    expect((await detailOf('mine')).nics.map(({ mac }) => mac)).toEqual(macs);
    expect(await known('mine')).toMatchObject({
      id: vm.id,
      uuid: made.uuid,
      nics: vm.nics.map(({ mac }) => ({ mac })),
    });
    await synchronise();
    expect((await known('mine')).id).toBe(vm.id);
  });

  it('keepMac: is refused by address and VM when another VM has one of its addresses', async () => {
    const [mine, other] = [await known('mine'), await known('other')];
    const mac = other.nics[0]?.mac ?? '';
    const request = originalOf(mine, [mac]);
    const verdict = await judge(request);
    expect(verdict?.refusals.map(({ message }) => message)).toEqual([
      `keepMac: MAC address ${mac} is in use by VM other of this platform`,
    ]);
    expect(await faultOf(create(request))).toEqual(verdict?.refusals[0]);
    expect(await names()).not.toContain(expect.stringMatching(/^mine-/));
  });

  it('F3: is refused while it runs, and where the point lacks a disk of it', async () => {
    const up = originalOf(await known('up'), []);
    const lacking = originalOf(await known('other'), [], { original: { leftOut: ['vdb'] } });
    for (const [request, rule] of [
      [up, /^path: VM up is running: it must be off/],
      [lacking, /^path: VM other has disk vdb, which the point does not hold/],
    ] as const) {
      const verdict = await judge(request);
      expect(verdict?.refusals[0]?.message).toMatch(rule);
      expect(await faultOf(create(request))).toEqual(verdict?.refusals[0]);
    }
  });
});
