import { stat } from 'node:fs/promises';
import {
  createRestoreVm,
  finishRestoreImage,
  finishRestoreVm,
  type HostId,
  listHosts,
  listImages,
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
} from '@casvault/contracts';
import { ScriptedService } from '@casvault/messaging/testing';
import { type Lab, startLab, tempDir, TestLogger, until } from '@casvault/testkit';
import { type z } from 'zod';
import { faultOf, registrationOf, type RunningInventory, startInventory } from './running-inventory.js';

const MiB = 1024 * 1024;
const deadlineMs = 60_000;
let lab: Lab;
let inventory: RunningInventory;
let engine: ScriptedService;
const live = new Set<RunItemId>();
let platformId: PlatformId;
let hostIds: HostId[];

beforeAll(async () => {
  const { path } = await tempDir('restore-image');
  const existing = { name: 'existing', host: 1, running: false, disks: [{ sizeBytes: 8 * MiB }] };
  lab = await startLab({ dir: path, vms: [existing] });
  inventory = await startInventory({ CASVAULT_SYNC_SECONDS: '3600' });
  const options = { url: inventory.natsUrl, service: 'snapshot-engine', logger: new TestLogger() };
  engine = await ScriptedService.start(options, ({ query }) => {
    query(listLiveItems, ({ itemIds }) => ({ itemIds: itemIds.filter((id) => live.has(id)) }));
    query(listProtectedVms, () => ({ vmIds: [] }));
    query(listNeededCheckpoints, () => ({ needed: [], unknown: [] }));
  });
  const registration = registrationOf(lab, inventory.sealer);
  platformId = (await inventory.client.request(registerPlatform, registration, { deadlineMs })).id;
  await sync();
  hostIds = (await inventory.client.request(listHosts, { platformId })).items.map((host) => host.id);
});
afterAll(async () => {
  await engine.stop();
  await inventory.stop();
  await lab.remove();
});
afterEach(async () => {
  await lab.admin.configure({ taskDelayMs: 0, templatesInVmList: false });
});

type Request = z.input<typeof createRestoreVm.request> & { readonly restoreId: RunItemId };
/** Of an item that lives: the reconciliation leaves what it makes alone. */
const requestOf = (vmName: string): Request => {
  const restoreId = newId<RunItemId>();
  live.add(restoreId);
  return {
    restoreId,
    platformId,
    hostId: hostIds[0] ?? newId<HostId>(),
    storageName: 'defaultpool',
    vmName,
    cpuCount: 2,
    memoryMiB: 128,
    disks: [{ target: 'vda', sizeBytes: 8 * MiB, format: 'qcow2', bus: 'virtio' }],
    nics: [{ switchName: 'vswitch0', profileName: null, model: 'virtio' }],
    becomesImage: true,
    configuration: {},
  };
};
const sync = () => inventory.client.request(syncPlatform, { platformId }, { deadlineMs });
const create = (request: Request) => inventory.client.request(createRestoreVm, request, { deadlineMs });
const finish = (restoreId: RunItemId, limitMs = deadlineMs) =>
  inventory.client.request(
    finishRestoreImage,
    { restoreId, platformId, description: 'as of May' },
    { deadlineMs: limitMs },
  );
const remove = (restoreId: RunItemId) =>
  inventory.client.request(removeRestoreVm, { restoreId, platformId }, { deadlineMs });
const reconcile = async () =>
  (await inventory.client.request(reconcilePlatform, { platformId }, { deadlineMs })).findings;
const inLab = async (name: string) => (await lab.admin.vms()).filter((vm) => vm.name === name);
const dropFromLab = async (name: string) => {
  for (const { id } of await inLab(name)) await lab.admin.deleteVm(id);
};
const becomesTemplate = async (restoreId: RunItemId): Promise<boolean> => {
  const sql = 'SELECT becomes_template AS it FROM restore_vm WHERE restore_id = $1';
  return (await inventory.query<{ it: boolean }>(sql, [restoreId]))[0]?.it ?? false;
};
/** Kills the service once the CVM has been asked to make a template of the VM; it begins with that later. */
const killWhileConverting = async ({ restoreId, vmName }: Request): Promise<void> => {
  await lab.admin.configure({ taskDelayMs: 5_000 });
  const lost = finish(restoreId, 5_000).catch(() => undefined);
  await until(
    async () => (await becomesTemplate(restoreId)) && (await lab.admin.busyWith()).includes(vmName),
  );
  await inventory.restart();
  await lost;
  await lab.admin.configure({ taskDelayMs: 0 });
};

