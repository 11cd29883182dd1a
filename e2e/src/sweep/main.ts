import { parseArgs } from 'node:util';
import { startWorld } from '../world.js';
import { sweep } from './sweep.js';

/**
 * `make soak-kill`: SIGKILL at every durable step, commits at both of their sides, until no step is left. Exit code 1 when a
 * point, a job or a platform suffers by it, or a step is left after `--rounds`.
 */
const { values } = parseArgs({
  options: {
    machines: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '40' },
    sides: { type: 'string', default: '2' },
    verbose: { type: 'boolean', default: false },
  },
});
const say = (line: string): void => void process.stdout.write(`${line}\n`);
const world = await startWorld('sweep', { vms: [], observed: false });
try {
  const sides = values.sides === '1' ? 1 : 2;
  const { machines, rounds } = values;
  const report = await sweep({ world, machines: Number(machines), sides, rounds: Number(rounds), say });
  if (values.verbose) say(report.steps.join('\n'));
  say(
    `${String(report.kills)} kills, ${String(report.points)} points hold, longest job ${String(Math.round(report.longestMs / 1000))} s`,
  );
  if (report.open.length > 0) {
    say(`never killed at:\n${report.open.join('\n')}`);
    process.exitCode = 1;
  }
} finally {
  await world[Symbol.asyncDispose]();
}
