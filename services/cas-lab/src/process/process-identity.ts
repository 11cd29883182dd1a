import { readFile, rm, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

/** When a process was started, in ticks since boot; '' for one that is not there. Process ids are used again. */
async function startTime(pid: number): Promise<string> {
  const status = await readFile(`/proc/${String(pid)}/stat`, 'utf8').catch(() => '');
  // A process that has ended and is not yet waited for is not there either.
  const [state, ...fields] = status.slice(status.lastIndexOf(')') + 2).split(' ');
  return state === 'Z' ? '' : (fields[18] ?? '');
}

/** Writes who a process is. With `exclusive` a file that is there is an error. */
export async function writePidFile(path: string, pid: number, exclusive = false): Promise<void> {
  const text = `${String(pid)} ${await startTime(pid)}`;
  await writeFile(path, text, { flag: exclusive ? 'wx' : 'w' });
}

/** The process of a pid file, if it is the one that was written down and still runs. */
export async function livingPid(path: string): Promise<number | null> {
  const [pid = '', started = ''] = (await readFile(path, 'utf8').catch(() => '')).split(' ');
  const isIt = started !== '' && (await startTime(Number(pid))) === started;
  return isIt ? Number(pid) : null;
}

const graceMs = 5_000;

/** Ends the process of a pid file that an earlier lab left: SIGTERM, and SIGKILL after five seconds. */
export async function endLeftover(path: string): Promise<void> {
  const pid = await livingPid(path);
  if (pid !== null) await endProcess(pid, async () => (await livingPid(path)) === pid);
  await rm(path, { force: true });
}

/** SIGTERM to a process that is not a child, then SIGKILL when `isStillIt` says so after five seconds. */
export async function endProcess(pid: number, isStillIt: () => Promise<boolean>): Promise<void> {
  signalled(pid, 'SIGTERM');
  for (let waited = 0; waited < graceMs; waited += 100) {
    if (!(await isStillIt())) return;
    await sleep(100);
  }
  if (await isStillIt()) signalled(pid, 'SIGKILL');
}

/** One that has just ended is no error. */
function signalled(pid: number, signal: 'SIGTERM' | 'SIGKILL'): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
