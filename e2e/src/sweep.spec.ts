import { sweep } from './sweep/sweep.js';
import { startWorld, type World } from './world.js';

/**
 * SIGKILL at every durable step of capture, transfer, commit, deletion and roll-back: all steps that an undisturbed pass took,
 * found as they happen, none of them listed by hand. Commits are killed before or after in turn; at both sides: `make soak-kill`.
 */
describe('killed at every durable step', () => {
  let world: World;
  beforeAll(async () => {
    world = await startWorld('sweep', { vms: [], observed: false });
  });
  afterAll(() => world[Symbol.asyncDispose]());

  it(
    'loses no committed point, leaves nothing on the platform, ends every job',
    async () => {
      const said: string[] = [];
      const report = await sweep({
        world,
        machines: 2,
        sides: 1,
        rounds: 12,
        say: (line) => said.push(line),
      });
      process.stdout.write(`${said.join('\n')}\n`);
      expect({ said, open: report.open }).toEqual({ said, open: [] });
      // The pass has the steps of five services; fewer would mean that they are not seen.
      expect(report.steps.length).toBeGreaterThan(60);
      expect(report.kills).toBeGreaterThan(60);
    },
    15 * 60_000,
  );
});
