import { simulate } from './simulate.js';

const usage = 'cli.js <first seed> <number of seeds> [trace]\n';

/** Simulates a range of seeds, tells of each that fails, and of all together. */
const main = async ([first, count, trace]: readonly string[]): Promise<number> => {
  const from = Number(first);
  const seeds = Number(count);
  if (!Number.isInteger(from) || !Number.isInteger(seeds)) {
    process.stderr.write(usage);
    return 64;
  }
  const began = performance.now();
  let steps = 0;
  let failed = 0;
  for (let seed = from; seed < from + seeds; seed += 1) {
    const result = await simulate({ seed, isTraced: trace === 'trace' });
    steps += result.steps;
    if (trace === 'trace') process.stdout.write(`${result.trace.join('\n')}\n`);
    if (result.violation === null) continue;
    failed += 1;
    process.stdout.write(`seed ${seed} (${result.kinds.join(', ')}): ${result.violation}\n`);
  }
  const seconds = (performance.now() - began) / 1_000;
  process.stdout.write(`${seeds} seeds, ${steps} steps, ${failed} failed, ${seconds.toFixed(1)} s\n`);
  return failed > 0 ? 1 : 0;
};

process.exitCode = await main(process.argv.slice(2));
