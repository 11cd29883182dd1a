import { spreadOf, type Spread } from './figures.js';

/** What of a kind was measured: milliseconds of those that succeeded, and how many failed, with the first message. */
export interface Timed extends Spread {
  readonly failed: number;
  readonly firstFault: string | null;
}

interface Series {
  readonly ms: number[];
  failed: number;
  firstFault: string | null;
}

/** Times what is done, by name. Memory: one number for each. */
export class Stopwatch {
  readonly #series = new Map<string, Series>();

  /** Undefined when it failed, which is counted. */
  async time<T>(name: string, work: () => Promise<T>): Promise<T | undefined> {
    const series = this.#of(name);
    const begun = performance.now();
    try {
      const done = await work();
      series.ms.push(performance.now() - begun);
      return done;
    } catch (error) {
      series.failed += 1;
      series.firstFault ??= (error as Error).message;
      return undefined;
    }
  }

  /** In the order in which they were first timed. */
  all(): ReadonlyMap<string, Timed> {
    return new Map(
      [...this.#series].map(([name, { ms, failed, firstFault }]) => [
        name,
        { ...spreadOf(ms), failed, firstFault },
      ]),
    );
  }

  /** Of all that succeeded, whatever its name. */
  together(): Spread {
    return spreadOf([...this.#series.values()].flatMap(({ ms }) => ms));
  }

  #of(name: string): Series {
    const known = this.#series.get(name) ?? { ms: [], failed: 0, firstFault: null };
    this.#series.set(name, known);
    return known;
  }
}
