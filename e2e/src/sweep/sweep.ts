import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Random } from '../history/random.js';
import { untilNothingLeft, type World } from '../world.js';
import { DatabaseTrap } from './database-trap.js';
import { Flow } from './flow.js';
import { Killer } from './killer.js';

export interface SweepOptions {
  readonly world: World;
  readonly machines: number;
  /** 1: each commit is killed before or after, in turn. 2: at both sides. */
  readonly sides: 1 | 2;
  /** Passes under kills at the most. */
  readonly rounds: number;
  readonly say: (line: string) => void;
}

export interface SweepReport {
  readonly kills: number;
  readonly points: number;
  /** Durable steps of the undisturbed pass. */
  readonly steps: readonly string[];
  /** Those of them at which nobody was killed: must be none. */
  readonly open: readonly string[];
  readonly longestMs: number;
}

/**
 * One pass undisturbed, which tells the durable steps; then passes in which whoever comes to a step for the first time is
 * killed there, until none is left. Steps that only a recovery takes are swept along as they come up. After every pass nothing
 * is left on the platform and every committed point holds its bytes.
 */
export const sweep = async ({ world, machines, sides, rounds, say }: SweepOptions): Promise<SweepReport> => {
  const pool = await world.trial.standardPool('sweep');
  const scratchDir = join(world.stack.dir, 'scratch');
  await mkdir(scratchDir);
  await using trap = await DatabaseTrap.install(world.stack.postgres.adminUrl);
  await using killer = await Killer.begin({ world, trap, poolPath: pool.path, sides });
  const lastKillAt = (): number => killer.lastKillAt;
  const flows: Flow[] = [];
  for (let i = 1; i <= machines; i += 1) {
    const name = `swept-${String(i)}`;
    flows.push(await Flow.begin({ world, pool, scratchDir, random: new Random(i), name, lastKillAt }));
  }
  const pass = async (): Promise<void> => {
    // All machines at once: what one waits for leaves the host to the others.
    const going: Promise<void>[] = [];
    for (const flow of flows) going.push(flow.pass());
    const ended = await Promise.allSettled(going);
    for (const one of ended) if (one.status === 'rejected') throw one.reason;
  };
  const check = async (): Promise<number> => {
    await untilNothingLeft(world, 120_000);
    let points = 0;
    for (const flow of flows) points += await flow.check();
    return points;
  };
  await pass();
  let points = await check();
  const steps = [...(await killer.coverage()).taken].sort();
  say(`${String(steps.length)} durable steps`);
  let open: string[] = steps;
  for (let round = 1; round <= rounds && open.length > 0; round += 1) {
    const before = performance.now();
    await killer.during(pass);
    points = await check();
    const left = (await killer.coverage()).open;
    open = steps.filter((step) => left.has(step));
    const seconds = Math.round((performance.now() - before) / 1000);
    say(
      `round ${String(round)}: ${String(killer.kills)} kills, ${String(open.length)} steps open, ${String(seconds)} s`,
    );
  }
  return {
    kills: killer.kills,
    points,
    steps,
    open,
    longestMs: Math.max(...flows.map(({ longestMs }) => longestMs)),
  };
};
