import { execFile } from 'node:child_process';
import { copyFile, cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { checkpointName, type Point, type RunDetail, type RunItem } from '@casvault/contracts';
import { ApiClient, labBackup, sameDisk } from '@casvault/stack';
import { deletePoints } from './history/deletion.js';
import { virshOn, writeAsGuest, writeToImage } from './history/guest-io.js';
import {
  expectRestoredEqual,
  expectSucceeded,
  MiB,
  pointOf,
  startWorld,
  sumOf,
  untilNothingLeft,
  untilRun,
  type World,
} from './world.js';

const run = promisify(execFile);
const offlineReader = fileURLToPath(new URL('../../../tools/offline-reader/restore.py', import.meta.url));
/** So that each transfer, of 12 MiB, is under way for 24 seconds. */
const speedLimit = [{ from: '00:00', to: '00:00', rate: 512, unit: 'KiB/s', appliesTo: 'disk' }] as const;

/** All of it, in the order in which it is started. */
const processes = [
  ...['licensing-auth', 'inventory', 'scheduler', 'snapshot-engine', 'data-mover', 'mover-1'],
  'gateway',
] as const;

/** What has been given to its owner after the copy, and what it held last. */
interface Given {
  readonly runId: RunDetail['id'];
  readonly disk: { readonly path: string; readonly format: string };
  readonly copy: string;
}

/**
 * All is lost but the pools, the sealing key, what hosts remember, and an older copy of Postgres, in which a backup, a restore, the creation
 * of a disk and a roll-back are under way.
 */
describe('the control plane set back to a copy of its Postgres', () => {
  let world: World;
  let pool: { readonly id: string; readonly path: string };
  /** Of `busy`: three that the copy knows, of which the first is deleted after it, and one that was made after it. */
  let known: readonly [Point, Point, Point];
  let unknown: Point;
  /** Of `slow`: under way when the copy was taken, and what came of it before all was lost. */
  let underWay: RunDetail['id'];
  let finished: Point;
  /** Under way as well: a new VM, a loose volume, and `rolled`. */
  let given: { readonly vm: Given; readonly volume: Given; readonly rolled: Given };

  beforeAll(async () => {
    const disk = (seed: number) => [{ sizeBytes: 64 * MiB, dataBytes: 12 * MiB, seed }];
    world = await startWorld('set-back', {
      env: { 'mover-1': { CASVAULT_DATA_MOVER_TRANSFERS: '4' } },
      vms: ['busy', 'slow', 'rolled'].map((name, at) => ({ name, host: 1, disks: disk(at + 1) })),
    });
    pool = await world.trial.standardPool('set-back');
  });
  afterAll(() => world[Symbol.asyncDispose]());

  const folder = (name: string): string => join(world.stack.dir, name);
  const backUp = async (name: string): Promise<Point> => {
    const vm = await world.trial.vm(world.platform, name);
    return pointOf(world, expectSucceeded(await world.trial.backUp(vm, pool.id)));
  };
  const inLab = (name: string) => {
    const { lab } = world.trial;
    const vm = lab.vms.find((one) => one.name === name);
    const host = lab.hosts.find(({ id }) => id === vm?.hostId);
    if (vm === undefined || host === undefined) throw new Error(`no ${name} in the lab`);
    return { vm, host };
  };
  const write = async (name: string, pattern: number, length = 2 * MiB): Promise<void> => {
    const { vm, host } = inLab(name);
    await writeAsGuest(host, vm.uuid, 0, [{ offset: pattern * MiB, length, pattern }]);
  };
  /** As a snapshot of the volume has it, or a server that lost its power: what was committed is in it. */
  const copyPostgres = async (): Promise<void> => {
    await world.stack.postgres.kill();
    await cp(folder('postgres'), folder('copy'), { recursive: true, preserveTimestamps: true });
    await run('chown', ['--reference', folder('postgres'), '--recursive', folder('copy')]);
    await world.stack.postgres.start();
  };
  /** Every disk of the point, read out of the pool by the separate reader. */
  const expectInPool = async (point: Point): Promise<void> => {
    for (const [target, path] of await world.trial.referenceOf(point)) {
      const out = folder(`${point.id}-${target}.raw`);
      await run('python3', [offlineReader, 'restore', pool.path, point.chainId, point.id, target, out]);
      const [reference, found] = [path, out].map((one) => ({ path: one, format: 'raw' }));
      expect(await sameDisk(reference!, found!)).toBe(true);
    }
  };

  const changed = async (pattern: number): Promise<Point> => {
    await write('busy', pattern);
    return backUp('busy');
  };
  const ended = (runId: RunDetail['id']) => world.trial.api.watchRun(runId, () => undefined);
  const itemOf = async (runId: RunDetail['id']): Promise<RunItem> => {
    const [item] = (await ended(runId)).items;
    if (item === undefined) throw new Error('the run has no item');
    return item;
  };
  /** However slow the machine is, no transfer ends meanwhile. */
  const whileMoverHalts = async (action: () => Promise<void>): Promise<void> => {
    const { pid } = world.stack.process('mover-1');
    if (pid === null) throw new Error('the mover does not run');
    process.kill(pid, 'SIGSTOP');
    try {
      await action();
    } finally {
      process.kill(pid, 'SIGCONT');
    }
  };
  /** Its mover tells of a disk. */
  const untilWriting = (runId: RunDetail['id']) =>
    untilRun(world, runId, ({ items }) => items.some(({ progress }) => progress.length > 0));
  /** Rolls back, restores and creates. */
  const startWriting = async (point: Point, ofRolled: Point) => {
    const { api } = world.trial;
    const options = { speedLimit: [...speedLimit] };
    const place = await world.trial.placeOn(world.platform, '1');
    const items = [{ pointId: point.id, target: { ...place, vmName: 'handed-over' } }];
    // A guest that still boots would not hear its power button.
    await world.trial.lab.admin.workload(inLab('rolled').vm.id);
    const rolled = (await api.rollBack(ofRolled.id, { confirm: 'rolled', options })).id;
    const vm = await world.trial.startJob({ kind: 'restore', items, options }, 'restore under way');
    const volume = (await api.createVolume(point.id, 'vda', { ...place, name: 'loose', options })).id;
    return { vm, volume, rolled };
  };
  /** Each is its owner's now, who writes to it. */
  const give = async (runs: Awaited<ReturnType<typeof startWriting>>): Promise<typeof given> => {
    for (const runId of Object.values(runs)) expectSucceeded(await ended(runId));
    const made = await world.trial.api.getVm((await itemOf(runs.vm)).restoredVmId ?? ('' as never));
    const [loose = ''] = (await world.trial.lab.admin.leftovers(1)).looseVolumes;
    const rolled = await world.trial.vm(world.platform, 'rolled');
    // Its owner's choice, and so its disk can be looked at.
    await world.trial.lab.admin.power(inLab('rolled').vm.id, 'powerOff');
    const disks = { vm: made.disks[0], volume: { path: loose, format: 'qcow2' }, rolled: rolled.disks[0] };
    const taken = async (name: keyof typeof runs): Promise<Given> => {
      const disk = disks[name];
      if (disk === undefined) throw new Error(`no disk of ${name}`);
      await writeToImage(disk.path, [{ offset: 0, length: 32 * MiB, pattern: 99 }]);
      await copyFile(disk.path, folder(`${name}.copy`));
      return { runId: runs[name], disk, copy: folder(`${name}.copy`) };
    };
    return { vm: await taken('vm'), volume: await taken('volume'), rolled: await taken('rolled') };
  };

  it('is copied while runs are under way, which go on and end', async () => {
    known = [await backUp('busy'), await changed(20), await changed(24)];
    const ofRolled = await backUp('rolled');
    await write('rolled', 40, 10 * MiB);
    const writing = await startWriting(known[2], ofRolled);
    const slow = await world.trial.vm(world.platform, 'slow');
    const definition = { ...labBackup, vmIds: [slow.id], poolId: pool.id, options: { speedLimit } };
    underWay = await world.trial.startJob(definition, 'under way');
    const all = [underWay, ...Object.values(writing)];
    for (const runId of all) await untilWriting(runId);
    await untilRun(world, underWay, (now) => sumOf(now, 'doneBytes') > 2 * MiB);
    await whileMoverHalts(async () => {
      for (const runId of all) {
        const { items } = await world.trial.api.getRun(runId);
        expect(items).toMatchObject([{ phase: 'transferring' }]);
      }
      await copyPostgres();
    });
    finished = await pointOf(world, expectSucceeded(await ended(underWay)));
    given = await give(writing);
  });

  it('knows nothing of what came after the copy', async () => {
    unknown = await changed(30);
    expect(unknown).toMatchObject({ kind: 'incremental', parentPointId: known[2].id });
    await deletePoints(world.trial.api, [known[0].id], 'single');

    for (const name of processes) await world.stack.process(name).kill();
    await world.stack.nats.lose();
    await world.stack.postgres.stop();
    await rm(folder('postgres'), { recursive: true });
    await cp(folder('copy'), folder('postgres'), { recursive: true, preserveTimestamps: true });
    await run('chown', ['--reference', folder('copy'), '--recursive', folder('postgres')]);
    await world.stack.postgres.start();
    await world.stack.nats.start();
    for (const name of processes) await world.stack.process(name).start();

    const api = new ApiClient(world.stack.gatewayUrl);
    await api.signIn('admin', world.stack.adminPassword);
    const points = await api.listPoints({ vmId: unknown.vmId });
    expect(points.map(({ id }) => id).sort()).toEqual(known.map(({ id }) => id).sort());
  });

  it('ends the run that was under way, and its point is in the pool', async () => {
    const after = expectSucceeded(await ended(underWay));
    expect(after.items).toMatchObject([{ pointId: finished.id, attempt: 1 }]);
    expect(after.items[0]?.reasons).toContain('WORKER_LOST');
    await expectInPool(finished);
    await expectRestoredEqual(world, await pointOf(world, after));
  });

  it.each(['vm', 'volume', 'rolled'] as const)(
    'writes nothing a second time to what was given to its owner since: %s',
    async (name) => {
      const { runId, disk, copy } = given[name];
      expect(await itemOf(runId)).toMatchObject({ state: 'failed', fault: { code: 'ITEM_ENDED' } });
      expect(await sameDisk({ path: copy, format: disk.format }, disk)).toBe(true);
    },
  );

  it('neither removes, powers nor shuts down what was given to its owner since', async () => {
    const { trial, platform } = world;
    await trial.api.syncPlatform(platform.id);
    for (const name of ['handed-over', 'rolled'])
      expect(await trial.vm(platform, name)).toMatchObject({ powerState: 'stopped' });
    expect((await trial.lab.admin.leftovers(1)).looseVolumes).toEqual([given.volume.disk.path]);
    await rm(given.volume.disk.path);
  });

  it('restores what it knows, and backs up anew what it does not', async () => {
    await expectRestoredEqual(world, known[2]);
    const next = await backUp('busy');
    // What the disk's bitmap tells is since a point that nobody knows.
    expect(next).toMatchObject({ kind: 'incremental', parentPointId: known[2].id });
    expect(next.disks.flatMap(({ tracked, reasons }) => [tracked, ...reasons])).toEqual([
      false,
      'BITMAP_MISSING',
    ]);
    await expectRestoredEqual(world, next);
  });

  it('fails to restore what was deleted meanwhile, and deletes it again', async () => {
    const { trial, platform } = world;
    const { state, items } = await trial.restore(known[0], platform, '2', 'deleted-meanwhile');
    expect([state, items[0]?.fault?.code]).toEqual(['failed', 'POOL_OBJECT_MISSING']);
    await deletePoints(trial.api, [known[0].id], 'single');
  });

  it('deletes a point without harm to one that it does not know', async () => {
    await deletePoints(world.trial.api, [known[1].id], 'single');
    await expectRestoredEqual(world, known[2]);
    await expectInPool(unknown);
  });

  it('leaves the checkpoint of that point, which an operator removes', async () => {
    const name = checkpointName(unknown.id);
    const { vm, host } = inLab('busy');
    expect((await world.trial.lab.admin.leftovers(host.id)).checkpoints).toContain(`busy/${name}`);
    await virshOn(host, 'checkpoint-delete', vm.uuid, name);
    await untilNothingLeft(world, 60_000);
  });
});
