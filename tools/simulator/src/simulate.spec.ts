import { plantedBugs } from './planted-bugs.js';
import { simulate } from './simulate.js';
import { soak, type Summary } from './soak.js';

/** Some fifty seconds of both cores when nothing else wants them. */
const seeds = 2_000;

describe('the simulator', () => {
  it('G2, G3: finds nothing wrong in 2,000 seeds with crashes, lost messages, clocks a day apart and a failing platform', async () => {
    const results: Summary[] = [];
    await soak({ first: 1, seeds }, (result) => results.push(result));
    const wrong = results.flatMap(({ seed, violation }) =>
      violation === null ? [] : [`seed ${seed}: ${violation}`],
    );
    expect(wrong).toEqual([]);
    expect(results).toHaveLength(seeds);
    const sum = (key: Exclude<keyof Summary, 'seed' | 'violation' | 'kinds'>) =>
      results.reduce((total, result) => total + result[key], 0);
    // It must have met what it is there for.
    expect(sum('points')).toBeGreaterThan(5 * seeds);
    for (const key of [
      'restored',
      'rolledBack',
      'deleted',
      'verified',
      'failed',
      'deaths',
      'tracked',
    ] as const)
      expect([key, sum(key) > seeds / 2]).toEqual([key, true]);
    for (const key of ['snapshots', 'poweredOff', 'lies'] as const)
      expect([key, sum(key) > seeds / 50]).toEqual([key, true]);
    expect(sum('retried')).toBeGreaterThan(seeds / 400);
  }, 600_000);

  it('replays a seed exactly', async () => {
    const first = await simulate({ seed: 42, isTraced: true });
    const second = await simulate({ seed: 42, isTraced: true });
    expect(first.trace.length).toBeGreaterThan(100);
    expect(second.trace).toEqual(first.trace);
    expect((await simulate({ seed: 43, isTraced: true })).trace).not.toEqual(first.trace);
  });

  it.each(plantedBugs.map(({ name, plant }) => [name, plant] as const))(
    'finds a planted bug within 300 seeds: %s',
    async (_name, plant) => {
      const takeOut = plant();
      try {
        let violation: string | null = null;
        for (let seed = 1; seed <= 300 && violation === null; seed += 1)
          ({ violation } = await simulate({ seed }));
        expect(violation).not.toBeNull();
      } finally {
        takeOut();
      }
    },
  );
});
