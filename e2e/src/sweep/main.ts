import { parseArgs } from 'node:util';
import { startWorld } from '../world.js';
import { allWays, isWay } from './flow.js';
import { sweep } from './sweep.js';

/**
 * `make soak-kill`: SIGKILL at every durable step, commits at both of their sides, until a pass goes by without one.
 * Exit code 1 when a point, a job or a platform suffers by it, or `--rounds` passes are not enough.
 */
const { values } = parseArgs({
  options: {
    ways: { type: 'string', default: allWays.join() },
    rounds: { type: 'string', default: '20' },
    sides: { type: 'string', default: '2' },
    'mover-kills': { type: 'string', default: '9999' },
    verbose: { type: 'boolean', default: false },
  },
});
const say = (line: string): void => void process.stdout.write(`${line}\n`);
const world = await startWorld('sweep', { vms: [], observed: false });
try {
  const sides = values.sides === '1' ? 1 : 2;
  const ways = values.ways.split(',').filter((way) => isWay(way));
  const moverKills = Number(values['mover-kills']);
  const report = await sweep({ world, ways, sides, moverKills, rounds: Number(values.rounds), say });
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
