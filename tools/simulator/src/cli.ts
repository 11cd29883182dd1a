import { shrink, soak, type Summary } from './soak.js';
import { simulate } from './simulate.js';

const usage = 'usage: cli.js <number of seeds> [first seed], or: cli.js seed <seed>\n';
const tell = (line: string): void => void process.stdout.write(`${line}\n`);

const none = {
  steps: 0,
  points: 0,
  tracked: 0,
  lies: 0,
  snapshots: 0,
  poweredOff: 0,
  restored: 0,
  rolledBack: 0,
  deleted: 0,
  verified: 0,
  failed: 0,
  retried: 0,
  deaths: 0,
  virtualSeconds: 0,
};
const summed = Object.keys(none) as (keyof typeof none)[];

/** Sums over seeds; memory: the failing ones. */
class Report {
  readonly failing: Summary[] = [];
  #seeds = 0;
  readonly #sums = { ...none };

  add(result: Summary): void {
    this.#seeds += 1;
    for (const key of summed) this.#sums[key] += result[key];
    if (result.violation !== null) this.failing.push(result);
  }

  tell(seconds: number): void {
    const { steps, points, restored, failed, retried, deaths, virtualSeconds } = this.#sums;
    const { tracked, lies, snapshots, poweredOff, rolledBack, deleted, verified } = this.#sums;
    tell(`seeds        ${this.#seeds}`);
    tell(`failing      ${this.failing.length}`);
    tell(`steps        ${steps} of the machines`);
    tell(`processes    ${deaths} killed`);
    tell(`points       ${points} committed and right`);
    tell(`  of which   ${tracked} by bitmaps, ${lies} with a lying bitmap that was caught`);
    tell(`             ${snapshots} of snapshots, ${poweredOff} of VMs shut down`);
    tell(`restores     ${restored} right`);
    tell(`roll-backs   ${rolledBack} right`);
    tell(`deletions    ${deleted} exact`);
    tell(`verified     ${verified} points, sound`);
    tell(`items        ${failed} failed for a reason, ${retried} tried again`);
    tell(`time         ${(virtualSeconds / 86_400).toFixed(1)} days simulated in ${seconds.toFixed(0)} s`);
    tell(`speed        ${(this.#seeds / seconds).toFixed(1)} seeds/s`);
  }
}

const soakAll = async (seeds: number, first: number): Promise<number> => {
  const began = performance.now();
  const report = new Report();
  await soak({ first, seeds }, (result) => report.add(result));
  report.tell((performance.now() - began) / 1_000);
  for (const { seed, violation, kinds } of report.failing.slice(0, 20)) {
    tell(`seed ${seed}: ${violation ?? ''}`);
    tell(`  faults: ${kinds.join(', ')}; needed: ${(await shrink(seed, kinds)).join(', ')}`);
    tell(`  make soak SEED=${seed}`);
  }
  return report.failing.length > 0 ? 1 : 0;
};

const replay = async (seed: number): Promise<number> => {
  const { trace, violation, kinds } = await simulate({ seed, isTraced: true });
  for (const line of trace) tell(line);
  tell(`seed ${seed} (${kinds.join(', ')}): ${violation ?? 'right'}`);
  return violation === null ? 0 : 1;
};

const main = async ([what, number = '1']: readonly string[]): Promise<number> => {
  const isReplay = what === 'seed';
  const count = Number(isReplay ? number : what);
  if (!Number.isInteger(count) || !Number.isInteger(Number(number))) {
    process.stderr.write(usage);
    return 64;
  }
  return isReplay ? replay(count) : soakAll(count, Number(number));
};

process.exitCode = await main(process.argv.slice(2));
