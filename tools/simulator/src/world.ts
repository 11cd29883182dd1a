import { type Faults } from './faults.js';
import { type Random } from './random.js';
import { VirtualTime } from './virtual-time.js';

/** What a simulation found wrong. */
export class Violation extends Error {
  override readonly name = 'Violation';
}

/** What everything in one simulation shares. */
export class World {
  readonly time = new VirtualTime();
  violation: Violation | null = null;
  readonly #lines: string[] = [];
  readonly #aliases = new Map<string, string>();

  constructor(
    readonly random: Random,
    readonly faults: Faults,
    /** Whether a trace is kept. Memory: a line for every event. */
    readonly isTraced: boolean,
  ) {}

  /** A line of the trace; ids are told by short names in the order in which they appear. */
  trace(who: string, what: string): void {
    if (!this.isTraced) return;
    const line = `${(this.time.now / 1_000).toFixed(3).padStart(9)} ${who.padEnd(18)} ${what}`;
    this.#lines.push(line.replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, (id) => this.#alias(id)));
  }

  get lines(): readonly string[] {
    return this.#lines;
  }

  /** The first violation counts; the simulation ends with it. */
  require(holds: boolean, what: () => string): void {
    if (holds || this.violation) return;
    this.violation = new Violation(what());
    this.trace('ORACLE', this.violation.message);
  }

  #alias(id: string): string {
    const known = this.#aliases.get(id);
    if (known !== undefined) return known;
    const alias = `#${this.#aliases.size + 1}`;
    this.#aliases.set(id, alias);
    return alias;
  }
}
