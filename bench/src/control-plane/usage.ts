import { readFileSync } from 'node:fs';
import { type Stack } from '@casvault/stack';
import { peakRssMiB, processCpuS } from '../machine.js';
import { descendants } from '../process-group.js';

export const services = [
  'gateway',
  'licensing-auth',
  'inventory',
  'scheduler',
  'snapshot-engine',
  'data-mover',
] as const;

/** What a process or group of processes took. */
export interface Usage {
  readonly cpuS: number;
  /** Null of Postgres, whose processes share most of theirs, and of this process. */
  readonly peakMiB: number | null;
}

const serverOf = (pid: number): 'Postgres' | 'NATS' | null => {
  try {
    const commandLine = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
    if (/^postgres: |\/postgres /.test(commandLine)) return 'Postgres';
    return commandLine.includes('nats-server') ? 'NATS' : null;
  } catch {
    // It ended in between.
    return null;
  }
};

/** CPU and peak memory of every part of the stack since its start, and of this process, which plays the world around it. */
export function usageOf(stack: Stack): ReadonlyMap<string, Usage> {
  const usages = new Map<string, Usage>();
  for (const name of services) {
    const { pid, restartCount } = stack.process(name);
    if (pid === null || restartCount > 0) throw new Error(`${name} did not stay up`);
    usages.set(name, { cpuS: processCpuS(pid), peakMiB: peakRssMiB(pid) });
  }
  for (const pid of descendants([])) {
    const server = serverOf(pid);
    if (server === null) continue;
    const before = usages.get(server)?.cpuS ?? 0;
    const peakMiB = server === 'NATS' ? peakRssMiB(pid) : null;
    usages.set(server, { cpuS: before + processCpuS(pid), peakMiB });
  }
  const { user, system } = process.cpuUsage();
  usages.set('this process', { cpuS: (user + system) / 1e6, peakMiB: null });
  return usages;
}

/** What each took between two readings; the peak is that of the later one. */
export const usageBetween = (
  before: ReadonlyMap<string, Usage>,
  after: ReadonlyMap<string, Usage>,
): ReadonlyMap<string, Usage> =>
  new Map(
    [...after].map(([name, { cpuS, peakMiB }]) => [
      name,
      { cpuS: Math.max(0, cpuS - (before.get(name)?.cpuS ?? 0)), peakMiB },
    ]),
  );
