import { parseArgs } from 'node:util';
import { startWorld } from '../world.js';
import { History, historyWorld } from './history.js';

/**
 * `make soak-lab SEEDS=5 STEPS=300 [SEED=first]`: the histories of so many machines, `width` at once, on the whole stack. Exit
 * code 1 when one does not hold, with its seed and all that was done.
 */
const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1' },
    steps: { type: 'string', default: '300' },
    seed: { type: 'string', default: '1' },
    width: { type: 'string', default: '3' },
    verbose: { type: 'boolean', default: false },
  },
});
const first = Number(values.seed);
const say = (line: string): void => void process.stdout.write(`${line}\n`);
const secondsSince = (began: number): string => String(Math.round((performance.now() - began) / 1000));

const began = performance.now();
const world = await startWorld('history', historyWorld);
try {
  const pool = await world.trial.standardPool('history');
  const seeds = Array.from({ length: Number(values.seeds) }, (_, index) => first + index);
  const live = async (): Promise<void> => {
    for (let seed = seeds.shift(); seed !== undefined; seed = seeds.shift()) {
      const lived = performance.now();
      const onStep = (line: string): void => void (values.verbose && say(`seed ${String(seed)}: ${line}`));
      const history = await History.begin({ world, pool, seed, onStep });
      await history.run(Number(values.steps));
      const points = await history.check();
      const done = [...history.done].map(([name, times]) => `${name} ${String(times)}`);
      say(
        `seed ${String(seed)}: ${String(points)} points hold, ${secondsSince(lived)} s (${done.join(', ')})`,
      );
    }
  };
  await Promise.all(Array.from({ length: Number(values.width) }, live));
  say(`${values.seeds} seeds of ${values.steps} steps hold, ${secondsSince(began)} s`);
} finally {
  await world[Symbol.asyncDispose]();
}
