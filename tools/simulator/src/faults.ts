import { type Random } from './random.js';

/** What can go wrong; a seed has some of it. */
export const faultKinds = [
  'crash',
  'store',
  'requests',
  'lost messages',
  'late messages',
  'doubled messages',
  'skew',
  'stalls',
  'platform',
  'pool',
  'hosts',
  'lying trackers',
  'stops',
] as const;
export type FaultKind = (typeof faultKinds)[number];

/** How often, by occasion; halved or doubled by the seed. */
const chances: Readonly<Record<FaultKind, number>> = {
  crash: 0.004,
  store: 0.03,
  requests: 0.04,
  'lost messages': 0.08,
  'late messages': 0.15,
  'doubled messages': 0.1,
  skew: 1,
  stalls: 0.004,
  platform: 0.15,
  pool: 0.04,
  hosts: 0.5,
  'lying trackers': 0.3,
  stops: 0.35,
};

/**
 * The faults of one seed. Every kind draws from a stream of its own, so that leaving one out changes the others as little
 * as can be. None happens after the faults have ended.
 */
export class Faults {
  readonly kinds: ReadonlySet<FaultKind>;
  active = true;
  readonly #strength: number;
  readonly #streams: ReadonlyMap<FaultKind, Random>;

  /** A tenth of the seeds have no fault at all; the others have each kind with an even chance. `without` leaves kinds out. */
  constructor(random: Random, without: ReadonlySet<FaultKind>) {
    const calm = random.chance(0.1);
    this.#strength = random.pick([0.5, 1, 2]);
    const chosen = faultKinds.filter(() => random.chance(0.5));
    this.kinds = new Set(chosen.filter((kind) => !calm && !without.has(kind)));
    this.#streams = new Map(faultKinds.map((kind) => [kind, random.fork(kind)]));
  }

  /** Whether it happens on this occasion. */
  strikes(kind: FaultKind, factor = 1): boolean {
    return (
      this.active &&
      this.kinds.has(kind) &&
      this.of(kind).chance(Math.min(0.9, chances[kind] * this.#strength * factor))
    );
  }

  /** For whatever else has to be chosen about a fault of this kind. */
  of(kind: FaultKind): Random {
    const stream = this.#streams.get(kind);
    if (!stream) throw new TypeError(`no stream for ${kind}`);
    return stream;
  }
}
