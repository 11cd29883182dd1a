import { parseArgs } from 'node:util';
import { startWorld } from '../world.js';
import { sweep } from './sweep.js';

/**
 * `make soak-kill MACHINES=3`: SIGKILL at every durable step, commits at both of their sides, until a pass goes by without one.
 * Exit code 1 when a point, a job or a platform suffers by it, or `--rounds` passes are not enough.
 */
const { values } = parseArgs({
  options: {
    machines: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '20' },
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
  const { steps, kills, points, longestMs, isTotal } = report;
  if (values.verbose) say([...steps, '', ...kills, ''].join('\n'));
  say(`${String(steps.length)} durable steps, ${String(kills.length)} kills, ${String(points)} points hold`);
  say(`longest job after a kill: ${String(Math.round(longestMs / 1000))} s`);
  if (!isTotal) {
    say('the last pass still met steps at which nobody had been killed');
    process.exitCode = 1;
  }
} finally {
  await world[Symbol.asyncDispose]();
}
