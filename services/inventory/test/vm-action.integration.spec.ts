import { DiskServiceClient } from '@casvault/block-source';
import {
  checkpointName,
  createRestoreVm,
  createVmSnapshot,
  getVmFacts,
  leaveVmOff,
  listLiveItems,
  listNeededCheckpoints,
  listProtectedVms,
  listVms,
  newId,
  type OpeningId,
  type PlatformId,
  reconcilePlatform,
  registerPlatform,
  removeCheckpoints,
  removeVmSnapshot,
  type RunItemId,
  shutDownVm,
  startVm,
  syncPlatform,
  type VmFacts,
  type VmId,
} from '@casvault/contracts';
import { ScriptedService } from '@casvault/messaging/testing';
import { type Lab, startLab, tempDir, TestLogger, until } from '@casvault/testkit';
import { faultOf, registrationOf, type RunningInventory, startInventory } from './running-inventory.js';

const MiB = 1024 * 1024;
const deadlineMs = 120_000;
let lab: Lab;
let inventory: RunningInventory;
let platformId: PlatformId;
const vmIds = new Map<string, VmId>();
/** snapshot-engine, played: who lives, and which checkpoints it knows and needs. */
let engine: ScriptedService;
const live = new Set<RunItemId>();
const knownCheckpoints = new Map<string, 'needed' | 'spare'>();

beforeAll(async () => {
  const { path } = await tempDir('vm-action');
  lab = await startLab({
    dir: path,
    vms: [
      {
        name: 'running',
        guest: 'idle',
        memoryMiB: 128,
        disks: [{ sizeBytes: 16 * MiB }, { sizeBytes: 8 * MiB, mode: 'independent-persistent' }],
      },
      { name: 'off', running: false, disks: [{ sizeBytes: 8 * MiB }, { sizeBytes: 8 * MiB, format: 'raw' }] },
      { name: 'sealed', running: false, disks: [{ sizeBytes: 8 * MiB, encrypted: true }] },
    ],
  });
  inventory = await startInventory({ CASVAULT_SYNC_SECONDS: '3600' });
  const options = { url: inventory.natsUrl, service: 'snapshot-engine', logger: new TestLogger() };
  engine = await ScriptedService.start(options, ({ query }) => {
    query(listLiveItems, ({ itemIds }) => ({ itemIds: itemIds.filter((id) => live.has(id)) }));
    query(listProtectedVms, (asked) => ({ vmIds: asked.vmIds }));
    query(listNeededCheckpoints, ({ names }) => ({
      needed: names.filter((name) => knownCheckpoints.get(name) === 'needed'),
      unknown: names.filter((name) => !knownCheckpoints.has(name)),
    }));
  });
  const token = lab.diskService?.token ?? '';
  const registration = registrationOf(lab, inventory.sealer, { token });
  platformId = (await inventory.client.request(registerPlatform, registration, { deadlineMs })).id;
  await inventory.client.request(syncPlatform, { platformId }, { deadlineMs });
  const { items } = await inventory.client.request(listVms, { platformId });
  for (const vm of items) vmIds.set(vm.name, vm.id);
  await lab.admin.workload(labId('running')); // the guest is up and sees its power button
});
afterAll(async () => {
  await engine.stop();
  await inventory.stop();
  await lab.remove();
});

/** Of a run that goes on: the reconciliation after the first synchronisation leaves what it has made. */
const item = (): RunItemId => {
  const id = newId<RunItemId>();
  live.add(id);
  return id;
};
const vmId = (name: string): VmId => vmIds.get(name) ?? newId<VmId>();
const labId = (name: string): number => lab.vms.find((vm) => vm.name === name)?.id ?? 0;
const stateOf = async (name: string) => (await lab.admin.vm(labId(name))).state;
const facts = (name: string): Promise<VmFacts> =>
  inventory.client.request(getVmFacts, { vmId: vmId(name) }, { deadlineMs });
const shutDown = (itemId: RunItemId, name: string, withinSeconds = 60) =>
  inventory.client.request(shutDownVm, { itemId, vmId: vmId(name), withinSeconds }, { deadlineMs });
const start = (itemId: RunItemId, name: string) =>
  inventory.client.request(startVm, { itemId, vmId: vmId(name) }, { deadlineMs });
