import { stat } from 'node:fs/promises';
import {
  createRestoreVm,
  findBackupJob,
  finishRestoreVm,
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
  lab = await startLab({ dir: path, diskService: false, vms });
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
const finish = (restoreId: RunItemId, limitMs = deadlineMs) =>
  inventory.client.request(
    finishRestoreVm,
    { restoreId, platformId, powerOn: false },
    { deadlineMs: limitMs },
  );
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
      const answer = finish(request.restoreId, 5_000).catch(() => undefined);
      await until(() => hasSwap(request.restoreId));
      await new Promise((resolve) => setTimeout(resolve, calls * 1_500));
      await inventory.restart();
      await answer;
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
    const answer = finish(request.restoreId, 4_000).catch(() => undefined);
    await until(() => hasSwap(request.restoreId));
    await inventory.restart();
    await answer;
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
