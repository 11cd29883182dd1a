import { History, historyWorld, stepNames } from './history/history.js';
import { differences } from './history/pool-reader.js';
import { startWorld, type World } from './world.js';

const steps = 300;

/**
 * Machines whose every write is known live through random writes, backups, power cycles, crashes of QEMU, resizes, new disks,
 * migrations, snapshots of others, deletions and roll-backs. Every surviving point is read out of the pool by the separate reader
 * and must be its instant, byte for byte. Any number of seeds: `make soak-lab`.
 */
describe('the histories of machines', () => {
  let world: World;
  let pool: { readonly id: string; readonly path: string };
  let histories: readonly History[] = [];
  beforeAll(async () => {
    world = await startWorld('history', historyWorld);
    pool = await world.trial.standardPool('history');
  });
  afterAll(() => world[Symbol.asyncDispose]());

  const live = async (seed: number): Promise<History> => {
    const history = await History.begin({ world, pool, seed });
    await history.run(steps);
    expect(await history.check()).toBeGreaterThan(5);
    return history;
  };

  it(
    `D2, D6, G1-G3, F8, R7, R14: hold over ${String(steps)} steps each`,
    async () => {
      // At once: what one waits for leaves the machine to the others.
      histories = await Promise.all([live(1), live(2), live(3)]);
      const undone = stepNames.filter((name) => !histories.some(({ done }) => done.has(name)));
      expect(undone).toEqual([]);
    },
    15 * 60_000,
  );

  it('are told from ones that differ in one sector of one point', async () => {
    const [kept] = histories[0]?.points ?? [];
    const [target, disk] = [...(kept?.instant ?? [])][0] ?? [];
    if (kept === undefined || target === undefined || disk === undefined) throw new Error('no point');
    const other = disk.copy();
    other.fill(512, 512, (disk.at(512) + 1) % 256);
    const instant = new Map(kept.instant).set(target, other);
    const found = await differences(pool.path, [kept, { ...kept, instant }]);
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(`point ${kept.point.id}, ${target}: byte 512 `);
  });
});