const snapshot = (itemId: RunItemId, name: string, kind: 'internal' | 'external') =>
  inventory.client.request(createVmSnapshot, { itemId, vmId: vmId(name), kind }, { deadlineMs });
const unsnapshot = (itemId: RunItemId, name: string) =>
  inventory.client.request(removeVmSnapshot, { itemId, vmId: vmId(name) }, { deadlineMs });
const snapshotsOf = async (name: string) =>
  (await lab.admin.snapshots(labId(name))).map((one) => [one.name, one.kind]);
const pathsOf = async (name: string) => (await lab.admin.vm(labId(name))).disks.map((disk) => disk.path);

describe('snapshots of a VM', () => {
  it.each(['internal', 'external'] as const)('%s, of a running VM: made once, removed once', async (kind) => {
    const itemId = item();
    const before = await pathsOf('running');
    const made = await snapshot(itemId, 'running', kind);
    expect(made.name).toBe(`casvault-${itemId}`);
    expect(await snapshotsOf('running')).toEqual([[made.name, kind]]);
    expect(await stateOf('running')).toBe('running');
    // R4: the independent disk takes part in the internal one alone, and stays where it is.
    const vda = { target: 'vda', path: before[0] };
    const vdb = { target: 'vdb', path: before[1] };
    expect(made.disks).toEqual(kind === 'internal' ? [vda, vdb] : [vda]);
    expect((await pathsOf('running'))[1]).toBe(before[1]);
    expect((await pathsOf('running'))[0] === before[0]).toBe(kind === 'internal');
    expect(await snapshot(itemId, 'running', kind)).toEqual(made);
    await unsnapshot(itemId, 'running');
    expect(await snapshotsOf('running')).toEqual([]);
    expect(await pathsOf('running')).toEqual(before);
    await unsnapshot(itemId, 'running');
    expect((await faultOf(snapshot(itemId, 'running', kind))).code).toBe('CONFLICT');
    expect((await lab.admin.leftovers(1)).looseVolumes).toEqual([]);
  });

  it('external, of a VM that is off, with a raw disk', async () => {
    const itemId = item();
    const before = await pathsOf('off');
    const made = await snapshot(itemId, 'off', 'external');
    expect(made.disks.map((disk) => disk.path)).toEqual(before);
    await unsnapshot(itemId, 'off');
    expect(await pathsOf('off')).toEqual(before);
    expect((await facts('off')).vm.disks.map((disk) => disk.format)).toEqual(['qcow2', 'raw']);
  });

  it('is found after a kill between the intent and the answer', async () => {
    const itemId = item();
    const before = await pathsOf('running');
    await lab.admin.configure({ taskDelayMs: 1_500 });
    const request = { itemId, vmId: vmId('running'), kind: 'external' as const };
    const lost = faultOf(inventory.client.request(createVmSnapshot, request, { deadlineMs: 3_000 }));
    await until(
      async () => (await inventory.query('SELECT 1 FROM vm_snapshot WHERE item_id = $1', [itemId]))[0],
    );
    await inventory.restart();
    await lab.admin.configure({ taskDelayMs: 0 });
    await lost;
    const made = await snapshot(itemId, 'running', 'external');
    expect(await snapshotsOf('running')).toEqual([[made.name, 'external']]);
    expect(made.disks[0]?.path).toBe(before[0]);
    expect((await pathsOf('running'))[0]).not.toBe(before[0]);
    await unsnapshot(itemId, 'running');
    expect(await pathsOf('running')).toEqual(before);
  });

  it('of others are not touched, below and above ours', async () => {
    const itemId = item();
    const id = labId('running');
    const before = await pathsOf('running');
    await lab.admin.createSnapshot(id, { name: 'below', kind: 'external' });
    await snapshot(itemId, 'running', 'external');
    await lab.admin.createSnapshot(id, { name: 'above', kind: 'external' });
    await unsnapshot(itemId, 'running');
    expect(await snapshotsOf('running')).toEqual([
      ['below', 'external'],
      ['above', 'external'],
    ]);
    await lab.admin.deleteSnapshot(id, 'above');
    await lab.admin.deleteSnapshot(id, 'below');
    expect(await pathsOf('running')).toEqual(before);
    // One of ours by its name alone is not ours.
    const other = item();
    await lab.admin.createSnapshot(id, { name: `casvault-${other}`, kind: 'internal' });
    expect((await faultOf(snapshot(other, 'running', 'internal'))).code).toBe('ALREADY_EXISTS');
    await unsnapshot(other, 'running');
    expect(await snapshotsOf('running')).toHaveLength(1);
    await lab.admin.deleteSnapshot(id, `casvault-${other}`);
  });

  it.each([
    ['R1: raw disks, internal', 'off', 'internal', /vdb is raw/],
    ['R2: encrypted disks', 'sealed', 'external', /is encrypted/],
  ] as const)('%s: refused, and nothing is made', async (_, name, kind, message) => {
    const fault = await faultOf(snapshot(item(), name, kind));
    expect(fault.code).toBe('CAPTURE_REFUSED');
    expect(fault.message).toMatch(message);
    expect(await snapshotsOf(name)).toEqual([]);
  });
});

