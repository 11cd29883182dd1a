import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '@casvault/contracts';

/**
 * Holds a lab's folder for this process: a second lab over it would end the first one's daemons. A lock whose process is
 * gone is taken over. Throws CONFLICT. Returns what gives the lock back.
 */
export async function lockFolder(dir: string): Promise<() => Promise<void>> {
  await mkdir(dir, { recursive: true });
  const path = join(dir, 'lab.pid');
  const own = `${String(process.pid)} ${await startTime(process.pid)}`;
  try {
    await writeFile(path, own, { flag: 'wx' });
  } catch {
    const [pid = '', started] = (await readFile(path, 'utf8')).split(' ');
    if ((await startTime(Number(pid))) === started && started !== '') {
      throw new Fault('CONFLICT', `the lab in ${dir} is run by process ${pid} already`);
    }
    await writeFile(path, own);
  }
  return () => rm(path, { force: true });
}

/** When a process was started, in ticks since boot; '' for one that is not there. Process ids are used again. */
async function startTime(pid: number): Promise<string> {
  const status = await readFile(`/proc/${String(pid)}/stat`, 'utf8').catch(() => '');
  return status.slice(status.lastIndexOf(')') + 2).split(' ')[19] ?? '';
}