describe('F9: the image of a restore', () => {
  it.each([false, true])(
    'is made once of the VM with its disk, told with its id, and never removed (templates among the VMs: %j)',
    async (templatesInVmList) => {
      await lab.admin.configure({ templatesInVmList });
      const request = requestOf('golden');
      const { externalId, disks } = await create(request);
      expect(await finish(request.restoreId)).toEqual({ imageId: externalId });
      expect(await inLab('golden')).toEqual([
        expect.objectContaining({
          isTemplate: true,
          disks: [expect.objectContaining({ path: disks[0]?.path })],
        }),
      ]);
      expect(await finish(request.restoreId)).toEqual({ imageId: externalId });
      live.delete(request.restoreId);
      await remove(request.restoreId);
      expect(await reconcile()).toEqual([]);
      expect(await inLab('golden')).toHaveLength(1);
      expect(await faultOf(create(request))).toMatchObject({ code: 'CONFLICT' });
      await sync();
      const { items } = await inventory.client.request(listImages, { platformId });
      expect(items).toEqual([
        { externalId, name: 'golden', title: 'golden', hostId: hostIds[0], cpuCount: 2, memoryMiB: 128 },
      ]);
      const vms = await inventory.client.request(listVms, { platformId });
      expect(vms.items.map(({ name }) => name)).toEqual(['existing']);
      await dropFromLab('golden');
      await sync();
      expect((await inventory.client.request(listImages, { platformId })).items).toEqual([]);
    },
  );

  it('S8: a template’s name is taken, for images and VMs alike, before anything is made', async () => {
    const first = requestOf('taken');
    await create(first);
    await finish(first.restoreId);
    for (const becomesImage of [true, false]) {
      const request = { ...requestOf('taken'), becomesImage };
      expect(await faultOf(create(request))).toMatchObject({
        code: 'ALREADY_EXISTS',
        details: { field: 'vmName' },
      });
      await remove(request.restoreId);
    }
    expect(await inLab('taken')).toHaveLength(1);
    await dropFromLab('taken');
    expect((await lab.admin.leftovers(1)).looseVolumes).toEqual([]);
  });

  it('is one image after a kill while the CVM makes it', async () => {
    const request = requestOf('killed');
    const { externalId } = await create(request);
    await killWhileConverting(request);
    expect(await finish(request.restoreId)).toEqual({ imageId: externalId });
    expect(await inLab('killed')).toEqual([expect.objectContaining({ isTemplate: true })]);
    await dropFromLab('killed');
  });

  it('is found though nobody remembers that it was handed over', async () => {
    const request = requestOf('forgotten');
    const { externalId } = await create(request);
    await finish(request.restoreId);
    await inventory.query(`UPDATE restore_vm SET state = 'making', vm_uuid = NULL WHERE restore_id = $1`, [
      request.restoreId,
    ]);
    expect(await finish(request.restoreId)).toEqual({ imageId: externalId });
    expect(await inLab('forgotten')).toHaveLength(1);
    await dropFromLab('forgotten');
  });

  it('is the user’s though the databases were set back: by what its host remembers, or not removed at all', async () => {
    const request = requestOf('set-back');
    await create(request);
    await finish(request.restoreId);
    await inventory.query(`UPDATE restore_vm SET state = 'making' WHERE restore_id = $1`, [
      request.restoreId,
    ]);
    await lab.admin.diskService(1, 'killed');
    expect(await faultOf(remove(request.restoreId))).toMatchObject({ code: 'CONFLICT' });
    await lab.admin.diskService(1, 'running');
    live.delete(request.restoreId);
    expect(await reconcile()).toEqual([]);
    expect(await inLab('set-back')).toEqual([expect.objectContaining({ isTemplate: true })]);
    await dropFromLab('set-back');
  });

  it('is removed with its disk by the reconciliation once its item is dead, VM or template', async () => {
    const request = requestOf('dead');
    const { disks } = await create(request);
    await killWhileConverting(request);
    expect(await reconcile()).toEqual([]);
    await until(async () => (await inLab('dead'))[0]?.isTemplate === true);
    live.delete(request.restoreId);
    expect(await reconcile()).toEqual([
      expect.objectContaining({
        kind: 'restore-vm',
        outcome: 'removed',
        name: 'dead',
        itemId: request.restoreId,
      }),
    ]);
    expect(await inLab('dead')).toEqual([]);
    await expect(stat(disks[0]?.path ?? '')).rejects.toThrow(/ENOENT/);
    expect(await reconcile()).toEqual([]);
    expect(await faultOf(finish(request.restoreId))).toMatchObject({ code: 'NOT_FOUND' });
  });

  it('a template that another made under its name is never removed', async () => {
    const request = requestOf('swapped');
    await create(request);
    await killWhileConverting(request);
    await until(async () => (await inLab('swapped'))[0]?.isTemplate === true);
    await dropFromLab('swapped');
    const other = requestOf('swapped');
    await create(other);
    await finish(other.restoreId);
    live.delete(request.restoreId);
    await reconcile();
    await remove(request.restoreId);
    expect(await inLab('swapped')).toEqual([expect.objectContaining({ isTemplate: true })]);
    await dropFromLab('swapped');
  });

  it('a VM that is running is refused by the platform, and made no template', async () => {
    const request = requestOf('started');
    await create(request);
    const [vm] = await inLab('started');
    await lab.admin.power(vm?.id ?? 0, 'start');
    expect(await faultOf(finish(request.restoreId))).toMatchObject({ code: 'PLATFORM_TASK_FAILED' });
    await remove(request.restoreId);
    expect(await inLab('started')).toEqual([]);
  });

  it('a restore that is to be a VM stays one', async () => {
    const request = { ...requestOf('plain'), becomesImage: false };
    await create(request);
    const work = { restoreId: request.restoreId, platformId, powerOn: false };
    await inventory.client.request(finishRestoreVm, work, { deadlineMs });
    expect(await inLab('plain')).toEqual([expect.objectContaining({ isTemplate: false })]);
    await dropFromLab('plain');
  });
});