describe('what can be done for a VM', () => {
  it('R1, R2, R4: by its disks', async () => {
    const all = await facts('running');
    expect(all.vm.disks.map((disk) => disk.mode)).toEqual(['dependent', 'independent-persistent']);
    expect(all.capabilities).toEqual({
      liveExport: true,
      liveIncremental: true,
      internalSnapshot: true,
      externalSnapshot: true,
      externalIncremental: true,
    });
    expect((await facts('off')).capabilities).toMatchObject({
      internalSnapshot: false,
      externalSnapshot: true,
    });
    expect((await facts('sealed')).capabilities).toMatchObject({
      internalSnapshot: false,
      externalSnapshot: false,
    });
  });

  it('by its host: a disk service without live export says so', async () => {
    await lab.admin.offerLiveExport(1, false);
    expect((await facts('running')).capabilities.liveExport).toBe(false);
    await lab.admin.offerLiveExport(1, true);
    expect((await facts('running')).capabilities.liveExport).toBe(true);
  });

  it('R10: a disk on a bus without hot plug waits for a restart, and is told', async () => {
    expect((await facts('running')).restartNeeded).toEqual([]);
    const { target } = await lab.admin.attachDisk(labId('running'), { sizeBytes: 4 * MiB, bus: 'ide' });
    expect((await facts('running')).restartNeeded).toEqual([target]);
    await lab.admin.power(labId('running'), 'shutDown');
    expect((await facts('running')).restartNeeded).toEqual([]);
    await lab.admin.power(labId('running'), 'start');
    await lab.admin.workload(labId('running'));
    expect((await facts('running')).restartNeeded).toEqual([]);
    expect((await facts('running')).vm.disks.map((disk) => disk.target)).toContain(target);
  });
});

