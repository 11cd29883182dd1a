import { services } from './usage.js';
import { type Figures } from './trial.js';

/** What the control plane is held to with 10,000 VMs and 1,000 jobs on two cores. */
export const bounds = { delayP99S: 2, apiP99Ms: 300, peakMiB: 300 } as const;

export interface Goal {
  readonly what: string;
  /** Null: not measured. */
  readonly value: number | null;
  readonly unit: 's' | 'ms' | 'MiB';
  readonly most: number;
}

/** A figure that was not measured is not met. */
export const isMet = ({ value, most }: Goal): boolean => value !== null && value <= most;

const worst = (values: readonly (readonly [string, number | null])[]): readonly [string, number | null] =>
  values.reduce<readonly [string, number | null]>(
    (most, one) => (most[1] === null || (one[1] !== null && one[1] > most[1]) ? one : most),
    ['nothing', null],
  );

/** Of one size. A run that was due and did not begin makes the delay unknown, as a request that failed the latency of its route. */
export function goalsOf({ delays, runs, routes, usage }: Figures): Goal[] {
  const begunAll = runs.begun >= runs.expected;
  const delay = begunAll && delays.p99 !== null ? delays.p99 / 1_000 : null;
  const failing = [...routes].find(([, { failed }]) => failed > 0);
  const [route, slowest] =
    failing === undefined
      ? worst([...routes].map(([name, { p99 }]) => [name, p99] as const))
      : ([`${failing[0]}, which failed`, null] as const);
  const [service, peak] = worst(services.map((name) => [name, usage.get(name)?.peakMiB ?? null] as const));
  return [
    { what: 'scheduling delay, p99', value: delay, unit: 's', most: bounds.delayP99S },
    { what: `API, p99 of the slowest route (${route})`, value: slowest, unit: 'ms', most: bounds.apiP99Ms },
    {
      what: `peak memory of the largest service (${service})`,
      value: peak,
      unit: 'MiB',
      most: bounds.peakMiB,
    },
  ];
}
