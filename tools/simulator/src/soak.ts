import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { faultKinds, type FaultKind } from './faults.js';
import { simulate, type SimulationResult } from './simulate.js';

export type Summary = Omit<SimulationResult, 'trace'>;
export interface SoakRange {
  readonly first: number;
  readonly seeds: number;
}

/** Seeds that one thread simulates before it is given more. */
const slice = 100;

/**
 * Simulates a range of seeds on all cores; calls back for each. Memory: one simulation a thread (some MiB), and what the
 * caller keeps.
 */
export const soak = async (
  { first, seeds }: SoakRange,
  onResult: (result: Summary) => void,
): Promise<void> => {
  let next = first;
  const end = first + seeds;
  const take = (): SoakRange | null => {
    const range = { first: next, seeds: Math.min(slice, end - next) };
    next += range.seeds;
    return range.seeds > 0 ? range : null;
  };
  const threads = Math.max(1, Math.min(availableParallelism(), Math.ceil(seeds / slice)));
  const lanes = Array.from({ length: threads }, () => lane(take, onResult));
  await Promise.all(lanes);
};

const lane = (take: () => SoakRange | null, onResult: (result: Summary) => void): Promise<void> =>
  new Promise((resolve, reject) => {
    const worker = new Worker(new URL('./soak.worker.js', import.meta.url));
    const give = () => {
      const range = take();
      if (range) return worker.postMessage(range);
      void worker.terminate().then(() => resolve(), reject);
    };
    worker.on('error', reject);
    worker.on('message', (results: readonly Summary[]) => {
      for (const result of results) onResult(result);
      give();
    });
    give();
  });

/** The kinds of faults that a failing seed needs: each is left out in turn, and stays out if the seed fails without it. */
export const shrink = async (seed: number, kinds: readonly FaultKind[]): Promise<readonly FaultKind[]> => {
  const without = new Set<FaultKind>(faultKinds.filter((kind) => !kinds.includes(kind)));
  for (const kind of kinds) {
    const { violation } = await simulate({ seed, without: new Set([...without, kind]) });
    if (violation !== null) without.add(kind);
  }
  return kinds.filter((kind) => !without.has(kind));
};
