import { stat } from 'node:fs/promises';
import {
  attachRestoreVolume,
  createRestoreVolume,
  type HostId,
  listHosts,
  listLiveItems,
  listNeededCheckpoints,
  listProtectedVms,
  listVms,
  newId,
  type PlatformId,
  reconcilePlatform,
  registerPlatform,
  removeRestoreVolume,
  type RunItemId,
  syncPlatform,
  type VmId,
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
let running: VmId;
let off: VmId;

beforeAll(async () => {
  const { path } = await tempDir('restore-volume');
  const vms = [
    { name: 'running', host: 1, guest: 'idle' as const, memoryMiB: 128, disks: [{ sizeBytes: 8 * MiB }] },
    { name: 'off', host: 1, running: false, disks: [{ sizeBytes: 8 * MiB }] },
  ];
  lab = await startLab({ dir: path, vms });
  inventory = await startInventory({ CASVAULT_SYNC_SECONDS: '3600' });
  const options = { url: inventory.natsUrl, service: 'snapshot-engine', logger: new TestLogger() };
  engine = await ScriptedService.start(options, ({ query }) => {
    query(listLiveItems, ({ itemIds }) => ({ itemIds: itemIds.filter((id) => live.has(id)) }));
    query(listProtectedVms, () => ({ vmIds: [] }));
    query(listNeededCheckpoints, () => ({ needed: [], unknown: [] }));
  });
  const registration = registrationOf(lab, inventory.sealer);
  platformId = (await inventory.client.request(registerPlatform, registration, { deadlineMs })).id;
  await inventory.client.request(syncPlatform, { platformId }, { deadlineMs });
  hostIds = (await inventory.client.request(listHosts, { platformId })).items.map((host) => host.id);
  const { items } = await inventory.client.request(listVms, { platformId });
  const idOf = (name: string) => items.find((vm) => vm.name === name)?.id ?? newId<VmId>();
  running = idOf('running');
  off = idOf('off');
});
afterAll(async () => {
  await engine.stop();
  await inventory.stop();
  await lab.remove();
});

type Request = z.input<typeof createRestoreVolume.request> & { readonly restoreId: RunItemId };
/** Of an item that lives: the reconciliation, which also runs by itself after a start, leaves its volume alone. */
const requestOf = (fields: object = {}): Request => {
  const restoreId = newId<RunItemId>();
  live.add(restoreId);
  return {
    restoreId,
    platformId,
    hostId: hostIds[0] ?? newId<HostId>(),
    storageName: 'defaultpool',
    name: 'yesterday',
    attachTo: null,
    disk: { target: 'vdb', sizeBytes: 8 * MiB + 512, format: 'qcow2', bus: 'virtio' },
    ...fields,
  };
};
const create = (request: Request) => inventory.client.request(createRestoreVolume, request, { deadlineMs });
const attach = (restoreId: RunItemId) =>
  inventory.client.request(attachRestoreVolume, { restoreId, platformId }, { deadlineMs });
const remove = (restoreId: RunItemId) =>
  inventory.client.request(removeRestoreVolume, { restoreId, platformId }, { deadlineMs });
/** As an older copy of the database has it. */
const setBack = (restoreId: RunItemId) =>
  inventory.query(`UPDATE restore_volume SET state = 'making' WHERE restore_id = $1`, [restoreId]);
const loose = async (): Promise<string[]> => (await lab.admin.leftovers(1)).looseVolumes;
const pathsOf = async (name: string): Promise<string[]> =>
  ((await lab.admin.vms()).find((vm) => vm.name === name)?.disks ?? []).map((disk) => disk.path);

describe('F9: the volume of a disk', () => {
  it('is made once, of whole MiB, in the pool of the host, found again after a kill, and removed', async () => {
    const request = requestOf();
    const made = await create(request);
    expect(made.diskService.url).toBe(`http://${lab.hosts[0]?.address}:8192`);
    const [disk] = made.disks;
    expect(disk).toMatchObject({ target: 'vdb', format: 'qcow2', sizeBytes: 9 * MiB });
    expect(disk?.path).toMatch(/\/defaultpool\/yesterday-[0-9a-f]{16}$/);
    await inventory.restart();
    expect(await create(request)).toEqual(made);
    expect(await loose()).toEqual([disk?.path]);
    await remove(request.restoreId);
    await expect(stat(disk?.path ?? '')).rejects.toThrow(/ENOENT/);
    await remove(request.restoreId);
    expect(await faultOf(create(request))).toMatchObject({ code: 'CONFLICT' });
    expect(await loose()).toEqual([]);
  });

  it('left unattached, it is the user’s once it is handed over, and never removed', async () => {
    const request = requestOf();
    const { disks } = await create(request);
    expect(await attach(request.restoreId)).toEqual({ vmId: null });
    await remove(request.restoreId);
    expect(await loose()).toEqual([disks[0]?.path]);
    expect(await faultOf(create(request))).toMatchObject({ code: 'CONFLICT' });
  });

  it.each(['running', 'off'])('S4: is attached once, dependent, to a VM that is %s', async (name) => {
    const attachTo = name === 'running' ? running : off;
    const request = requestOf({ attachTo });
    const { disks } = await create(request);
    expect(await attach(request.restoreId)).toEqual({ vmId: attachTo });
    expect(await attach(request.restoreId)).toEqual({ vmId: attachTo });
    expect((await pathsOf(name)).filter((path) => path === disks[0]?.path)).toHaveLength(1);
    const { items } = await inventory.client.request(listVms, { platformId, search: name });
    const disk = items[0]?.disks.find(({ path }) => path === disks[0]?.path);
    expect(disk).toMatchObject({ mode: 'dependent', role: 'data', format: 'qcow2', bus: 'virtio' });
    await remove(request.restoreId);
    expect(await pathsOf(name)).toContain(disks[0]?.path);
  });

  it('what a VM has attached is left to it, though nobody remembers that it was handed over', async () => {
    const request = requestOf({ attachTo: off });
    const { disks } = await create(request);
    await lab.admin.diskService(1, 'killed');
    await attach(request.restoreId);
    await lab.admin.diskService(1, 'running');
    expect(inventory.output).toContain('hosts were not told that an item has ended');
    await setBack(request.restoreId);
    expect(await faultOf(remove(request.restoreId))).toMatchObject({ code: 'CONFLICT' });
    await remove(request.restoreId);
    expect(await pathsOf('off')).toContain(disks[0]?.path);
  });

  it('handed over, it is the user’s though the databases were set back: by what its host remembers, or not at all', async () => {
    const request = requestOf();
    const { disks } = await create(request);
    await attach(request.restoreId);
    await setBack(request.restoreId);
    await lab.admin.diskService(1, 'killed');
    expect(await faultOf(remove(request.restoreId))).toMatchObject({
      code: 'CONFLICT',
      message: expect.stringMatching(/host can't tell whether it was handed over/) as string,
    });
    await lab.admin.diskService(1, 'running');
    await remove(request.restoreId);
    expect(await loose()).toContain(disks[0]?.path);
    await inventory.query('DELETE FROM restore_volume WHERE restore_id = $1', [request.restoreId]);
    expect(await faultOf(create(request))).toMatchObject({ code: 'ITEM_ENDED' });
  });

  it('a raw disk on a bus without hot plug waits for the next boot of a running VM', async () => {
    const disk = { target: 'sda', sizeBytes: 4 * MiB, format: 'raw', bus: 'scsi' };
    const request = requestOf({ attachTo: running, disk });
    const { disks } = await create(request);
    expect(await attach(request.restoreId)).toEqual({ vmId: running });
    expect(await attach(request.restoreId)).toEqual({ vmId: running });
    expect(await pathsOf('running')).not.toContain(disks[0]?.path);
  });

  it.each([
    ['no such storage', () => ({ storageName: 'nowhere' }), 'INPUT_INVALID', /no storage pool "nowhere"/],
    ['no such VM', () => ({ attachTo: newId<VmId>() }), 'VM_NOT_FOUND', /./],
    [
      'a VM of another host',
      () => ({ attachTo: off, hostId: hostIds[1] }),
      'INPUT_INVALID',
      /is not on host/,
    ],
  ])('is refused before anything is made: %s', async (_, fields, code, message) => {
    const before = await loose();
    const request = requestOf(fields());
    const fault = await faultOf(create(request));
    expect(fault.code).toBe(code);
    expect(fault.message).toMatch(message);
    await remove(request.restoreId);
    expect(await loose()).toEqual(before);
  });

  it('half made by a killed service, it is removed by the reconciliation once its item is dead', async () => {
    const before = await loose();
    const request = requestOf();
    const lost = faultOf(inventory.client.request(createRestoreVolume, request, { deadlineMs: 5_000 }));
    await until(
      async () =>
        (await inventory.query('SELECT 1 FROM restore_volume WHERE restore_id = $1', [request.restoreId]))[0],
    );
    await inventory.restart();
    await lost.catch(() => undefined);
    await create(request);
    const reconcile = async () =>
      (await inventory.client.request(reconcilePlatform, { platformId }, { deadlineMs })).findings;
    expect(await reconcile()).toEqual([]);
    expect(await loose()).toHaveLength(before.length + 1);
    live.delete(request.restoreId);
    expect(await reconcile()).toEqual([
      expect.objectContaining({ kind: 'restore-volume', outcome: 'removed', itemId: request.restoreId }),
    ]);
    expect(await loose()).toEqual(before);
    expect(await reconcile()).toEqual([]);
  });
});
