import { type Contestant, type Figures, type Step } from './figures.js';
import { goalsOf, isMet, names } from './goals.js';
import { limitsOf } from './limits.js';
import { runRounds } from './rounds.js';

const figures = (wallS: number): Figures => ({
  wallS,
  cpuS: 1,
  serverCpuS: null,
  peakRssMiB: 100,
  storedMiB: 10,
  readMiB: null,
  othersCpuS: 0,
});

/** Takes so many seconds a step in each round. */
const contestant = (name: string, seconds: readonly number[], log: string[] = []): Contestant => {
  let round = 0;
  const step = (what: Step) => async () => {
    log.push(`${what} ${name}`);
    return figures(seconds[round - 1]!);
  };
  return {
    name,
    begin: async (number) => {
      round = number;
    },
    steps: { full: step('full'), restore: step('restore') },
    end: async () => {
      log.push(`end ${name}`);
    },
  };
};
const nothing = { begin: async () => undefined, settle: async () => undefined, onFigures: () => undefined };

describe('rounds', () => {
  it('go step by step through all contestants, every other round backwards', async () => {
    const log: string[] = [];
    await runRounds([contestant('a', [1, 1], log), contestant('b', [1, 1], log)], 2, nothing);
    expect(log.slice(0, 6)).toEqual(['full a', 'full b', 'restore a', 'restore b', 'end a', 'end b']);
    expect(log.slice(6)).toEqual(['full b', 'full a', 'restore b', 'restore a', 'end b', 'end a']);
  });

  it('are compared in pairs', async () => {
    const both = [contestant('a', [1, 10, 2]), contestant('b', [2, 20, 8])];
    const records = await runRounds(both, 3, nothing);
    const wall = ({ wallS }: Figures): number => wallS;
    expect(records.ratio('full', 'a', 'b', wall)).toBe(0.5);
    expect(records.median('a', 'full', wall)).toBe(2);
    expect(records.ratio('rescan', 'a', 'b', wall)).toBeNull();
  });
});

describe('goals', () => {
  const primitives = {
    nbdRead: 0.5,
    blake3: 0.2,
    zstd: 2,
    unzstd: 0.8,
    aesGcm: 0.2,
    nbdWrite: 1,
    directWrite: 0.1,
    directRead: 0.1,
    diskReadWall: 0.1,
    diskWriteWall: 0.1,
    ratio: 2,
  };

  it('tell met from missed from not measured', async () => {
    const records = await runRounds(
      [contestant(names.engine, [2]), contestant(names.borg, [2.5]), contestant(names.qemuImg, [4])],
      1,
      nothing,
    );
    const limit = limitsOf(primitives, 2 ** 30, 2, false).full;
    const goals = goalsOf(records, limit, { dirtyBytes: 1, large: null });
    const verdict = (work: string): boolean | null => isMet(goals.find((goal) => goal.work === work)!);
    expect(verdict('full: casvault / borg fixed')).toBe(false);
    expect(verdict('full: casvault / qemu-img convert -c')).toBe(true);
    expect(verdict('full: casvault, encrypted / restic')).toBeNull();
    expect(verdict('full: limit / casvault')).toBe(true);
  });

  it('take the limit from the CPU or from the disk', () => {
    const cpu = limitsOf(primitives, 2 ** 30, 2, false).full;
    expect([cpu.cpuS, cpu.wallS, cpu.bound]).toEqual([2.75, 1.375, 'CPU']);
    const disk = limitsOf({ ...primitives, diskReadWall: 3 }, 2 ** 30, 2, false).full;
    expect([disk.wallS, disk.bound]).toEqual([3, 'disk']);
  });
});
