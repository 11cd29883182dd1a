import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { History } from './history/history.js';
import { startWorld, type World } from './world.js';

const steps = 300;

/**
 * D2, D6, G1-G3, F8, R7, R14 together: machines whose every write is known live through random writes, backups, power cycles,
 * crashes of QEMU, resizes, new disks, migrations, snapshots of others, deletions and roll-backs. Every surviving point is
 * read out of the pool by the separate reader and must be its instant, byte for byte. Any number of seeds: `make soak-lab`.
 */
describe('the histories of machines', () => {
  let world: World;
  beforeAll(async () => {
    world = await startWorld('history', { vms: [] });
  });
  afterAll(() => world[Symbol.asyncDispose]());

  it(
    `hold over ${String(steps)} steps each`,
    async () => {
      const pool = await world.trial.standardPool('history');
      const scratchDir = join(world.stack.dir, 'scratch');
      await mkdir(scratchDir);
      const live = async (seed: number): Promise<number> => {
        const history = await History.begin({ world, pool, scratchDir, seed });
        await history.run(steps);
        return history.check();
      };
      // At once: what one waits for leaves the machine to the others.
      const points = await Promise.all([live(1), live(2), live(3)]);
      for (const count of points) expect(count).toBeGreaterThan(5);
    },
    20 * 60_000,
  );
});
