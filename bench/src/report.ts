import { type ContentKind } from './disk-image.js';
import { type Figures, type Step, steps } from './figures.js';
import { type Goal, isMet, names } from './goals.js';
import { type Limit } from './limits.js';
import { type Primitives } from './primitives.js';
import { allCpuS, type Records } from './rounds.js';

/** Everything that is said about a run. */
export interface Outcome {
  readonly date: string;
  readonly machine: string;
  readonly command: string;
  readonly versions: readonly string[];
  readonly rounds: number;
  readonly disk: {
    readonly sizeBytes: number;
    readonly dataBytes: number;
    readonly content: Readonly<Record<ContentKind, number>>;
  };
  readonly contestants: readonly string[];
  readonly records: Records;
  readonly primitives: Primitives;
  readonly changed: { readonly changedBytes: number; readonly dirtyBytes: number };
  readonly limits: Readonly<Record<'plain' | 'encrypted', Readonly<Partial<Record<Step, Limit>>>>>;
  readonly goals: readonly Goal[];
}

/** The run as Markdown whose tables are readable as they are. */
export function report(outcome: Outcome): string {
  const { date, machine, command, versions, rounds } = outcome;
  return [
    '# Speed of one run',
    '',
    `${date}; ${machine}; ${versions.join(', ')}.`,
    '',
    `Command: \`${command}\`. Medians of ${rounds} interleaved rounds; every restored disk was compared byte by byte.`,
    '',
    ...describeDisk(outcome),
    '',
    '## Figures to reach',
    '',
    ...goalTable(outcome.goals),
    ...steps.flatMap((step) => ['', `## ${titles[step]}`, '', ...stepTable(outcome, step)]),
    '',
    '## Primitives, and the limit they set',
    '',
    ...primitiveTable(outcome.primitives),
    '',
  ].join('\n');
}

const titles = {
  full: 'Full backup into an empty repository',
  rescan: 'The same content again, all of it read',
  incremental: '3 % changed; CBT where the tool has it; stored: what it added',
  unchanged: 'Nothing changed; CBT where the tool has it; stored: what it added',
  restore: 'Restore',
} as const;

const mib = (bytes: number): string => (bytes / 2 ** 20).toFixed(0);

function describeDisk({ disk, primitives, changed }: Outcome): string[] {
  const { sizeBytes, dataBytes, content } = disk;
  return [
    `Disk: ${mib(sizeBytes)} MiB with ${mib(dataBytes)} MiB of data: ${mib(content.files)} MiB files of this machine ` +
      `(programs, libraries, documents), ${mib(content.log)} MiB logs, ${mib(content.pages)} MiB database pages, ` +
      `${mib(content.random)} MiB incompressible; zstd -1 makes ${primitives.ratio.toFixed(2)} : 1 of a sample. ` +
      `Changed for the incremental: ${mib(changed.changedBytes)} MiB, in blocks of 64 KiB ${mib(changed.dirtyBytes)} MiB.`,
  ];
}

type Cell = string | number | null;

