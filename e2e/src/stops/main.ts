import { parseArgs } from 'node:util';
import { startWorld } from '../world.js';
import { describeStops, measureStops, nearestRank, stopEnv, stopLimits, stopVms } from './stops.js';

/**
 * `make soak-stops`: stops COUNT runs at instants drawn by SEED. Exit code 1 when one of a hundred takes longer than 10 s to be terminal, the
 * platform longer than 60 s to be clean, or what was made before is not right afterwards.
 */
const { values } = parseArgs({
  options: { count: { type: 'string', default: '200' }, seed: { type: 'string', default: '1' } },
});
const [count, seed] = [Number(values.count), Number(values.seed)];
if (!Number.isInteger(count) || count < 1) throw new Error(`--count: must be 1 or more, is ${values.count}`);
if (!Number.isInteger(seed)) throw new Error(`--seed: must be a whole number, is ${values.seed}`);
const say = (line: string): void => void process.stdout.write(`${line}\n`);
const world = await startWorld('stops', { vms: stopVms, env: stopEnv, observed: false });
try {
  const report = await measureStops(world, { count, seed, say });
  for (const line of describeStops(report)) say(line);
  const p99 = nearestRank(
    report.stops.map(({ terminalMs }) => terminalMs),
    0.99,
  );
  if (p99 > stopLimits.terminalMs) process.exitCode = 1;
} finally {
  await world[Symbol.asyncDispose]();
}
