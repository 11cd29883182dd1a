import { type Figures, median, type Step, steps } from './figures.js';
import { type Limit } from './limits.js';
import { type Records } from './rounds.js';

/** Names that contestants and goals share. */
export const names = {
  engine: 'casvault',
  engineWarm: 'casvault, disk in the page cache',
  engineOverTcp: 'casvault over TCP',
  encrypted: 'casvault, encrypted',
  service: 'casvault, all services',
  borg: 'borg fixed',
  borgWarm: 'borg fixed, disk in the page cache',
  borgEncrypted: 'borg fixed, encrypted',
  restic: 'restic',
  qemuImg: 'qemu-img convert -c',
  nbdcopy: 'nbdcopy nbd->nbd',
  qemuJob: "QEMU's backup job",
  virtNbdBackup: 'virtnbdbackup -z',
} as const;

/** The figures to reach for the first milestone, and later. */
export interface Goal {
  readonly work: string;
  readonly value: number | null;
  readonly unit: 'ratio' | 'MiB' | 's';
  readonly first: number;
  readonly later: number;
  readonly atLeast: boolean;
}

const wall = ({ wallS }: Figures): number => wallS;

/** What a sparse disk of 1 TiB takes. */
export interface LargeFigures {
  /** An incremental backup with nothing changed. */
  readonly unchangedS: number;
  /** One of 100 points taken out of their chain. */
  readonly removalS: number;
  readonly removalWrittenMiB: number;
}

/** Values are null where the run did not measure them. */
export function goalsOf(
  records: Records,
  limit: Limit,
  more: { readonly dirtyBytes: number; readonly large: LargeFigures | null },
): Goal[] {
  const ratio = (step: Step, ours: string, theirs: string, first: number, later: number): Goal => {
    const value = records.ratio(step, ours, theirs, wall);
    return { work: `${step}: ${ours} / ${theirs}`, value, unit: 'ratio', first, later, atLeast: false };
  };
  const {
    engine,
    engineWarm,
    engineOverTcp,
    encrypted,
    service,
    borg,
    borgWarm,
    borgEncrypted,
    restic,
    qemuImg,
    nbdcopy,
    qemuJob,
  } = names;
  const { virtNbdBackup } = names;
  const full = records.median(engine, 'full', wall);
  return [
    ratio('full', engine, borg, 0.75, 0.55),
    ratio('full', engine, qemuImg, 0.75, 0.55),
    ratio('full', encrypted, restic, 0.5, 0.35),
    ratio('full', encrypted, borgEncrypted, 0.6, 0.45),
    {
      work: `full: limit / ${engine}`,
      value: full === null ? null : limit.wallS / full,
      unit: 'ratio',
      first: 0.6,
      later: 0.85,
      atLeast: true,
    },
    // Both out of the page cache: read from a disk that is slower than they are, both take its time.
    ratio('rescan', engineWarm, borgWarm, 1, 0.7),
    ratio('incremental', engine, virtNbdBackup, 0.6, 0.3),
    ratio('incremental', engine, borg, 0.2, 0.1),
    ratio('incremental', engine, qemuJob, 1.1, 0.6),
    ...trackedGoals(records, more.dirtyBytes),
    ratio('unchanged', engine, virtNbdBackup, 0.3, 0.1),
    ratio('restore', engine, qemuImg, 0.75, 0.5),
    ratio('restore', engine, borg, 0.6, 0.4),
    ratio('restore', encrypted, restic, 0.5, 0.33),
    ratio('restore', engine, nbdcopy, 1.2, 0.8),
    memory(records, engine),
    memory(records, service),
    // Movers reach disks over the network.
    ratio('full', service, engineOverTcp, 1.15, 1.05),
    ratio('restore', service, engineOverTcp, 1.15, 1.05),
    ...largeGoals(more.large),
  ];
}

function trackedGoals(records: Records, dirtyBytes: number): Goal[] {
  const { engine, qemuJob } = names;
  const readMiB = records.median(engine, 'incremental', (figures) => figures.readMiB);
  const stored = ({ storedMiB }: Figures): number | null => storedMiB;
  const goal = (work: string, value: number | null, first: number, later: number): Goal => ({
    work: `incremental: ${work}`,
    value,
    unit: 'ratio',
    first,
    later,
    atLeast: false,
  });
  const share = readMiB === null ? null : (readMiB * 2 ** 20) / dirtyBytes;
  return [
    goal('bytes read / dirty bytes', share, 1.05, 1.02),
    goal(`bytes stored / ${qemuJob}`, records.ratio('incremental', engine, qemuJob, stored), 1.1, 1),
  ];
}

function largeGoals(large: LargeFigures | null): Goal[] {
  const goal = (work: string, value: number | null, unit: 's' | 'MiB', most: number): Goal => ({
    work: `sparse disk of 1 TiB: ${work}`,
    value,
    unit,
    first: most,
    later: most,
    atLeast: false,
  });
  return [
    goal('incremental, nothing changed', large?.unchangedS ?? null, 's', 5),
    goal('1 of 100 points removed', large?.removalS ?? null, 's', 2),
    goal('1 of 100 points removed, written', large?.removalWrittenMiB ?? null, 'MiB', 1),
  ];
}

function memory(records: Records, name: string): Goal {
  const peaks = steps.flatMap((step) => {
    const values = records.of(name, step).map(({ peakRssMiB }) => peakRssMiB);
    return values.length === 0 ? [] : [median(values)];
  });
  return {
    work: `memory of a worker process with 2 threads: ${name}`,
    value: peaks.length === 0 ? null : Math.max(...peaks),
    unit: 'MiB',
    first: 448,
    later: 256,
    atLeast: false,
  };
}

export const isMet = ({ value, first, atLeast }: Goal): boolean | null => {
  if (value === null) return null;
  return atLeast ? value >= first : value <= first;
};
