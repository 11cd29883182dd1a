import { setTimeout as sleep } from 'node:timers/promises';
import { type Point, type RunDetail } from '@casvault/contracts';
import { labBackup } from '@casvault/stack';
import {
  expectNothingLeft,
  expectRestoredEqual,
  expectSucceeded,
  MiB,
  pointOf,
  startWorld,
  untilNothingLeft,
  type World,
} from './world.js';

/** D9: a run is terminal so soon after it was told to stop, and the platform is clean so soon after that. */
const terminalWithinMs = 10_000;
const cleanWithinMs = 60_000;

/** Runs are stopped at instants spread over all that a run does, however long it takes here. */
describe('stopped in mid-run', () => {
  let world: World;
  let poolId: string;

  beforeAll(async () => {
    world = await startWorld('stopped', {
      vms: [
        {
          name: 'busy',
          host: 1,
          disks: [
            { sizeBytes: 64 * MiB, dataBytes: 16 * MiB },
            { sizeBytes: 64 * MiB, dataBytes: 32 * MiB },
          ],
          workload: { pairsPerSecond: 20, bulkKiBPerSecond: 64 },
        },
      ],
    });
    poolId = (await world.trial.standardPool('stopped')).id;
  });
  afterAll(() => world[Symbol.asyncDispose]());

  const backup = async (): Promise<object> => {
    const vm = await world.trial.vm(world.platform, 'busy');
    return { ...labBackup, vmIds: [vm.id], poolId, pointKind: 'full' };
  };
  const restoreOf = async (point: Point, vmName: string): Promise<object> => {
    const target = { ...(await world.trial.placeOn(world.platform, '2')), vmName };
    return { kind: 'restore', items: [{ pointId: point.id, target }] };
  };
  const ended = (runId: RunDetail['id']): Promise<RunDetail> =>
    world.trial.api.watchRun(runId, () => undefined);

  /** A run that nobody stops, and how long it takes here, in ms. */
  const whole = async (definition: object): Promise<{ run: RunDetail; tookMs: number }> => {
    const begun = performance.now();
    const run = expectSucceeded(await ended(await world.trial.startJob(definition, 'whole')));
    return { run, tookMs: performance.now() - begun };
  };
  /** Starts a run, stops it so long after, and holds it to its time. */
  const stopped = async (definition: object, afterMs: number): Promise<RunDetail> => {
    const runId = await world.trial.startJob(definition, 'to be stopped');
    await sleep(afterMs);
    await world.trial.api.stopRun(runId);
    const asked = performance.now();
    const run = await ended(runId);
    const tookMs = performance.now() - asked;
    await untilNothingLeft(world, cleanWithinMs);
    expect(['stopped', 'succeeded']).toContain(run.state);
    expect(tookMs).toBeLessThan(terminalWithinMs);
    return run;
  };

  it('D9: a backup is terminal within 10 s, leaves nothing on the platform and no half point', async () => {
    await whole(await backup());
    const { tookMs } = await whole(await backup());
    const ends: string[] = [];
    for (let i = 0; i < 6; i += 1) ends.push((await stopped(await backup(), (tookMs * i) / 6)).state);
    expect(ends).toContain('stopped');
    const available = await world.trial.api.listPoints({ state: 'available' });
    expect(available).toHaveLength(2 + ends.filter((end) => end === 'succeeded').length);
    const { run } = await whole(await backup());
    await expectRestoredEqual(world, await pointOf(world, run));
  });

  it('D9: a restore is terminal within 10 s and leaves no half VM', async () => {
    const point = await pointOf(world, (await whole(await backup())).run);
    const { tookMs } = await whole(await restoreOf(point, 'whole'));
    const made = ['whole'];
    for (let i = 0; i < 4; i += 1) {
      const run = await stopped(await restoreOf(point, `stopped-${i}`), (tookMs * i) / 4);
      if (run.state === 'succeeded') made.push(`stopped-${i}`);
    }
    expect(made.length).toBeLessThan(5);
    await world.trial.api.syncPlatform(world.platform.id);
    const names = (await world.trial.api.listVms({ platformId: world.platform.id })).map(({ name }) => name);
    expect(names.filter((name) => /^(whole|stopped-)/.test(name)).sort()).toEqual(made.sort());
    await expectNothingLeft(world);
  });
});
