import { execFile } from 'node:child_process';
import { writeFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Point, type RunDetail, type Vm } from '@casvault/contracts';
import { sameDisk } from '@casvault/stack';
import { until } from '@casvault/testkit';
import { expectNothingLeft, expectSucceeded, MiB, pointOf, startWorld, type World } from './world.js';

const run = promisify(execFile);
const diskBytes = 512 * MiB;
const dataBytes = 200 * MiB;

/** F8, F9 over all services: back in place, and out as a file. */
describe('F8, F9: roll-back and download', () => {
  let world: World;
  let vm: Vm;
  let point: Point;
  const rates = { pairsPerSecond: 20, bulkKiBPerSecond: 256 };

  beforeAll(async () => {
    world = await startWorld('rollback', {
      movers: 2,
      vms: [
        {
          name: 'busy',
          host: 1,
          disks: [
            { sizeBytes: diskBytes, dataBytes },
            { sizeBytes: diskBytes, dataBytes: 32 * MiB },
          ],
          workload: rates,
        },
      ],
    });
    vm = await world.trial.vm(world.platform, 'busy');
    const { id: poolId } = await world.trial.standardPool('rollback');
    // A copy that is booted goes on as its header says: one of a guest at rest stays as it is.
    await world.trial.lab.admin.stopWorkload(labVm().id);
    point = await pointOf(world, expectSucceeded(await world.trial.backUp(vm, poolId)));
  });
  afterAll(() => world[Symbol.asyncDispose]());

  const labVm = () => {
    const found = world.trial.lab.vms.find(({ name }) => name === 'busy');
    if (!found) throw new Error('the lab has no such VM');
    return found;
  };
  /** The guest has written since, and then rests. */
  const changed = async (): Promise<void> => {
    const { admin } = world.trial.lab;
    const before = (await admin.startWorkload(labVm().id, rates)).number;
    await until(async () => (await admin.workload(labVm().id)).number > before + 20, 60_000);
    await admin.stopWorkload(labVm().id);
  };
  const rollBack = async (): Promise<RunDetail['id']> =>
    (await world.trial.api.rollBack(point.id, { confirm: 'busy' })).id;
  const ended = (runId: RunDetail['id']) => world.trial.api.watchRun(runId, () => undefined);
  /** Compared with the independent copy of the captured instant. */
  const expectAtThePoint = async (): Promise<void> => {
    const reference = await world.trial.referenceOf(point);
    for (const disk of vm.disks) {
      const raw = { path: reference.get(disk.target) ?? '', format: 'raw' };
      expect([disk.target, await sameDisk(raw, disk)]).toEqual([disk.target, true]);
    }
  };
  const powerState = async () => (await world.trial.lab.admin.vm(labVm().id)).state;

  it('F8: is refused without the name of the VM', async () => {
    await expect(world.trial.api.rollBack(point.id, { confirm: 'other' })).rejects.toMatchObject({
      problem: { code: 'INPUT_INVALID', details: { field: 'confirm' } },
    });
    expect(await powerState()).toBe('running');
  });

  it('F8: a running VM is shut down, gets back the bytes of the point, only those that differ, and runs again', async () => {
    await changed();
    const ran = expectSucceeded(await ended(await rollBack()));
    expect(ran.kind).toBe('rollback');
    expect(await powerState()).toBe('running');
    await expectAtThePoint();
    const written = ran.items.flatMap(({ progress }) => progress).map(({ writtenBytes = 0 }) => writtenBytes);
    expect(Math.min(...written)).toBeGreaterThan(0);
    expect(Math.max(...written)).toBeLessThan(dataBytes / 4);
    await expectNothingLeft(world);
  });

  it('F8: a mover killed in the middle is followed by another, to the same bytes', async () => {
    // A guest that still boots would not hear its power button.
    await changed();
    const runId = await rollBack();
    const holder = await claimedBy(world);
    await world.stack.process(holder).kill();
    expectSucceeded(await ended(runId));
    await world.stack.process(holder).start();
    await expectAtThePoint();
    expect(await powerState()).toBe('running');
    await until(async () => {
      await expectNothingLeft(world);
      return true;
    }, 60_000);
  });

  it('F9: a disk comes out as raw, in parts, and as qcow2', async () => {
    const reference = (await world.trial.referenceOf(point)).get('vdb') ?? '';
    const bytes = await readFile(reference);
    const range = await world.trial.api.download(point.id, 'vdb', { range: 'bytes=1048000-9000000' });
    expect(range.status).toBe(206);
    expect(Buffer.from(await range.arrayBuffer()).equals(bytes.subarray(1_048_000, 9_000_001))).toBe(true);
    for (const format of ['raw', 'qcow2'] as const) {
      const path = join(world.stack.dir, `download.${format}`);
      const answer = await world.trial.api.download(point.id, 'vdb', { format });
      await writeFile(path, Buffer.from(await answer.arrayBuffer()));
      expect(await sameDisk({ path, format }, { path: reference, format: 'raw' })).toBe(true);
      if (format === 'qcow2') expect((await run('qemu-img', ['check', path])).stdout).toContain('No errors');
    }
  });
});

/** The mover that claims the next transfer. */
const claimedBy = async (world: World): Promise<string> => {
  const names = ['mover-1', 'mover-2'];
  const claims = async (name: string) =>
    (await world.stack.process(name).logTail(2_000)).split('transfer claimed').length - 1;
  const before = new Map<string, number>();
  for (const name of names) before.set(name, await claims(name));
  return until(async () => {
    for (const name of names) if ((await claims(name)) > (before.get(name) ?? 0)) return name;
    return null;
  }, 120_000);
};
