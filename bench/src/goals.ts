import { type Figures, median, type Step, steps } from './figures.js';
import { type Limit } from './limits.js';
import { type Records } from './rounds.js';

/** Names that contestants and goals share. */
export const names = {
  engine: 'casvault',
  encrypted: 'casvault, encrypted',
  service: 'casvault, all services',
  borg: 'borg fixed',
  borgEncrypted: 'borg fixed, encrypted',
  restic: 'restic',
  qemuImg: 'qemu-img convert -c',
  nbdcopy: 'nbdcopy nbd->nbd',
} as const;

/** The figures to reach for the first milestone, and later. */
export interface Goal {
  readonly work: string;
  readonly value: number | null;
  readonly unit: 'ratio' | 'MiB';
  readonly first: number;
  readonly later: number;
  readonly atLeast: boolean;
}

const wall = ({ wallS }: Figures): number => wallS;

/** Values are null where the run did not measure them. */
export function goalsOf(records: Records, limit: Limit): Goal[] {
  const ratio = (step: Step, ours: string, theirs: string, first: number, later: number): Goal => {
    const value = records.ratio(step, ours, theirs, wall);
    return { work: `${step}: ${ours} / ${theirs}`, value, unit: 'ratio', first, later, atLeast: false };
  };
  const { engine, encrypted, service, borg, borgEncrypted, restic, qemuImg, nbdcopy } = names;
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
    ratio('rescan', engine, borg, 1, 0.7),
    ratio('restore', engine, qemuImg, 0.75, 0.5),
    ratio('restore', engine, borg, 0.6, 0.4),
    ratio('restore', encrypted, restic, 0.5, 0.33),
    ratio('restore', engine, nbdcopy, 1.2, 0.8),
    memory(records, engine),
    memory(records, service),
    ratio('full', service, engine, 1.15, 1.05),
    ratio('restore', service, engine, 1.15, 1.05),
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
