import { sweep } from './sweep/sweep.js';
import { startWorld, type World } from './world.js';

/**
 * SIGKILL at every durable step of capture, transfer, commit, deletion and roll-back: steps are found as they happen, none is
 * listed by hand, until a pass has none left. Commits are killed before or after in turn; at both sides: `make soak-kill`.
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
      const say = (line: string): void => void said.push(line);
      const report = await sweep({ world, machines: 2, sides: 1, rounds: 8, say });
      const { steps, kills, isTotal } = report;
      process.stdout.write(`${said.join('\n')}\n`);
      expect({ said, isTotal }).toEqual({ said, isTotal: true });
      // The steps of five services; fewer would mean that they are not seen.
      expect(steps.length).toBeGreaterThan(60);
      expect(kills.length).toBeGreaterThan(60);
    },
    15 * 60_000,
  );
});
