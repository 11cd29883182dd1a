import { table } from '../report.js';
import { growthOf, shapeOf, type Spread } from './figures.js';
import { goalsOf, isMet } from './goals.js';
import { type Figures } from './trial.js';
import { type Timed } from './stopwatch.js';

/** Everything that is said about a run. The sizes ascend. */
export interface Outcome {
  readonly date: string;
  readonly machine: string;
  readonly command: string;
  readonly sizes: readonly [Figures, ...Figures[]];
}

interface Row {
  readonly what: string;
  readonly digits: number;
  readonly of: (figures: Figures) => number | null;
}

/** The run as Markdown whose tables are readable as they are. */
export function report(outcome: Outcome): string {
  const { date, machine, command, sizes } = outcome;
  const largest = sizes.at(-1) ?? sizes[0];
  const { vms, jobs, movers, minutes, duePerMinute } = largest.size;
  return [
    '# The control plane at scale',
    '',
    `${date}; ${machine}; Node ${process.versions.node}. Command: \`${command}\`.`,
    '',
    `All services with their Postgres and NATS on this machine, and one process beside them that plays an emulated CVM, ${movers} movers that`,
    'move no bytes, and four users of the REST API. It adds its own CPU to that of the services. Jobs have ten VMs each and plans of all',
    `kinds; for ${minutes} minutes a part of them is due at the beginning of each, all at the same instant: ${duePerMinute} of ${jobs} at the largest`,
    'size. A transfer takes 1 to 4 s. Services have the heap that the chart gives them (153 MiB). The API is judged by the slowest of its',
    `routes; ${largest.calls.count} calls were made at the largest size. Everything but the last table is of these minutes; peaks are since the`,
    `start of a service. Other processes of the machine took ${largest.othersCpuS.toFixed(0)} s of CPU meanwhile at the largest size: what they took, times are longer.`,
    '',
    `## Figures to reach, with ${vms} VMs and ${jobs} jobs`,
    '',
    ...goalTable(largest),
    '',
    '## Latency of the API, ms',
    '',
    ...sizeTable(sizes, [...routeRows(sizes), ...callRows, ...lateRow]),
    '',
    '## Scheduling',
    '',
    ...sizeTable(sizes, scheduling),
    '',
    '## Scrapes of /metrics, ms',
    '',
    ...sizeTable(
      sizes,
      spreadRows(sizes, ({ scrapes }) => scrapes, ['p50', 'most']),
    ),
    '',
    `## CPU in ${largest.watchedS.toFixed(0)} s, s`,
    '',
    ...sizeTable(sizes, [
      ...cpuRows(sizes),
      { what: 'other processes', digits: 1, of: (one) => one.othersCpuS },
    ]),
    '',
    '## Peak resident memory, MiB',
    '',
    ...sizeTable(sizes, peakRows(sizes)),
    '',
    '## Before that',
    '',
    ...sizeTable(sizes, preparing),
    '',
    'Growth is the power of the size (least squares in logarithms): 0 does not grow, 1 grows in proportion.',
    ...faults(sizes),
    '',
  ].join('\n');
}

function goalTable(figures: Figures): string[] {
  const rows = goalsOf(figures).map((goal) => {
    const digits = goal.unit === 's' ? 2 : 0;
    const value = goal.value === null ? 'not measured' : `${goal.value.toFixed(digits)} ${goal.unit}`;
    return [goal.what, value, `<= ${goal.most} ${goal.unit}`, isMet(goal) ? 'met' : 'MISSED'];
  });
  return table(['figure', 'this run', 'goal', ''], rows);
}

function sizeTable(sizes: Outcome['sizes'], rows: readonly Row[]): string[] {
  const head = ['', ...sizes.map(({ size }) => `${size.vms} VMs`), 'growth', 'shape'];
  const cells = rows.map(({ what, digits, of }) => {
    const growth = growthOf(sizes.map((figures) => ({ size: figures.size.vms, value: of(figures) })));
    const values = sizes.map((figures) => of(figures)?.toFixed(digits) ?? null);
    return [what, ...values, growth?.toFixed(2) ?? null, shapeOf(growth)];
  });
  return table(head, cells);
}

