import { Random } from '../history/random.js';
import { untilNothingLeft, type World } from '../world.js';
import { DatabaseTrap } from './database-trap.js';
import { Flow, hostWithoutExport, type Way } from './flow.js';
import { Killer } from './killer.js';

interface SweepOptions {
  readonly world: World;
  /** One machine for each. */
  readonly ways: readonly Way[];
  /** So often the mover is killed in one run, deletion or roll-back; more than 4 make transfers fail for good. */
  readonly moverKills: number;
  /** 1: each commit is killed before or after, in turn, and of a host and its mover the host. 2: both. */
  readonly sides: 1 | 2;
  /** Passes at the most. */
  readonly rounds: number;
  readonly say: (line: string) => void;
}

interface SweepReport {
  /** All steps that were ever taken. */
  readonly steps: readonly string[];
  /** What was killed where, in order. */
  readonly kills: readonly string[];
  /** The last pass met no step at which nobody had been killed: all steps are swept. */
  readonly isTotal: boolean;
  readonly points: number;
  /** The longest that a job took after the last kill. */
  readonly longestMs: number;
}

/**
 * Passes in which whoever comes to a durable step for the first time is killed there, until a whole pass goes by without a
 * kill: then every step of the pass has been killed at, those that only a recovery takes included. After every pass nothing is
 * left on the platform and every committed point holds its bytes.
 */
export const sweep = async (options: SweepOptions): Promise<SweepReport> => {
  const { world, sides, rounds, moverKills, say } = options;
  const pool = await world.trial.standardPool('sweep');
  await using trap = await DatabaseTrap.install(world.stack.postgres.adminUrl);
  await using killer = await Killer.begin({ world, trap, poolPath: pool.path, sides, moverKills });
  const flows = await beginFlows(options, pool, killer);
  let points = 0;
  let isTotal = false;
  for (let round = 1; round <= rounds && !isTotal; round += 1) {
    const began = performance.now();
    const before = killer.log.length;
    await killer
      .during(() => passOf(flows))
      .catch(async (error: unknown) => {
        say([...(await killer.kills()), ''].join('\n'));
        throw error;
      });
    await untilNothingLeft(world, 120_000);
    points = 0;
    for (const flow of flows) points += await flow.check();
    const kills = killer.log.length - before;
    isTotal = kills === 0;
    const seconds = Math.round((performance.now() - began) / 1000);
    say(`pass ${String(round)}: ${String(kills)} kills, ${String(points)} points hold, ${String(seconds)} s`);
  }
  const longestMs = Math.max(...flows.map((flow) => flow.longestMs));
  return { steps: await killer.steps(), kills: await killer.kills(), isTotal, points, longestMs };
};

const beginFlows = async (
  { world, ways }: SweepOptions,
  pool: { id: string; path: string },
  killer: Killer,
): Promise<Flow[]> => {
  const flows: Flow[] = [];
  if (ways.some((way) => way !== 'live'))
    await world.trial.lab.admin.offerLiveExport(hostWithoutExport, false);
  for (const [i, way] of ways.entries()) {
    const name = `swept-${String(i + 1)}`;
    flows.push(await Flow.begin({ world, pool, random: new Random(i), name, way, killer }));
  }
  return flows;
};

/** All machines at once: what one waits for leaves the host to the others. */
const passOf = async (flows: readonly Flow[]): Promise<void> => {
  const going: Promise<void>[] = [];
  for (const flow of flows) going.push(flow.pass());
  for (const ended of await Promise.allSettled(going)) if (ended.status === 'rejected') throw ended.reason;
};
