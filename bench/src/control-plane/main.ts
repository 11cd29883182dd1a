import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { endings } from '../endings.js';
import { describeMachine } from '../machine.js';
import { goalsOf, isMet } from './goals.js';
import { report } from './report.js';
import { tryOut, type Figures, type Size } from './trial.js';

const resultsFile = fileURLToPath(new URL('../../../CONTROL-PLANE.md', import.meta.url));
const vmsAtOne = 1_000;
/** Of the jobs, those that are due at the same instant. */
const duePart = 25;

const usage = `usage: main.js [options]
  --scales N,N,... sizes, in thousands of VMs with 100 jobs each (1,3,10)
  --minutes N      how long runs go on at each size; a 25th of the jobs is due at the beginning of each (2)
  --movers N       simulated movers (100)
  --dir FOLDER     where the temporary folder is made (/var/tmp)
  --write-results  write bench/CONTROL-PLANE.md`;

const say = (text: string): void => {
  process.stderr.write(`${text}\n`);
};

function wholeNumber(name: string, text: string, most: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > most)
    throw new Error(`--${name} must be a whole number from 1 to ${most}, not ${text}`);
  return value;
}

function parseOptions(args: string[]): { sizes: Size[]; dir: string; writeResults: boolean } {
  const { values } = parseArgs({
    args,
    options: {
      scales: { type: 'string', default: '1,3,10' },
      minutes: { type: 'string', default: '2' },
      movers: { type: 'string', default: '100' },
      dir: { type: 'string', default: '/var/tmp' },
      'write-results': { type: 'boolean', default: false },
    },
  });
  const minutes = wholeNumber('minutes', values.minutes, 10);
  const movers = wholeNumber('movers', values.movers, 500);
  const scales = values.scales.split(',').map((text) => wholeNumber('scales', text, 10));
  const sizes = scales
    .sort((a, b) => a - b)
    .map((scale) => {
      const jobs = scale * (vmsAtOne / 10);
      return { vms: scale * vmsAtOne, jobs, movers, minutes, duePerMinute: Math.ceil(jobs / duePart) };
    });
  return { sizes, dir: values.dir, writeResults: values['write-results'] };
}

async function measure({ sizes, dir, writeResults }: ReturnType<typeof parseOptions>): Promise<void> {
  const measured: Figures[] = [];
  for (const size of sizes) {
    const place = await mkdtemp(join(dir, 'casvault-control-plane-'));
    const remove = () => rm(place, { recursive: true, force: true, maxRetries: 3 });
    endings.add(remove);
    // Postgres runs as a user of its own.
    await chmod(place, 0o755);
    say(`${size.vms} VMs, ${size.jobs} jobs, ${size.movers} movers`);
    measured.push(await tryOut(size, place, say));
    await remove();
    endings.drop(remove);
  }
  const [first, ...others] = measured;
  if (first === undefined) throw new Error('no size was measured');
  const asked = process.argv.slice(2).join(' ');
  const text = report({
    date: new Date().toISOString().slice(0, 10),
    machine: describeMachine(),
    command: `make bench-control-plane${asked === '' ? '' : ` BENCH_ARGS="${asked}"`}`,
    sizes: [first, ...others],
  });
  if (writeResults) await writeFile(resultsFile, text);
  process.stdout.write(text);
  const missed = goalsOf(measured.at(-1) ?? first).filter((goal) => !isMet(goal)).length;
  say(missed === 0 ? 'All figures are met.' : `${missed} figures are missed.`);
}

async function main(): Promise<number> {
  try {
    await measure(parseOptions(process.argv.slice(2)));
    return 0;
  } catch (error) {
    say(`bench: ${(error as Error).message}\n${usage}`);
    return 1;
  } finally {
    await endings.all();
  }
}

endings.onLeaving(say);
process.exitCode = await main();
