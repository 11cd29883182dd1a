import { execFile } from 'node:child_process';
import { cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { checkpointName, type Point, type RunDetail } from '@casvault/contracts';
import { ApiClient, labBackup, sameDisk } from '@casvault/stack';
import { deletePoints } from './history/deletion.js';
import { virshOn, writeAsGuest } from './history/guest-io.js';
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
/** So that a transfer of `slow` is under way for twelve seconds. */
const speedLimit = [{ from: '00:00', to: '00:00', rate: 1, unit: 'MiB/s', appliesTo: 'disk' }] as const;

/** All of it, in the order in which it is started. */
const processes = [
  ...['licensing-auth', 'inventory', 'scheduler', 'snapshot-engine', 'data-mover', 'mover-1'],
  'gateway',
] as const;

/**
 * All is lost but the pools, the sealing key and an older copy of Postgres, in which a backup is under way. All services start at once: with a
 * restore or a roll-back under way that is not safe (docs/operations.md, "Backing up the control plane").
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

  beforeAll(async () => {
    const disk = (seed: number) => [{ sizeBytes: 64 * MiB, dataBytes: 12 * MiB, seed }];
    world = await startWorld('set-back', {
      vms: [
        { name: 'busy', host: 1, disks: disk(1) },
        { name: 'slow', host: 1, disks: disk(2) },
      ],
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
  const write = async (name: string, pattern: number): Promise<void> => {
    const { vm, host } = inLab(name);
    await writeAsGuest(host, vm.uuid, 0, [{ offset: pattern * MiB, length: 2 * MiB, pattern }]);
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

  it('knows nothing of what came after the copy', async () => {
    const changed = async (pattern: number): Promise<Point> => {
      await write('busy', pattern);
      return backUp('busy');
    };
    known = [await backUp('busy'), await changed(20), await changed(24)];
    const slow = await world.trial.vm(world.platform, 'slow');
    const definition = { ...labBackup, vmIds: [slow.id], poolId: pool.id, options: { speedLimit } };
    underWay = await world.trial.startJob(definition, 'under way');
    await untilRun(world, underWay, (now) => sumOf(now, 'doneBytes') > 2 * MiB);
    await copyPostgres();
    finished = await pointOf(
      world,
      expectSucceeded(await world.trial.api.watchRun(underWay, () => undefined)),
    );
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
    const after = expectSucceeded(await world.trial.api.watchRun(underWay, () => undefined));
    expect(after.items).toMatchObject([{ pointId: finished.id, attempt: 1 }]);
    expect(after.items[0]?.reasons).toContain('WORKER_LOST');
    await expectInPool(finished);
    await expectRestoredEqual(world, await pointOf(world, after));
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