describe('R6: a safe shutdown', () => {
  it('shuts a running VM down once, and starts it again once', async () => {
    const itemId = item();
    expect(await shutDown(itemId, 'running')).toEqual({ wasRunning: true });
    expect(await stateOf('running')).toBe('shutOff');
    expect(await shutDown(itemId, 'running')).toEqual({ wasRunning: true });
    await start(item(), 'running');
    expect(await stateOf('running')).toBe('shutOff');
    await start(itemId, 'running');
    expect(await stateOf('running')).toBe('running');
    await start(itemId, 'running');
    expect((await faultOf(shutDown(itemId, 'running'))).code).toBe('CONFLICT');
    expect(await stateOf('running')).toBe('running');
  });

  it('given back, it is neither shut down nor started again by databases that were set back', async () => {
    const itemId = item();
    await lab.admin.workload(labId('running'));
    await shutDown(itemId, 'running');
    await start(itemId, 'running');
    await inventory.query('DELETE FROM vm_shutdown WHERE item_id = $1', [itemId]);
    expect((await faultOf(shutDown(itemId, 'running'))).code).toBe('ITEM_ENDED');
    expect(await stateOf('running')).toBe('running');
    await lab.admin.power(labId('running'), 'powerOff');
    await inventory.query(
      `INSERT INTO vm_shutdown (item_id, vm_id, platform_id, state, was_running, asked_at)
       SELECT $1, id, platform_id, 'down', true, now() FROM vm WHERE name = 'running'`,
      [itemId],
    );
    await start(itemId, 'running');
    expect(await stateOf('running')).toBe('shutOff');
    await lab.admin.power(labId('running'), 'start');
  });

  it('F8: a VM that two items have off is started by the one that gives it back last', async () => {
    const [first, second] = [item(), item()];
    await lab.admin.workload(labId('running'));
    expect(await shutDown(first, 'running')).toEqual({ wasRunning: true });
    expect(await shutDown(second, 'running')).toEqual({ wasRunning: false });
    await start(first, 'running');
    expect(await stateOf('running')).toBe('shutOff');
    await start(second, 'running');
    expect(await stateOf('running')).toBe('running');
  });

  it('F8: a VM that one item leaves off is started by no other that had it off too', async () => {
    const [interrupted, other] = [item(), item()];
    await lab.admin.workload(labId('running'));
    await shutDown(other, 'running');
    await shutDown(interrupted, 'running');
    const left = { itemId: interrupted, vmId: vmId('running') };
    await inventory.client.request(leaveVmOff, left, { deadlineMs });
    await start(other, 'running');
    expect(await stateOf('running')).toBe('shutOff');
    await lab.admin.power(labId('running'), 'start');
  });

  it('a VM that is off stays off', async () => {
    const itemId = item();
    expect(await shutDown(itemId, 'off')).toEqual({ wasRunning: false });
    await start(itemId, 'off');
    expect(await stateOf('off')).toBe('shutOff');
  });

  it('a guest that does not follow is left running', async () => {
    const itemId = item();
    await lab.admin.configure({ guestStopMs: 1_000 });
    await lab.admin.ignoreShutdown(labId('running'), true);
    const fault = await faultOf(shutDown(itemId, 'running', 10));
    await lab.admin.ignoreShutdown(labId('running'), false);
    await lab.admin.configure({ guestStopMs: 60_000 });
    expect(fault.code).toBe('VM_STATE_REFUSED');
    expect(await stateOf('running')).toBe('running');
    await start(itemId, 'running');
    expect(await stateOf('running')).toBe('running');
  });

  it('R6: a guest that does not hear its power button at first is asked again', async () => {
    const itemId = newId<RunItemId>();
    await lab.admin.workload(labId('running'));
    await lab.admin.configure({ guestStopMs: 1_000 });
    await lab.admin.ignoreShutdown(labId('running'), true);
    const down = shutDown(itemId, 'running');
    await until(() => inventory.process.output.includes('VM asked to shut down once more'));
    await lab.admin.configure({ guestStopMs: 60_000 });
    await lab.admin.ignoreShutdown(labId('running'), false);
    expect(await down).toEqual({ wasRunning: true });
    expect(await stateOf('running')).toBe('shutOff');
    await start(itemId, 'running');
  });

  it('R11: a paused VM is not shut down', async () => {
    await lab.admin.power(labId('running'), 'suspend');
    expect((await faultOf(shutDown(item(), 'running'))).code).toBe('VM_STATE_REFUSED');
    await lab.admin.power(labId('running'), 'resume');
  });

  it('a kill between the intent and the answer changes no answer', async () => {
    await lab.admin.workload(labId('running'));
    const itemId = item();
    await lab.admin.configure({ taskDelayMs: 1_000 });
    const request = { itemId, vmId: vmId('running'), withinSeconds: 60 };
    const lost = faultOf(inventory.client.request(shutDownVm, request, { deadlineMs: 3_000 }));
    await until(
      async () => (await inventory.query('SELECT 1 FROM vm_shutdown WHERE item_id = $1', [itemId]))[0],
    );
    await inventory.restart();
    await lab.admin.configure({ taskDelayMs: 0 });
    await lost;
    expect(await shutDown(itemId, 'running')).toEqual({ wasRunning: true });
    await start(itemId, 'running');
    expect(await stateOf('running')).toBe('running');
  });
});

