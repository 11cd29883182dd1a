import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startWorld } from '../world.js';
import { History } from './history.js';

/**
 * `make soak-lab SEEDS=5 STEPS=300 [SEED=first]`: the histories of so many machines, one after another, on the whole stack.
 * Exit code 1 at the first that does not hold, with its seed and all that was done.
 */
const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1' },
    steps: { type: 'string', default: '300' },
    seed: { type: 'string', default: '1' },
    verbose: { type: 'boolean', default: false },
  },
});
const first = Number(values.seed);
const world = await startWorld('history', { vms: [] });
try {
  const pool = await world.trial.standardPool('history');
  const scratchDir = join(world.stack.dir, 'scratch');
  await mkdir(scratchDir);
  for (let seed = first; seed < first + Number(values.seeds); seed += 1) {
    const began = performance.now();
    const history = await History.begin({ world, pool, scratchDir, seed });
    await history.run(Number(values.steps));
    if (values.verbose) process.stdout.write(`${history.log.join('\n')}\n`);
    const points = await history.check();
    const seconds = Math.round((performance.now() - began) / 1000);
    process.stdout.write(`seed ${String(seed)}: ${String(points)} points hold, ${String(seconds)} s\n`);
  }
} finally {
  await world[Symbol.asyncDispose]();
}
