/** What one step of one contestant cost. */
export interface Figures {
  readonly wallS: number;
  /** User and system time of the command and its children. */
  readonly cpuS: number;
  /** CPU of the NBD servers that it spoke to; null where there was none. */
  readonly serverCpuS: number | null;
  /** Of the largest process. */
  readonly peakRssMiB: number;
  /** Disk space that its repository takes after the step, or for one of changes, how much more; null for restores. */
  readonly storedMiB: number | null;
  /** What the NBD server read of the disk; null where there was none, or it read something else too. */
  readonly readMiB: number | null;
  /** CPU that other processes of the machine took meanwhile: how far to trust the wall time. */
  readonly othersCpuS: number;
}

export const steps = ['full', 'rescan', 'incremental', 'unchanged', 'restore'] as const;
export type Step = (typeof steps)[number];

/** A tool under measurement. `begin` makes an empty repository; the steps follow in order; `end` removes all that is left. */
export interface Contestant {
  readonly name: string;
  begin(round: number): Promise<void>;
  /** Before each of its steps and after it: for what runs by itself and must not take CPU from the others. */
  readonly wake?: () => Promise<void>;
  readonly rest?: () => void;
  readonly steps: Partial<Readonly<Record<Step, () => Promise<Figures>>>>;
  end(): Promise<void>;
}

export function median(values: readonly number[]): number {
  if (values.length === 0) return NaN;
  const sorted = [...values].sort((a, b) => a - b);
  const half = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
}