describe('reconciliation', () => {
  const reconcile = async () => {
    const { findings } = await inventory.client.request(reconcilePlatform, { platformId }, { deadlineMs });
    return findings.map(({ kind, name, outcome }) => ({ kind, name, outcome }));
  };
  it('removes what dead items left, starts what they shut down, and leaves to the living and to others what is theirs', async () => {
    const id = labId('running');
    await lab.admin.workload(id);
    const [dead, alive, restoring] = [newId<RunItemId>(), newId<RunItemId>(), newId<RunItemId>()];
    live.add(alive);
    const before = await pathsOf('running');
    await snapshot(alive, 'off', 'external');
    await lab.admin.createSnapshot(id, { name: `casvault-${newId()}`, kind: 'external' });
    const foreign = await snapshotsOf('running');
    const made = await snapshot(dead, 'running', 'external');
    await shutDown(dead, 'running');
    await inventory.restart();
    const restore = {
      vmName: 'half-made',
      platformId,
      hostId: (await facts('off')).vm.hostId,
      restoreId: restoring,
    };
    await inventory.client.request(
      createRestoreVm,
      {
        ...restore,
        storageName: 'defaultpool',
        cpuCount: 1,
        memoryMiB: 128,
        disks: [{ target: 'vda', sizeBytes: 4 * MiB, format: 'qcow2', bus: 'virtio' }],
        nics: [],
        configuration: {},
      },
      { deadlineMs },
    );
    expect(await reconcile()).toEqual([
      { kind: 'snapshot', name: made.name, outcome: 'removed' },
      { kind: 'shutdown', name: 'running', outcome: 'started' },
      { kind: 'restore-vm', name: 'half-made', outcome: 'removed' },
    ]);
    expect(await stateOf('running')).toBe('running');
    expect(await snapshotsOf('running')).toEqual(foreign);
    expect((await lab.admin.vms()).map((vm) => vm.name)).not.toContain('half-made');
    expect(await snapshotsOf('off')).toEqual([[`casvault-${alive}`, 'external']]);
    expect(await reconcile()).toEqual([]);
    live.delete(alive);
    expect(await reconcile()).toEqual([{ kind: 'snapshot', name: `casvault-${alive}`, outcome: 'removed' }]);
    await lab.admin.deleteSnapshot(id, foreign[0]?.[0] ?? '');
    expect(await pathsOf('running')).toEqual(before);
    expect((await lab.admin.leftovers(1)).looseVolumes).toEqual([]);
  });

  it('a guest that did not follow in time and does so later is started again', async () => {
    const itemId = newId<RunItemId>();
    await lab.admin.workload(labId('running'));
    await lab.admin.configure({ guestStopMs: 1_000 });
    await lab.admin.ignoreShutdown(labId('running'), true);
    expect((await faultOf(shutDown(itemId, 'running', 10))).code).toBe('VM_STATE_REFUSED');
    await lab.admin.ignoreShutdown(labId('running'), false);
    await lab.admin.configure({ guestStopMs: 60_000 });
    await start(itemId, 'running');
    expect(await reconcile()).toEqual([{ kind: 'shutdown', name: 'running', outcome: 'left' }]);
    await lab.admin.power(labId('running'), 'shutDown');
    expect(await reconcile()).toEqual([{ kind: 'shutdown', name: 'running', outcome: 'started' }]);
    expect(await reconcile()).toEqual([]);
  });

  it('D6: of checkpoints it keeps the needed and the unproven; all of ours go on request', async () => {
    const { vm } = await facts('running');
    const url = `http://${lab.hosts[0]?.address ?? ''}:${String(lab.diskService?.port)}`;
    const client = new DiskServiceClient({ url, token: lab.diskService?.token ?? '' });
    const disk = vm.disks.find((one) => one.target === 'vda');
    const make = async (): Promise<string> => {
      const name = checkpointName(newId());
      const openingId = newId<OpeningId>();
      await client.open(openingId, {
        kind: 'capture',
        vm: { uuid: vm.uuid, name: vm.name },
        disks: [{ target: 'vda', path: disk?.path ?? '' }],
        checkpoint: name,
        leaseSeconds: 60,
      });
      await client.close(openingId, { keepCheckpoint: true });
      return name;
    };
    const [needed, spare, unknown] = [await make(), await make(), await make()];
    knownCheckpoints.set(needed, 'needed').set(spare, 'spare');
    const found = await reconcile();
    expect(found).toHaveLength(2);
    expect(found).toContainEqual({ kind: 'checkpoint', name: spare, outcome: 'removed' });
    expect(found).toContainEqual({ kind: 'checkpoint', name: unknown, outcome: 'left' });
    const request = { vmId: vmId('running'), keep: [needed] };
    expect(await inventory.client.request(removeCheckpoints, request, { deadlineMs })).toEqual({
      removed: [unknown],
    });
    expect((await client.checkpoints(vm.uuid)).map((one) => one.name)).toEqual([needed]);
    await inventory.client.request(removeCheckpoints, { ...request, keep: [] }, { deadlineMs });
    expect((await lab.admin.leftovers(1)).checkpoints).toEqual([]);
  });
});
