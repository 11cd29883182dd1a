import { type Contestant, type Figures, median, type Step, steps } from './figures.js';

/** All figures of a run: for each contestant and step, one for each round. */
export class Records {
  readonly #all = new Map<string, Figures[]>();

  add(name: string, step: Step, figures: Figures): void {
    const key = `${step} ${name}`;
    this.#all.set(key, [...(this.#all.get(key) ?? []), figures]);
  }

  of(name: string, step: Step): readonly Figures[] {
    return this.#all.get(`${step} ${name}`) ?? [];
  }

  median(name: string, step: Step, field: (figures: Figures) => number | null): number | null {
    const values = this.of(name, step).map(field);
    return values.length === 0 || values.includes(null) ? null : median(values as number[]);
  }

  /**
   * Median of ours / theirs over the rounds: each round's pair ran within minutes, so that what slows the whole machine falls out of
   * the ratio. Null when one of them has no such step.
   */
  ratio(step: Step, ours: string, theirs: string, field: (figures: Figures) => number | null): number | null {
    const peers = this.of(theirs, step);
    const pairs = this.of(ours, step).map((figures, round) => {
      const [own, other] = [field(figures), peers[round] === undefined ? null : field(peers[round])];
      return own === null || other === null ? null : own / other;
    });
    return pairs.length === 0 || pairs.includes(null) ? null : median(pairs as number[]);
  }
}

/** CPU of a step with that of the NBD servers it used. */
export const allCpuS = ({ cpuS, serverCpuS }: Figures): number => cpuS + (serverCpuS ?? 0);

/**
 * Runs the contestants in rounds: within a round all do their full backup, then all their rescan, then all their restore, so that what is
 * compared is close in time; every other round in reverse order.
 */
export async function runRounds(
  contestants: readonly Contestant[],
  rounds: number,
  hooks: {
    /** Before each round. */
    readonly begin: (round: number) => Promise<void>;
    /** Before each step, not timed. */
    readonly settle: (step: Step) => Promise<void>;
    readonly onFigures: (round: number, name: string, step: Step, figures: Figures) => void;
  },
): Promise<Records> {
  const records = new Records();
  for (let round = 1; round <= rounds; round += 1) {
    await hooks.begin(round);
    const order = round % 2 === 1 ? contestants : [...contestants].reverse();
    for (const contestant of order) await contestant.begin(round);
    for (const step of steps) {
      for (const contestant of order) {
        const run = contestant.steps[step];
        if (run === undefined) continue;
        await contestant.wake?.();
        await hooks.settle(step);
        const figures = await run();
        contestant.rest?.();
        records.add(contestant.name, step, figures);
        hooks.onFigures(round, contestant.name, step, figures);
      }
    }
    for (const contestant of order) await contestant.end();
  }
  return records;
}