type Series = (figures: Figures) => ReadonlyMap<string, Timed>;
const namesIn = (
  sizes: Outcome['sizes'],
  of: (figures: Figures) => ReadonlyMap<string, unknown>,
): string[] => [...new Set(sizes.flatMap((figures) => [...of(figures).keys()]))];
const digitsOf = (share: keyof Spread): number => (share === 'count' ? 0 : 1);

const spreadRows = (sizes: Outcome['sizes'], of: Series, shares: readonly (keyof Spread)[]): Row[] =>
  namesIn(sizes, of).flatMap((name) =>
    shares.map((share) => ({
      what: `${name}, ${share}`,
      digits: digitsOf(share),
      of: (figures: Figures) => of(figures).get(name)?.[share] ?? null,
    })),
  );

const routeRows = (sizes: Outcome['sizes']): Row[] =>
  spreadRows(sizes, ({ routes }) => routes, ['p50', 'p95', 'p99', 'count']);
const callRows: readonly Row[] = (['p50', 'p95', 'p99', 'count'] as const).map((share) => ({
  what: `all calls, ${share}`,
  digits: digitsOf(share),
  of: ({ calls }) => calls[share],
}));
const lateRow: Row[] = [{ what: 'this process late by, p99', digits: 1, of: ({ lateMs }) => lateMs }];

const seconds = (ms: number | null): number | null => (ms === null ? null : ms / 1_000);
const scheduling: readonly Row[] = [
  { what: 'runs due', digits: 0, of: ({ runs }) => runs.expected },
  { what: 'begun', digits: 0, of: ({ runs }) => runs.begun },
  { what: 'succeeded', digits: 0, of: ({ runs }) => runs.succeeded },
  { what: 'delay, p50, s', digits: 2, of: ({ delays }) => seconds(delays.p50) },
  { what: 'delay, p99, s', digits: 2, of: ({ delays }) => seconds(delays.p99) },
  { what: 'backups of VMs', digits: 0, of: ({ items }) => items.count },
  {
    what: 'backups a second, from the first due time to the last end',
    digits: 2,
    of: ({ items }) => items.perS,
  },
];

const cpuRows = (sizes: Outcome['sizes']): Row[] =>
  namesIn(sizes, ({ usage }) => usage).map((name) => ({
    what: name,
    digits: 1,
    of: ({ usage }) => usage.get(name)?.cpuS ?? null,
  }));
const peakRows = (sizes: Outcome['sizes']): Row[] =>
  namesIn(sizes, ({ usage }) => usage)
    .map((name) => ({ what: name, digits: 0, of: ({ usage }: Figures) => usage.get(name)?.peakMiB ?? null }))
    .filter(({ of }) => sizes.some((figures) => of(figures) !== null));

const preparing: readonly Row[] = [
  { what: 'first synchronisation, s', digits: 1, of: ({ firstSyncS }) => firstSyncS },
  { what: 'synchronisation, nothing changed, s', digits: 1, of: ({ nextSyncS }) => nextSyncS },
  { what: 'create job, four at once: p50, ms', digits: 1, of: ({ creation }) => creation.p50 },
  { what: 'p99, ms', digits: 1, of: ({ creation }) => creation.p99 },
  { what: 'jobs', digits: 0, of: ({ creation }) => creation.count },
];

/** What failed of what was asked of the API or the metrics. */
function faults(sizes: Outcome['sizes']): string[] {
  const lines = sizes.flatMap(({ size, routes, scrapes }) =>
    [...routes, ...scrapes].flatMap(([name, { failed, firstFault }]) =>
      failed === 0 ? [] : [`- ${size.vms} VMs, ${name}: ${failed} failed; the first: ${firstFault ?? ''}`],
    ),
  );
  return lines.length === 0 ? [] : ['', 'What failed:', '', ...lines];
}
