import { describeStops, measureStops, stopEnv, stopLimits, stopVms } from './stops/stops.js';
import { expectRestoredEqual, expectSucceeded, pointOf, startWorld, type World } from './world.js';

/** Runs are stopped at instants spread over all that a run does, however long it takes here. Two hundred: `make soak-stops`. */
describe('stopped in mid-run', () => {
  let world: World;
  beforeAll(async () => {
    world = await startWorld('stopped', { vms: stopVms, env: stopEnv });
  });
  afterAll(() => world[Symbol.asyncDispose]());

  it('G3, D9: backups and restores are terminal within 10 s, the platform is clean within 60 s, and there is no half point and no half VM', async () => {
    const said: string[] = [];
    const say = (line: string): void => void said.push(line);
    const report = await measureStops(world, { count: 12, seed: 1, say });
    process.stdout.write(`${[...said, ...describeStops(report)].join('\n')}\n`);
    for (const kind of ['backup', 'restore'] as const)
      expect(report.stops.filter(({ run }) => run.kind === kind).map(({ run }) => run.state)).toContain(
        'stopped',
      );
    for (const { terminalMs } of report.stops) expect(terminalMs).toBeLessThan(stopLimits.terminalMs);
    const { trial, platform } = world;
    const pool = await trial.standardPool('stops');
    const run = expectSucceeded(await trial.backUp(await trial.vm(platform, 'busy'), pool.id));
    await expectRestoredEqual(world, await pointOf(world, run));
  });
});