/** Columns as wide as their longest cell; the first is flush left. */
export function table(head: readonly string[], rows: readonly (readonly Cell[])[]): string[] {
  const cells = [head, ...rows.map((row) => row.map((cell) => (cell === null ? '' : String(cell))))];
  const widths = head.map((_, column) => Math.max(3, ...cells.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    `| ${row.map((cell, column) => (column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!))).join(' | ')} |`;
  const rule = `| ${widths.map((width, column) => (column === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`)).join(' | ')} |`;
  const [first = [], ...rest] = cells;
  return [line(first), rule, ...rest.map(line)];
}

const fixed = (value: number | null, digits: number): string | null =>
  value === null ? null : value.toFixed(digits);

function goalTable(goals: readonly Goal[]): string[] {
  const rows = goals.map((goal) => {
    const digits = goal.unit === 'MiB' && goal.first > 1 ? 0 : 2;
    const sign = goal.atLeast ? '>=' : '<=';
    const met = isMet(goal);
    const verdict = met === null ? 'not measured' : met ? 'met' : 'MISSED';
    const show = (bound: number): string => `${sign} ${bound.toFixed(digits)}`;
    return [goal.work, fixed(goal.value, digits), show(goal.first), verdict, show(goal.later)];
  });
  return table(['work (wall time, ours / theirs)', 'this run', 'first milestone', '', 'goal'], rows);
}

/** Encrypting peers are held against our encrypted run, the one that reads the page cache against ours that does. */
export const oursFor = (theirs: string): string => {
  if (theirs === names.restic || theirs === names.borgEncrypted) return names.encrypted;
  return theirs === names.borgWarm ? names.engineWarm : names.engine;
};

const ourselves: readonly string[] = [names.engine, names.engineWarm, names.encrypted];

function stepTable({ contestants, records, limits }: Outcome, step: Step): string[] {
  const head = [
    'tool',
    'wall s',
    'CPU s',
    'NBD server CPU s',
    'peak MiB',
    'stored MiB',
    "others' CPU s",
    'ours/theirs wall',
    'CPU',
    'memory',
    'stored',
  ];
  const rows = contestants
    .filter((name) => records.of(name, step).length > 0)
    .map((name) => {
      const value = (field: (figures: Figures) => number | null, digits: number): string | null =>
        fixed(records.median(name, step, field), digits);
      return [
        name,
        value(({ wallS }) => wallS, 2),
        value(({ cpuS }) => cpuS, 2),
        value(({ serverCpuS }) => serverCpuS, 2),
        value(({ peakRssMiB }) => peakRssMiB, 0),
        value(({ storedMiB }) => storedMiB, 0),
        value(({ othersCpuS }) => othersCpuS, 1),
        ...ratios(records, step, name),
      ];
    });
  const limitRow = (label: string, limit: Limit | undefined, ours: string): Cell[][] => {
    if (limit === undefined) return [];
    const { wallS, cpuS, bound } = limit;
    const wall = records.median(ours, step, (figures) => figures.wallS);
    const share = wall === null ? '' : `${((wallS / wall) * 100).toFixed(0)} % of ${ours}`;
    return [fill([`limit${label} (${bound}): ${share}`, wallS.toFixed(2), cpuS.toFixed(2)])];
  };
  const fill = (row: Cell[]): Cell[] => [...row, ...Array<Cell>(head.length - row.length).fill(null)];
  return table(head, [
    ...rows,
    ...limitRow('', limits.plain[step], names.engine),
    ...limitRow(', encrypted', limits.encrypted[step], names.encrypted),
  ]);
}

/** Ours / theirs, the services / the engine that is reached as they are, of wall time, CPU with servers, memory, stored bytes; nothing for ourselves. */
function ratios(records: Records, step: Step, name: string): Cell[] {
  if (ourselves.includes(name)) return [null, null, null, null];
  const ours = name === names.service ? names.service : oursFor(name);
  const theirs = name === names.service ? names.engineOverTcp : name;
  const ratio = (field: (figures: Figures) => number | null): Cell =>
    fixed(records.ratio(step, ours, theirs, field), 2);
  return [
    ratio(({ wallS }) => wallS),
    ratio(allCpuS),
    ratio(({ peakRssMiB }) => peakRssMiB),
    ratio(({ storedMiB }) => storedMiB),
  ];
}

function primitiveTable(primitives: Primitives): string[] {
  const rows: [string, number][] = [
    ['read through qemu-nbd to nowhere (nbdcopy and its server)', primitives.nbdRead],
    ['BLAKE3 (b3sum)', primitives.blake3],
    ['zstd level 1', primitives.zstd],
    ['unzstd', primitives.unzstd],
    ['AES-256-GCM (OpenSSL)', primitives.aesGcm],
    ['write through qemu-nbd to a new qcow2 (nbdcopy and its server)', primitives.nbdWrite],
    ['direct write', primitives.directWrite],
    ['direct read', primitives.directRead],
  ];
  return [
    ...table(
      ['primitive', 'CPU s/GiB'],
      rows.map(([name, cpu]) => [name, cpu.toFixed(2)]),
    ),
    '',
    `The disk takes ${primitives.diskReadWall.toFixed(2)} s to read a GiB directly, ${primitives.diskWriteWall.toFixed(2)} s to write one.`,
  ];
}
