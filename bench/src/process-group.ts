import { readdirSync, readFileSync } from 'node:fs';
import { processCpuS } from './machine.js';

const everyMs = 250;

type GroupOf = (commandLine: string, isOurs: boolean) => string | null;

/**
 * Adds up the CPU of processes that come and go, among them daemons that nobody waits for: looks four times a second, which takes CPU from
 * them, so at most a quarter of a second of one that ends is missed. `groupOf` names a process's group by its command line and whether this process is an ancestor of it.
 */
export class ProcessGroups {
  readonly #groupOf: GroupOf;
  readonly #seen = new Map<number, { group: string | null; first: number; last: number }>();
  readonly #timer: NodeJS.Timeout;

  constructor(groupOf: GroupOf) {
    this.#groupOf = groupOf;
    this.#look(true);
    this.#timer = setInterval(() => this.#look(false), everyMs);
  }

  /** CPU seconds of each group since the start. */
  stop(): ReadonlyMap<string, number> {
    clearInterval(this.#timer);
    this.#look(false);
    const sums = new Map<string, number>();
    for (const { group, first, last } of this.#seen.values())
      if (group !== null) sums.set(group, (sums.get(group) ?? 0) + last - first);
    return sums;
  }

  #look(atStart: boolean): void {
    for (const name of readdirSync('/proc')) {
      const pid = Number(name);
      if (!Number.isInteger(pid)) continue;
      try {
        this.#count(pid, atStart);
      } catch {
        // It ended in between.
      }
    }
  }

  #count(pid: number, atStart: boolean): void {
    let seen = this.#seen.get(pid);
    if (seen === undefined) {
      const commandLine = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      const group = this.#groupOf(commandLine, isDescendant(pid));
      const first = atStart ? processCpuS(pid) : 0;
      seen = { group, first, last: first };
      this.#seen.set(pid, seen);
    }
    if (seen.group !== null) seen.last = Math.max(seen.last, processCpuS(pid));
  }
}

/** All processes below this one, and theirs, but for some and what is below those. */
export function descendants(except: readonly number[]): number[] {
  const pids = readdirSync('/proc').map(Number).filter(Number.isInteger);
  return pids.filter((pid) => {
    try {
      return isDescendant(pid) && !except.some((one) => pid === one || isDescendant(pid, one));
    } catch {
      // It ended in between.
      return false;
    }
  });
}

function isDescendant(pid: number, of = process.pid): boolean {
  for (let ancestor = parentOf(pid); ancestor > 1; ancestor = parentOf(ancestor))
    if (ancestor === of) return true;
  return false;
}

function parentOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
}
