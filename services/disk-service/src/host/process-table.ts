import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';

/** A process of this host by its command line. */
export interface HostProcess {
  readonly pid: number;
  readonly argv: readonly string[];
}

async function readArgv(pid: number): Promise<readonly string[] | null> {
  const line = await readFile(`/proc/${String(pid)}/cmdline`, 'utf8').catch(() => '');
  // Empty: a kernel thread, or one that ended.
  return line === '' ? null : line.replace(/\0$/, '').split('\0');
}

/** Processes whose command line `is` ours. Reads /proc once: one small file per process of the host. */
export async function findProcesses(is: (argv: readonly string[]) => boolean): Promise<HostProcess[]> {
  const found: HostProcess[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const argv = await readArgv(Number(name));
    if (argv && is(argv)) found.push({ pid: Number(name), argv });
  }
  return found;
}

function signalProcess(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/**
 * Ends the processes that `is` names: asked first, killed after `patienceMs`. The proof is read again before every signal,
 * since a process id may have gone to another process.
 */
export async function endProcesses(
  is: (argv: readonly string[]) => boolean,
  patienceMs: number,
): Promise<number> {
  const stepMs = 10;
  const first = await findProcesses(is);
  for (const { pid } of first) signalProcess(pid, 'SIGTERM');
  for (let waitedMs = 0; waitedMs < patienceMs; waitedMs += stepMs) {
    if (!(await anyAlive(first, is))) return first.length;
    await delay(stepMs);
  }
  for (const { pid } of await findProcesses(is)) signalProcess(pid, 'SIGKILL');
  await delay(stepMs);
  return first.length;
}

async function anyAlive(
  processes: readonly HostProcess[],
  is: (argv: readonly string[]) => boolean,
): Promise<boolean> {
  for (const { pid } of processes) {
    const argv = await readArgv(pid);
    if (argv && is(argv)) return true;
  }
  return false;
}
